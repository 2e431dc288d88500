package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xasql/xasql/recovery"
)

// watch resolves again and again, and tells in one line when something changed. The log is opened for each run alone, so that an
// application that starts meanwhile finds it free. It ends with the status of the last run that was not interrupted.
func (a *app) watch(ctx context.Context, flags resolveFlags) (int, error) {
	status, last := statusInDoubt, ""
	for {
		r, err := a.resolve(ctx, flags)
		if ctx.Err() != nil {
			return status, nil
		}
		if errors.Is(err, errUsage) {
			return statusUsage, err
		}
		if err := a.writeMetrics(flags.metrics, r, err); err != nil {
			return statusFailure, err
		}
		status = statusFailure
		line := ""
		if r != nil {
			status, line = r.exitStatus(), r.line()
		}
		if err != nil {
			line = strings.TrimPrefix(line+": ", ": ") + oneLine(err.Error())
		}
		if line != last && !(flags.quiet && last == "" && status == statusSettled) {
			a.tellChange(line, r)
		}
		last = line
		select {
		case <-ctx.Done():
			return status, nil
		case <-time.After(flags.watch):
		}
	}
}

func (a *app) tellChange(line string, r *result) {
	if a.flags.output == "json" && r != nil {
		e := json.NewEncoder(a.stdout)
		e.SetEscapeHTML(false)
		_ = e.Encode(r) // a reader that went away is told nothing more
		return
	}
	fmt.Fprintf(a.stdout, "%s %s\n", a.now().UTC().Format(time.RFC3339), line)
}

// patience is how long a transaction that somebody alive has in hand may take before a person should know.
const patience = time.Minute

// well tells that nothing is in doubt but what is just being committed, and is told to be left until minAge.
func (r *result) well(minAge time.Duration) bool {
	if r.Status != "settled" && r.Status != "in_doubt" || len(r.unreached()) > 0 {
		return false
	}
	waits := map[string]bool{}
	for _, b := range r.Branches {
		if !b.live {
			continue
		}
		waits[b.id] = true
		limit := minAge
		if b.Action == actionName(recovery.Live) {
			limit = max(minAge, patience)
		}
		if b.Error != "" || b.AgeSeconds == nil || time.Duration(*b.AgeSeconds)*time.Second >= limit {
			return false
		}
	}
	return !slices.ContainsFunc(r.Decisions, func(d decisionResult) bool { return !d.Settled && !waits[d.ID] })
}

// line is the result in one line.
func (r *result) line() string {
	var b strings.Builder
	r.writeSummary(&b)
	line := strings.Join(strings.Split(strings.TrimSpace(b.String()), "\n"), " ")
	for _, res := range r.unreached() {
		line += fmt.Sprintf(" %s: %s.", res.Name, strings.TrimSuffix(res.Error, "."))
	}
	if listed := r.count(recovery.Foreign); r.Foreign > listed {
		line += fmt.Sprintf(" %s of other logs and programs not shown: list --all shows them.", plural(r.Foreign-listed, "branch", "branches"))
	}
	if r.Status != "settled" {
		line += " Run xa-recover list."
	}
	return line
}

// progress tells on a terminal how far long work has got.
type progress struct {
	w io.Writer // nil: nobody is there to see it

	mu   sync.Mutex // guards what follows
	last time.Time
	told bool
}

const (
	progressFrom  = 100 // branches of one resource
	progressEvery = 200 * time.Millisecond
)

func (a *app) progress() *progress {
	if !a.terminal {
		return &progress{}
	}
	return &progress{w: a.stderr}
}

func (p *progress) tell(resource string, done, total int) {
	if p.w == nil || total < progressFrom {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.last) >= progressEvery {
		p.last, p.told = now, true
		fmt.Fprintf(p.w, "\r%s: %d of %d\x1b[K", resource, done, total)
	}
}

// end clears the line.
func (p *progress) end() {
	if p.told {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/judge"
)

// run is one run of the program.
type run struct {
	o      *options
	self   string // this program
	dir    string // everything that the run writes, but for the databases
	arena  *arena
	slots  []*slot
	begun  time.Time
	random *rand.Rand // of the faults
	cancel context.CancelFunc

	faults    sync.WaitGroup // those at work
	disturbed atomic.Int64   // how many of those are about servers and networks

	mu         sync.Mutex // guards all below
	counts     map[string]int
	violations []string
	active     map[string]int // faults at work, by name
	verdict    judge.Verdict  // the last
	flat       flatness
}

// torture makes a run.
func torture(ctx context.Context, o *options) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &run{o: o, random: rand.New(rand.NewPCG(o.seed, 0)), cancel: cancel, counts: map[string]int{}, active: map[string]int{}}
	if r.self, err = os.Executable(); err != nil {
		return err
	}
	if r.dir = o.dir; r.dir == "" {
		r.dir, err = os.MkdirTemp("", "xasql-torture-")
	} else {
		err = os.Mkdir(r.dir, 0o777) // must be new: what was told in another run is about other databases
	}
	if err == nil {
		err = os.Mkdir(filepath.Join(r.dir, "told"), 0o777)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, engines.Close()) }()
	if r.arena, err = build(ctx, o, r.dir, fmt.Sprint(o.seed)); err != nil {
		return errors.Join(err, os.RemoveAll(r.dir))
	}
	defer r.arena.close()
	r.begun = time.Now()
	r.announce()
	err = r.work(ctx)
	return r.conclude(err)
}

// work runs workers and faults, and judges, until the time is over or something is wrong.
func (r *run) work(ctx context.Context) error {
	for n := range r.o.workers {
		s := &slot{r: r, n: n, steady: r.o.steady && n == 0 && r.o.workers > 1, random: rand.New(rand.NewPCG(r.o.seed, uint64(n)+1)), done: make(chan struct{})}
		if s.log = r.arena.log; s.log == "" {
			s.log = "file:" + filepath.Join(r.arena.logs, fmt.Sprintf("worker-%d", n))
		}
		r.slots = append(r.slots, s)
		go s.run(ctx)
	}
	defer r.stop()
	aside, end := context.WithCancel(ctx)
	defer end()
	go r.observe(aside)

	last := r.begun.Add(r.o.duration)
	for ctx.Err() == nil {
		until := time.Now().Add(r.o.check)
		if until.After(last) {
			until = last
		}
		r.torment(ctx, until)
		if !r.quiet(ctx) || !r.judge(ctx, r.o.patience) {
			break
		}
		if until == last {
			r.finish(ctx)
			break
		}
		for _, s := range r.slots {
			s.goOn()
		}
	}
	if len(r.violated()) == 0 && ctx.Err() != nil {
		return fmt.Errorf("interrupted: what was done until then was right as far as it was checked; the databases keep the tables (-clean removes them)")
	}
	return nil
}

// quiet returns when no fault is at work and every worker has nothing open. A worker that does not come to that hangs.
func (r *run) quiet(ctx context.Context) bool {
	r.faults.Wait()
	limited, cancel := context.WithTimeout(ctx, r.o.patience)
	defer cancel()
	for _, s := range r.slots {
		if s.awaitQuiet(limited) {
			continue
		}
		if ctx.Err() == nil {
			s.dump()
			r.violate("worker %d hangs: it was told to be quiet and is not after %v; its goroutines are in %s", s.n, r.o.patience, s.stderr())
		}
		return false
	}
	return true
}

// judge has the checker's process look, and tells whether all is right.
func (r *run) judge(ctx context.Context, patience time.Duration) bool {
	cmd := exec.CommandContext(ctx, r.self, "check", "-told", filepath.Join(r.dir, "told"), "-patience", patience.String())
	cmd.Env = environment(r.arena.databases, "")
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var v judge.Verdict
	switch status := cmd.ProcessState.ExitCode(); {
	case ctx.Err() != nil:
		return false
	case status != good && status != violated, json.Unmarshal(stdout.Bytes(), &v) != nil:
		r.violate("the checker could not judge (%v): %s", err, stderr.String())
		return false
	}
	r.count("judgements")
	r.mu.Lock()
	r.verdict = v
	r.mu.Unlock()
	for i, violation := range v.Violations {
		if i == 20 {
			r.violate("and %d more", len(v.Violations)-i)
			break
		}
		r.violate("%s", violation)
	}
	return len(v.Violations) == 0
}

// finish ends the quiet workers, looks whether the logs agree that nothing is in doubt, and judges for the last time.
func (r *run) finish(ctx context.Context) {
	limited, cancel := context.WithTimeout(ctx, r.o.patience)
	defer cancel()
	for _, s := range r.slots {
		s.end()
	}
	for _, s := range r.slots {
		select {
		case <-s.done:
		case <-limited.Done():
			s.dump()
			r.violate("worker %d hangs: it was told to end and does not within %v; its goroutines are in %s", s.n, r.o.patience, s.stderr())
			return
		}
	}
	for _, s := range r.slots {
		if r.o.recover != "" {
			// Not through the proxies: one that was to break connections at a statement may still wait for that.
			r.recoverWith(ctx, s, r.arena.databases, "list", false, good)
		}
	}
	r.judge(ctx, 0)
}

// stop leaves no process behind.
func (r *run) stop() {
	r.cancel()
	r.faults.Wait()
	for _, s := range r.slots {
		s.signal(syscall.SIGKILL)
		<-s.done
	}
}

// count counts something that happened.
func (r *run) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
}

// violate notes something that is wrong, says it, and ends the run.
func (r *run) violate(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.mu.Lock()
	r.violations = append(r.violations, text)
	r.mu.Unlock()
	fmt.Printf("VIOLATION: %s\n", text)
	r.cancel()
}

func (r *run) violated() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.violations
}

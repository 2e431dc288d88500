package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// doctorResult is what doctor found.
type doctorResult struct {
	Command   string          `json:"command"` // "doctor"
	Status    string          `json:"status"`  // "fit", or "unfit" where a finding is fatal; exit status 0 or 1
	LogID     string          `json:"log_id,omitempty"`
	Owner     string          `json:"owner,omitempty"`
	Findings  []findingResult `json:"findings"` // of the log
	Resources []checkupResult `json:"resources"`
}

// checkupResult is what doctor found of one database.
type checkupResult struct {
	Name        string          `json:"name"`
	Version     string          `json:"version,omitempty"`
	Identity    string          `json:"identity,omitempty"` // which database it is
	Prepared    int             `json:"prepared"`           // branches that it lists
	Used        int             `json:"used,omitempty"`     // of the server's limit, by any database
	Limit       int             `json:"limit,omitempty"`
	SkewSeconds float64         `json:"clock_skew_seconds"` // its clock against this host's; negative: behind
	Findings    []findingResult `json:"findings"`

	ahead clockRange
}

type findingResult struct {
	Severity string `json:"severity"` // "warning" or "fatal"
	Problem  string `json:"problem"`
	Hint     string `json:"hint,omitempty"`
}

func (a *app) doctorCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "doctor",
		Short: "Check whether each database is fit, and this user can recover in it",
		Long: `Check each database as the user that runs this: its version and settings, the
user's privileges, which database it is, how much room there is for prepared
transactions, and its clock. The log is looked at, too, where one is named.
Nothing is changed. Exit status 1: something is found that can't work.`,
		Args: noArguments,
		RunE: a.action(func(ctx context.Context, _ []string) (int, error) { return a.doctor(ctx) }),
	}
}

func (a *app) doctor(ctx context.Context) (int, error) {
	named, err := a.databases()
	if err != nil {
		return 0, err
	}
	r := &doctorResult{Command: "doctor", Status: "fit", Findings: []findingResult{}, Resources: make([]checkupResult, len(named))}
	log := a.checkLog(ctx, r)
	if log != nil {
		defer log.Close()
	}
	var configured []string
	for _, n := range named {
		configured = append(configured, n.name)
	}
	var wg sync.WaitGroup
	for i, n := range named {
		res, err := a.open.resource(n.name, n.url)
		if err != nil {
			return 0, err
		}
		defer res.DB.Close()
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, a.flags.timeout) // a handful of questions
			defer cancel()
			r.Resources[i] = a.checkUp(ctx, res, configured, log)
		})
	}
	wg.Wait()
	r.compare()
	if slices.ContainsFunc(r.all(), func(f findingResult) bool { return f.Severity == drivers.Fatal.String() }) {
		r.Status = "unfit"
	}
	if err := a.print(r, r.write); err != nil {
		return statusFailure, err
	}
	if r.Status == "unfit" {
		return statusFailure, nil
	}
	return statusSettled, nil
}

func (r *doctorResult) all() []findingResult {
	all := slices.Clone(r.Findings)
	for _, res := range r.Resources {
		all = append(all, res.Findings...)
	}
	return all
}

func found(severity drivers.Severity, problem, hint string) findingResult {
	return findingResult{severity.String(), oneLine(problem), oneLine(hint)}
}

// checkLog reads the log, where one is named, and returns it open.
func (a *app) checkLog(ctx context.Context, r *doctorResult) txlog.Log {
	url, err := a.logURL()
	if err != nil {
		r.Findings = append(r.Findings, found(drivers.Warning, "no decision log is named: it was not looked at", "name it with --log, in XA_LOG, or in the file of --config"))
		return nil
	}
	var log txlog.Log
	err = a.ask(ctx, func(ctx context.Context) (err error) {
		log, err = a.open.readLog(ctx, url)
		return err
	})
	if err != nil {
		hint := "put --log, XA_LOG or the file of --config right"
		if errors.Is(err, txlog.ErrCorrupt) {
			hint = "xa-recover log verify tells what that means"
		}
		r.Findings = append(r.Findings, found(drivers.Fatal, "the log can't be read: "+err.Error(), hint))
		return nil
	}
	r.LogID, r.Owner = log.ID(), ownerOf(log)
	if damage := damageOf(log, nil); damage != nil {
		r.Findings = append(r.Findings, found(drivers.Fatal, "the log is damaged: "+damage.Error(), "xa-recover log verify tells what that means"))
	}
	if w, ok := log.(txlog.Witness); ok {
		if err := w.Witnessed(); err != nil {
			r.Findings = append(r.Findings, found(drivers.Fatal, err.Error(), "xa-recover log adopt, if it is the only one now"))
		}
	}
	if _, ok := log.(txlog.Notes); !ok {
		r.Findings = append(r.Findings, found(drivers.Warning, "the log keeps no notes: a heuristic outcome is told only once", ""))
	}
	return log
}

// checkUp looks at one database.
func (a *app) checkUp(ctx context.Context, res drivers.Resource, configured []string, log txlog.Log) checkupResult {
	r := checkupResult{Name: res.Name, Findings: []findingResult{}}
	add := func(s drivers.Severity, problem, hint string) {
		r.Findings = append(r.Findings, found(s, problem, hint))
	}
	before := a.now()
	server, err := connect.Probe(ctx, res)
	after := a.now()
	if err != nil {
		add(drivers.Fatal, "it can't be asked: "+err.Error(), connect.Advice(res))
		return r
	}
	r.Version, r.Used, r.Limit = server.Version, server.Used, server.Limit
	if !server.Clock.IsZero() {
		r.ahead = clockRange{server.Clock.Sub(after), server.Clock.Sub(before), true}
		r.SkewSeconds = r.ahead.least().Seconds()
	}
	if math.Abs(r.SkewSeconds) > maxSkew.Seconds() {
		add(drivers.Warning, fmt.Sprintf("its clock differs from this host's by %+.1f s", r.SkewSeconds), "keep clocks together with NTP: ages, and --min-age, are told by them")
	}
	listed, unlisted := res.Driver.Prepared(ctx, res.DB)
	r.Prepared = len(listed)
	if checker, ok := res.Driver.(drivers.Checker); ok {
		findings, err := checker.Check(ctx, res.DB)
		for _, f := range findings {
			add(f.Severity, f.Problem, f.Hint)
		}
		if err != nil {
			add(drivers.Fatal, "its settings can't be read: "+err.Error(), "check this user's privileges")
		}
	}
	if unlisted != nil && state(r.Findings) != "unfit" { // else that is why, and has its hint
		add(drivers.Fatal, "prepared branches can't be listed: "+unlisted.Error(), "check this user's privileges")
	}
	if log != nil {
		r.Findings = append(r.Findings, misnamed(listed, res.Name, configured, log.ID())...)
	}
	if r.Identity, err = recovery.Identify(ctx, res); err != nil {
		add(drivers.Warning, "it can't tell which database it is: "+err.Error(), "")
	}
	if reg, ok := log.(txlog.Registrar); ok && r.Identity != "" {
		switch known, err := reg.Registered(ctx, res.Name); {
		case err != nil && !errors.Is(err, txlog.ErrCorrupt):
			add(drivers.Warning, "the log can't tell which database it was: "+err.Error(), "")
		case err == nil && known != "" && known != r.Identity:
			add(drivers.Warning, fmt.Sprintf("it is another database than the one that the log knows as %q: it was %q", res.Name, known),
				"point the name back or, if it was moved on purpose and has all that it had: xa-recover resolve --rebind "+res.Name)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b findingResult) int { return cmp.Compare(a.Severity, b.Severity) }) // "fatal" first
	return r
}

// misnamed are findings about branches that another log made under this resource's name, and that this log made under a name that nobody has now.
func misnamed(listed []drivers.Prepared, name string, configured []string, logID string) (findings []findingResult) {
	logs, names := map[string]int{}, map[string]int{}
	for _, pr := range listed {
		log, _, ok := txid.Split(pr.XID.GTRID)
		switch {
		case pr.Raw != "" || !ok || pr.XID.FormatID != drivers.FormatID:
		case log != logID && pr.XID.BQual == name:
			logs[log]++
		case log == logID && !slices.Contains(configured, pr.XID.BQual):
			names[pr.XID.BQual]++
		}
	}
	for _, log := range slices.Sorted(maps.Keys(logs)) {
		findings = append(findings, found(drivers.Warning, fmt.Sprintf("it holds %s of another log, %s, under this name: was this log's directory lost or replaced?", plural(logs[log], "branch", "branches"), log),
			"if not, they are another program's, which settles them itself; if so: xa-recover list tells whether that log is in use, and what to do"))
	}
	for _, old := range slices.Sorted(maps.Keys(names)) {
		findings = append(findings, found(drivers.Warning, fmt.Sprintf("it holds %s of resource %q, which is not configured: was %s named %s before?", plural(names[old], "branch", "branches"), old, name, old),
			"name it "+old+" in the configuration again, until nothing is in doubt"))
	}
	return findings
}

// maxSkew is by how much clocks may differ.
const maxSkew = time.Second

// clockRange is by how much a server's clock is ahead of this host's: between the two, as it was read between two moments.
type clockRange struct {
	from, to time.Duration
	told     bool
}

// least is by how much the clock is ahead, or behind, at least.
func (c clockRange) least() time.Duration {
	switch {
	case c.to < 0:
		return c.to
	case c.from > 0:
		return c.from
	}
	return 0
}

// aheadOf is by how much the clock is ahead of another's, at least, whatever this host's tells.
func (c clockRange) aheadOf(other clockRange) time.Duration {
	if !c.told || !other.told {
		return 0
	}
	return clockRange{from: c.from - other.to, to: c.to - other.from}.least()
}

// compare looks for one database under two names, and for servers whose clocks differ.
func (r *doctorResult) compare() {
	for i := range r.Resources {
		for _, other := range r.Resources[:i] {
			res := &r.Resources[i]
			if by := res.ahead.aheadOf(other.ahead); by.Abs() > maxSkew {
				res.Findings = append(res.Findings, found(drivers.Warning, fmt.Sprintf("its clock differs from that of %q by %+.1f s", other.Name, by.Seconds()),
					"keep clocks together with NTP: the ages of a transaction's branches are told by them"))
			}
			if res.Identity != "" && res.Identity == other.Identity {
				res.Findings = append(res.Findings, found(drivers.Warning, fmt.Sprintf("it is the same database as %q, or on the same MySQL server", other.Name),
					"give it one name, and use that everywhere: every transaction over both takes two branches"))
			}
		}
	}
}

func (r *doctorResult) write(w io.Writer) {
	t := table{}
	t.row("", "DATABASE", "STATE", "VERSION", "PREPARED", "CLOCK", "IDENTITY")
	for _, res := range r.Resources {
		prepared := strconv.Itoa(res.Prepared)
		if res.Limit > 0 {
			prepared = fmt.Sprintf("%d (%d of %d taken)", res.Prepared, res.Used, res.Limit)
		}
		t.row("", res.Name, state(res.Findings), orDash(res.Version), prepared, fmt.Sprintf("%+.1fs", res.SkewSeconds), orDash(res.Identity))
	}
	t.write(w)
	var b strings.Builder
	tell := func(subject string, findings []findingResult) {
		for _, f := range findings {
			fmt.Fprintf(&b, "%s: %s: %s\n", subject, f.Severity, f.Problem)
			if f.Hint != "" {
				fmt.Fprintf(&b, "    %s\n", f.Hint)
			}
		}
	}
	tell("log", r.Findings)
	for _, res := range r.Resources {
		tell(res.Name, res.Findings)
	}
	if b.Len() > 0 {
		fmt.Fprintf(w, "\n%s", b.String())
	}
	verdict := "Everything is fit for global transactions and their recovery."
	switch {
	case r.Status != "fit":
		verdict = "Something is found that can't work."
	case b.Len() > 0:
		verdict = "Everything works; the warnings are for a person to judge."
	}
	fmt.Fprintf(w, "\n%s\n", verdict)
}

func state(findings []findingResult) string {
	worst := "fit"
	for _, f := range findings {
		if f.Severity == drivers.Fatal.String() {
			return "unfit"
		}
		worst = "warnings"
	}
	return worst
}

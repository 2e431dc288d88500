package main

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// session is what a command works with: the log and the databases, open.
type session struct {
	log       txlog.Log
	resources []drivers.Resource
	// owner names the live process that owns the log, where that is known; its own recovery settles what is in doubt.
	owner    string
	resolver recovery.Resolver
	ask      func(ctx context.Context, f func(ctx context.Context) error) error // the log, within the time limit
	damage   error                                                              // of the log, as scan found it
}

// read opens the databases, and the log to be read.
func (a *app) read(ctx context.Context) (*session, error) {
	return a.session(ctx, false)
}

// own opens the databases, and the log as its owner; where a live process owns it, to be read.
func (a *app) own(ctx context.Context) (*session, error) {
	return a.session(ctx, true)
}

func (a *app) session(ctx context.Context, own bool) (_ *session, err error) {
	url, err := a.logURL()
	if err != nil {
		return nil, err
	}
	named, err := a.databases()
	if err != nil {
		return nil, err
	}
	s := &session{ask: a.ask}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for _, n := range named {
		res, err := a.open.resource(n.name, n.url)
		if err != nil {
			return nil, err
		}
		s.resources = append(s.resources, res)
	}
	err = a.ask(ctx, func(ctx context.Context) (err error) {
		if own {
			// Only a person says that something may be dropped: log compact.
			s.log, s.owner, err = a.ownLog(ctx, url, connect.Forever)
		}
		if !own || s.owner != "" {
			s.log, err = a.open.readLog(ctx, url)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if !own {
		s.owner = ownerOf(s.log)
	}
	s.resolver = recovery.Resolver{
		Log:       s.log,
		Resources: s.resources,
		Timeout:   a.flags.timeout,
		Logger:    slog.New(slog.DiscardHandler),
	}
	if a.flags.verbose > 0 { // else the result tells it all
		s.resolver.Logger = a.logger()
	}
	return s, nil
}

// Close closes the log and the databases.
func (s *session) Close() error {
	var errs []error
	if s.log != nil {
		errs = append(errs, s.log.Close())
	}
	for _, res := range s.resources {
		errs = append(errs, res.DB.Close())
	}
	return errors.Join(errs...)
}

// lookup asks the log for a decision.
func (s *session) lookup(ctx context.Context, id string) (outcome txlog.Outcome, err error) {
	err = s.ask(ctx, func(ctx context.Context) error {
		outcome, err = s.log.Lookup(ctx, id)
		return err
	})
	return outcome, err
}

// scan looks, and marks what a live owner has in hand. Of a damaged log it tells what can be read, and the damage as its error.
func (s *session) scan(ctx context.Context) (recovery.Report, error) {
	report, err := s.resolver.Scan(ctx)
	if errors.Is(err, txlog.ErrCorrupt) {
		s.damage = damageOf(s.log, err)
		readable := s.resolver
		readable.Log = readableLog{s.log}
		report, err = readable.Scan(ctx)
	}
	switch {
	case s.owner != "":
		stay(&report, recovery.Live, "in the hands of the live process that owns the log")
	case s.damage != nil:
		stay(&report, recovery.Left, "the log is damaged")
	}
	if s.damage != nil {
		withoutDamage(&report)
	}
	return report, cmp.Or(err, s.damage)
}

// withoutDamage leaves out of the report what the damage is, which is told once, and that anything could be settled.
func withoutDamage(report *recovery.Report) {
	for i := range report.Decisions {
		report.Decisions[i].Settled, report.Decisions[i].Reason = false, "the log is damaged"
	}
	for _, res := range report.Resources {
		for i := range res.Branches {
			if b := &res.Branches[i]; errors.Is(b.Err, txlog.ErrCorrupt) {
				b.Reason, b.Err = "the log is damaged, and its decision may be in what can't be read", nil
			}
		}
	}
}

// stay gives the branches that resolve would finish another action.
func stay(report *recovery.Report, action recovery.Action, reason string) {
	for _, res := range report.Resources {
		for i := range res.Branches {
			if b := &res.Branches[i]; b.Action == recovery.WouldCommit || b.Action == recovery.WouldRollBack {
				b.Action, b.Reason = action, reason
			}
		}
	}
}

// readableLog is what can be read of a damaged log. It is for looking only.
type readableLog struct{ txlog.Log }

// Unsettled ends where the damage begins.
func (l readableLog) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	return func(yield func(txlog.Decision, error) bool) {
		for d, err := range l.Log.Unsettled(ctx) {
			if errors.Is(err, txlog.ErrCorrupt) || !yield(d, err) {
				return
			}
		}
	}
}

type namedURL struct{ name, url string }

// databases merges file, environment and flags: the later is the stronger.
func (a *app) databases() ([]namedURL, error) {
	file, err := a.configuration()
	if err != nil {
		return nil, err
	}
	environment, err := named(splitList(a.getenv("XA_RESOURCES")), "XA_RESOURCES")
	if err != nil {
		return nil, err
	}
	flags, err := named(a.flags.resources, "--resource")
	if err != nil {
		return nil, err
	}
	var resources []namedURL
	for _, r := range file.Resources {
		resources = append(resources, namedURL{r.Name, r.URL})
	}
	for _, n := range slices.Concat(environment, flags) {
		if i := slices.IndexFunc(resources, func(r namedURL) bool { return r.name == n.name }); i >= 0 {
			resources[i] = n
		} else {
			resources = append(resources, n)
		}
	}
	if len(resources) == 0 {
		return nil, usagef("no databases: name each with --resource NAME=URL, in XA_RESOURCES, or in the file of --config")
	}
	return resources, nil
}

func named(flags []string, where string) ([]namedURL, error) {
	var out []namedURL
	for _, flag := range flags {
		name, url, err := connect.SplitFlag(flag)
		if err != nil {
			return nil, usagef("%s: %w", where, err)
		}
		if slices.ContainsFunc(out, func(n namedURL) bool { return n.name == name }) {
			return nil, usagef("%s: two databases are named %q", where, name)
		}
		out = append(out, namedURL{name, url})
	}
	return out, nil
}

// splitList reads XA_RESOURCES: with a newline in it, one a line, so that a path may have blanks in it; else
// separated by blanks.
func splitList(s string) []string {
	if !strings.Contains(s, "\n") {
		return strings.Fields(s)
	}
	var out []string
	for line := range strings.Lines(s) {
		if line = strings.TrimSpace(line); line != "" {
			out = append(out, line)
		}
	}
	return out
}

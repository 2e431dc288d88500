package main

import (
	"context"
	"errors"
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
}

// read opens the databases, and the log to be read.
func (a *app) read() (*session, error) {
	return a.session(func(url string) (log txlog.Log, owner string, err error) {
		log, err = a.open.readLog(url)
		return log, ownerOf(log), err
	})
}

// own opens the databases, and the log as its owner; where a live process owns it, to be read.
func (a *app) own() (*session, error) {
	return a.session(func(url string) (log txlog.Log, owner string, err error) {
		log, err = a.open.log(url, a.logger())
		if !errors.Is(err, txlog.ErrOwned) {
			return log, "", err
		}
		owner = holder(err)
		log, err = a.open.readLog(url)
		return log, owner, err
	})
}

func (a *app) session(openLog func(url string) (txlog.Log, string, error)) (_ *session, err error) {
	url, named, err := a.configuration()
	if err != nil {
		return nil, err
	}
	s := &session{}
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
	if s.log, s.owner, err = openLog(url); err != nil {
		return nil, err
	}
	s.resolver = recovery.Resolver{
		Log:       s.log,
		Resources: s.resources,
		Timeout:   a.flags.timeout / 10 * 9, // the rest is for settling
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

// scan looks, and marks what a live owner has in hand.
func (s *session) scan(ctx context.Context) (recovery.Report, error) {
	report, err := s.resolver.Scan(ctx)
	if s.owner == "" {
		return report, err
	}
	for _, res := range report.Resources {
		for i := range res.Branches {
			if b := &res.Branches[i]; b.Action == recovery.WouldCommit || b.Action == recovery.WouldRollBack {
				b.Action, b.Reason = recovery.Live, "in the hands of the live process that owns the log"
			}
		}
	}
	return report, err
}

// ownerOf asks a log that was opened to be read who owns it now, "" where nobody does or the log can't tell.
func ownerOf(log txlog.Log) string {
	if l, ok := log.(interface{ Owner() string }); ok {
		return l.Owner()
	}
	return ""
}

// holder takes from an error that is ErrOwned who the owner is: the rest of its text.
func holder(err error) string {
	if _, owner, ok := strings.Cut(err.Error(), txlog.ErrOwned.Error()+": "); ok {
		return owner
	}
	return "pid unknown"
}

type namedURL struct{ name, url string }

// configuration merges flags and environment: flags are the stronger.
func (a *app) configuration() (logURL string, resources []namedURL, err error) {
	if logURL = a.flags.log; logURL == "" {
		logURL = a.getenv("XA_LOG")
	}
	if logURL == "" {
		return "", nil, usagef("no decision log: name it with --log file:DIR, or in XA_LOG")
	}
	if resources, err = named(splitList(a.getenv("XA_RESOURCES")), "XA_RESOURCES"); err != nil {
		return "", nil, err
	}
	flags, err := named(a.flags.resources, "--resource")
	if err != nil {
		return "", nil, err
	}
	for _, n := range flags {
		if i := slices.IndexFunc(resources, func(r namedURL) bool { return r.name == n.name }); i >= 0 {
			resources[i] = n
		} else {
			resources = append(resources, n)
		}
	}
	if len(resources) == 0 {
		return "", nil, usagef("no databases: name each with --resource NAME=URL, or in XA_RESOURCES")
	}
	return logURL, resources, nil
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

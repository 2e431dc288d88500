package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// resolveFlags are those of resolve.
type resolveFlags struct {
	only    []string // the arguments
	dryRun  bool
	rebind  []string
	adopt   []string
	yes     bool
	minAge  time.Duration
	watch   time.Duration
	quiet   bool
	metrics string
	lock    string
}

func (a *app) resolveCommand() *cobra.Command {
	var flags resolveFlags
	cmd := &cobra.Command{
		Use:   "resolve [ID...]",
		Short: "Settle what is in doubt",
		Long: `Settle what is in doubt: commit what the log says is committed, roll back the
rest. With IDs, as list prints them, only these transactions: the output and the
exit status are then about them alone.

While a live process owns the log nothing is touched: that process settles what
is in doubt itself. Running resolve again is always right, at any time,
unless somebody finished branches at a database's own prompt: first compare the
rows then.

With --adopt the branches of a log that is lost are settled too, under the new
log that the application has made in its place, as far as a database proves what
became of their transaction; the rest is left to a person: xa-recover commit or
rollback ID --adopt. It is a person's word that nobody has the lost log any
more. list --all shows the logs by their names.`,
		ValidArgsFunction: a.completeMoreIDs,
		RunE: a.action(func(ctx context.Context, ids []string) (int, error) {
			flags.only = ids
			return a.resolveOnce(ctx, flags)
		}),
	}
	f := cmd.Flags()
	f.BoolVar(&flags.dryRun, "dry-run", false, "only tell what would be done")
	f.StringArrayVar(&flags.rebind, "rebind", nil, "the database of resource `NAME` was moved or restored on purpose, and has all that the old one had")
	f.StringArrayVar(&flags.adopt, "adopt", nil, "the log of identity `LOG` is lost: settle its branches, too")
	f.BoolVar(&flags.yes, "yes", false, "with --adopt: don't ask")
	f.DurationVar(&flags.minAge, "min-age", 0, "leave branches that are younger")
	f.DurationVar(&flags.watch, "watch", 0, "do it again after this `INTERVAL`, until a signal; one line when something changed")
	f.BoolVarP(&flags.quiet, "quiet", "q", false, "say nothing when all is well, and one line when not")
	f.StringVar(&flags.metrics, "metrics", "", metricsUsage)
	f.StringVar(&flags.lock, "lock", "", "end with status 3 while another xa-recover has the lock `FILE`")
	complete(cmd, "rebind", a.completeNames)
	complete(cmd, "adopt", a.completeLogs)
	return cmd
}

func (f resolveFlags) validate() error {
	switch {
	case f.watch < 0 || f.minAge < 0:
		return usagef("--watch and --min-age must not be negative")
	case f.watch > 0 && len(f.rebind)+len(f.adopt) > 0:
		return usagef("--rebind and --adopt are a person's word for one run: not with --watch")
	case len(f.only) > 0 && (f.watch > 0 || f.metrics != ""):
		return usagef("--watch and --metrics are about all that is in doubt: not with IDs")
	}
	for _, log := range f.adopt {
		if _, _, ok := txid.Split(log + "." + strings.Repeat("0", 26)); !ok || strings.Contains(log, ".") {
			return usagef("--adopt takes a log's identity as list --all prints it, not %q", log)
		}
	}
	return nil
}

// resolveOnce is resolve under its lock, once or again and again.
func (a *app) resolveOnce(ctx context.Context, flags resolveFlags) (int, error) {
	if err := flags.validate(); err != nil {
		return 0, err
	}
	if flags.lock != "" {
		lock, err := lockFile(flags.lock)
		if err != nil {
			return statusFailure, err
		}
		if lock == nil {
			fmt.Fprintf(a.stderr, "xa-recover: another xa-recover is at work (%s is locked): nothing was done\n", flags.lock)
			return statusInDoubt, nil
		}
		defer lock.Close()
	}
	if len(flags.adopt) > 0 && !flags.dryRun && !flags.yes {
		question := fmt.Sprintf(adoptQuestion, strings.Join(flags.adopt, ", "))
		if err := a.confirm(ctx, question); err != nil {
			return statusFailure, err
		}
	}
	if flags.watch > 0 {
		return a.watch(ctx, flags)
	}
	r, err := a.resolve(ctx, flags)
	if err := a.writeMetrics(flags.metrics, r, err); err != nil {
		return statusFailure, err
	}
	switch {
	case errors.Is(err, errUsage):
		return statusUsage, err
	case r == nil:
		return statusFailure, err
	case flags.quiet && err == nil && r.well(flags.minAge):
		return r.exitStatus(), nil
	case flags.quiet && a.flags.output == "table":
		fmt.Fprintln(a.stdout, r.line())
		return r.exitStatus(), err
	}
	return a.tell(r, err)
}

// aliveMeaning is what a person must know before a log is called lost.
const aliveMeaning = `Where the program that owns it is alive it must not be
adopted: that program may decide otherwise, and not every database can show that
it is (PostgreSQL can't).
`

const adoptQuestion = `To adopt a log is a person's word that nobody has it any more, and that no
application works with it. ` + aliveMeaning + `Its branches are then finished where a database proves what became of their
transaction.

Adopt %s? Type yes: `

// resolve makes one run. Without a result it failed before any database was asked.
func (a *app) resolve(ctx context.Context, flags resolveFlags) (*result, error) {
	open := a.own
	if flags.dryRun {
		open = a.read
	}
	s, err := open(ctx)
	if err != nil {
		return nil, err
	}
	defer s.Close()
	for _, name := range flags.rebind {
		if !slices.Contains(names(s), name) {
			return nil, usagef("--rebind: no resource is named %q, only %s", name, strings.Join(names(s), ", "))
		}
	}
	if slices.Contains(flags.adopt, s.log.ID()) {
		return nil, usagef("--adopt: %s is the log at hand: it is not lost", s.log.ID())
	}
	s.resolver.Rebind, s.resolver.Adopted = flags.rebind, flags.adopt
	if flags.minAge > 0 {
		s.resolver.Before = a.now().Add(-flags.minAge)
	}
	if err := s.narrow(ctx, flags.only); err != nil {
		return nil, err
	}
	progress := a.progress()
	s.resolver.Progress = progress.tell
	var report recovery.Report
	if flags.dryRun || s.owner != "" {
		report, err = s.scan(ctx)
	} else {
		report, err = s.resolver.Resolve(ctx)
	}
	progress.end()
	if err != nil && len(report.Resources) == 0 {
		return nil, err
	}
	r := newResult("resolve", report, s, a.now())
	r.Only = s.resolver.Only
	return r, cmp.Or(err, r.recognizeLogs(flags.adopt))
}

// narrow lets the run be about these transactions only, which must all be known, and this log's or an adopted one's.
func (s *session) narrow(ctx context.Context, ids []string) error {
	if len(ids) == 0 {
		return nil
	}
	report, err := s.scan(ctx)
	if err != nil {
		return err
	}
	for _, id := range ids {
		xid, wrong := parseID(id)
		if err := s.recognize(ctx, id, xid, wrong, report); err != nil {
			return err
		}
		if err := s.resolvable(ctx, id, xid, report); err != nil {
			return err
		}
		s.resolver.Only = with(s.resolver.Only, xid.GTRID)
	}
	return nil
}

// resolvable returns why resolve has nothing to do with the transaction, nil where it has.
func (s *session) resolvable(ctx context.Context, id string, xid drivers.XID, report recovery.Report) error {
	outcome, err := s.lookup(ctx, xid.GTRID)
	if err != nil {
		return err
	}
	held := len(report.Branches(func(b recovery.Branch) bool { return b.Raw == "" && b.XID.GTRID == xid.GTRID })) > 0
	unsettled := slices.ContainsFunc(report.Decisions, func(d recovery.Decision) bool { return d.ID == xid.GTRID })
	switch {
	case unsettled || outcome != txlog.Undecided && !held: // also where an adopted log made it
		return nil
	case !held && len(report.Unreached()) == 0:
		return fmt.Errorf("transaction %s is not known: no database holds a branch of it, and the log has no decision. Nothing was done", oneLine(xid.GTRID))
	}
	log, _, _ := txid.Split(xid.GTRID)
	return s.foreign(id, xid, "--adopt "+log)
}

// recognizeLogs returns an error that is errUsage where an adopted log has no branch, and looks like a slip for one that has.
func (r *result) recognizeLogs(adopt []string) error {
	for _, log := range adopt {
		var others []string
		for _, l := range r.Logs {
			others = append(others, l.LogID)
		}
		has := slices.ContainsFunc(r.Branches, func(b branchResult) bool { return txid.Belongs(b.id, log) })
		if near := nearestOf(log, others); near != "" && !has {
			return usagef("--adopt: no database holds a branch of log %q: did you mean %s?", log, near)
		}
	}
	return nil
}

func names(s *session) []string {
	var names []string
	for _, res := range s.resources {
		names = append(names, res.Name)
	}
	return names
}

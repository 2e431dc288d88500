package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// decideFlags are those of commit and rollback.
type decideFlags struct {
	why    string
	dryRun bool
	yes    bool
	force  bool
	adopt  bool
}

// decideCommand makes the command commit, or rollback.
func (a *app) decideCommand(outcome txlog.Outcome) *cobra.Command {
	var flags decideFlags
	name, short := "commit", "Commit one transaction by hand: a person's decision"
	if outcome == txlog.Aborted {
		name, short = "rollback", "Roll one transaction back by hand: a person's decision"
	}
	cmd := &cobra.Command{
		Use:   name + " ID --why TEXT",
		Short: short,
		Long: short + `.

It is recorded in the log, with who, when and why, and then carried out in every
database. It is refused where the log's decision, or what a database has done
already, says otherwise; --force does it all the same, and notes it as a
heuristic outcome. Without a terminal the word is given by --yes. With --dry-run
it only tells whether it would be refused, and what it would do.

First see what show tells of the transaction. A database that holds nothing of
it may have committed it, or rolled it back, or never had a part in it.`,
		Args:              oneID,
		ValidArgsFunction: a.completeIDs,
		RunE: a.action(func(ctx context.Context, args []string) (int, error) {
			if strings.TrimSpace(flags.why) == "" && !flags.dryRun {
				return 0, usagef("say why, for those who look at it later: --why TEXT")
			}
			return a.decide(ctx, name, args[0], outcome, flags)
		}),
	}
	f := cmd.Flags()
	f.StringVar(&flags.why, "why", "", "why, as `TEXT`; it is recorded in the log")
	f.BoolVar(&flags.dryRun, "dry-run", false, "only tell what would be done, or why it would be refused")
	f.BoolVar(&flags.yes, "yes", false, "don't ask")
	f.BoolVar(&flags.force, "force", false, "against the log's decision, or a database's, or although one can't be asked")
	f.BoolVar(&flags.adopt, "adopt", false, "the log that the transaction was made under is lost: record it in this one")
	return cmd
}

func (a *app) decide(ctx context.Context, command, id string, outcome txlog.Outcome, flags decideFlags) (int, error) {
	xid, wrong := parseID(id)
	open := a.own
	if flags.dryRun {
		open = a.read
	}
	s, err := open(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	if log, _, ok := txid.Split(xid.GTRID); ok && flags.adopt {
		s.resolver.Adopted = []string{log}
	}
	report, err := s.scan(ctx)
	if err != nil {
		return statusFailure, err
	}
	if err := s.recognize(ctx, id, xid, wrong, report); err != nil {
		return statusUsage, err
	}
	if err := s.foreign(id, xid, "--adopt"); err != nil {
		return statusFailure, err
	}
	log, _, _ := txid.Split(xid.GTRID)
	if use := report.InUse[log]; use != "" {
		return statusInDoubt, fmt.Errorf("%s. Nothing was done", use)
	}
	if s.owner != "" {
		r := newResult(command, report, s, a.now())
		if r.keep(xid.GTRID); len(r.Branches) > 0 {
			r.Status = "in_doubt"
		}
		r.InDoubt = len(r.Branches)
		return a.tell(r, nil)
	}
	if !flags.yes && !flags.dryRun {
		if err := a.confirm(ctx, a.question(ctx, s, report, xid.GTRID, command)); err != nil {
			return statusFailure, err
		}
	}
	others := report.Branches(func(b recovery.Branch) bool {
		return isForeign(b) || b.XID.GTRID != xid.GTRID && !txid.Belongs(b.XID.GTRID, s.log.ID())
	})
	carryOut := s.resolver.Finish
	if flags.dryRun {
		carryOut = s.resolver.Judge
	}
	report, err = carryOut(ctx, recovery.Verdict{ID: xid.GTRID, Outcome: outcome, By: a.who(), Why: flags.why, At: a.now(), Force: flags.force})
	if len(report.Resources) == 0 {
		return refused(err)
	}
	r := newResult(command, report, s, a.now())
	r.dryRun = flags.dryRun
	r.keep(xid.GTRID)
	if log != s.log.ID() {
		r.adopted = log
	}
	r.Logs, r.strangers = othersOf(others)
	return a.tell(r, err)
}

// foreign tells why a transaction is not this log's to finish; nil where it is, or where its log is adopted, for which there is a flag.
func (s *session) foreign(id string, xid drivers.XID, adopt string) error {
	log, _, _ := txid.Split(xid.GTRID)
	switch {
	case xid.FormatID != drivers.FormatID:
		return fmt.Errorf("%s is of another program: ask its owner. Nothing was done", id)
	case log != s.log.ID() && !slices.Contains(s.resolver.Adopted, log):
		return fmt.Errorf("%s was made under log %s, not this one (%s): nothing was done. If that log is lost for good, add %s", xid.GTRID, log, s.log.ID(), adopt)
	}
	return nil
}

// question shows the transaction as show does, and asks.
func (a *app) question(ctx context.Context, s *session, report recovery.Report, id, command string) string {
	r := newResult("show", report, s, a.now())
	r.addBranches(report.Branches(isForeign), a.now())
	r.keep(id)
	r.Transaction = &transaction{ID: id, Decision: unknown, Next: "a person's decision"}
	var log string
	log, r.Transaction.Begun, _ = txid.Split(id)
	if outcome, err := s.lookup(ctx, id); err == nil {
		r.Transaction.Decision = outcome.String()
	}
	r.prove(ctx, s, report, id)
	r.Transaction.Next = r.halves(r.Transaction.Next)
	var b strings.Builder
	r.write(&b, a.now())
	if log != r.LogID {
		fmt.Fprintf(&b, "\nLog %s must be lost for good. %s", log, aliveMeaning)
	}
	what := "Commit it"
	if command == "rollback" {
		what = "Roll it back"
	}
	fmt.Fprintf(&b, "\n%s in every database? Nothing undoes that. Type yes: ", what)
	return b.String()
}

// refused is what a decision that was not carried out means.
func refused(err error) (int, error) {
	switch {
	case errors.Is(err, recovery.ErrContradicts):
		return statusFailure, fmt.Errorf("%w. Nothing was done; --force does it all the same", err)
	case errors.Is(err, recovery.ErrUnasked):
		return statusInDoubt, fmt.Errorf("%w. Nothing was done; --force does it all the same", err)
	case errors.Is(err, recovery.ErrLive):
		return statusInDoubt, fmt.Errorf("%w. Nothing was done", err)
	}
	return statusFailure, err
}

// who tells who runs this.
func who() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); err == nil && name == "" {
		name = u.Username
	}
	host, _ := os.Hostname()
	return name + "@" + host
}

// forgetResult is what forget did.
type forgetResult struct {
	Command string `json:"command"` // "forget"
	Status  string `json:"status"`  // "forgotten", "nothing_to_forget" or "owned"; exit status 0, 1 or 3
	LogID   string `json:"log_id,omitempty"`
	Owner   string `json:"owner,omitempty"`
	ID      string `json:"id"`
	Notes   int    `json:"notes"` // that were forgotten
}

func (a *app) forgetCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "forget ID",
		Short: "Forget what is noted of a transaction: a person has put it in order",
		Long: `Forget what is noted of a transaction: a heuristic outcome that a person has put
in order, or who has decided it by hand. Nothing in the databases, and no
decision, is changed.`,
		Args:              oneID,
		ValidArgsFunction: a.completeNoted,
		RunE: a.brief(func(ctx context.Context, args []string) (int, error) {
			return a.forget(ctx, args[0])
		}),
	}
}

func (a *app) forget(ctx context.Context, id string) (int, error) {
	url, err := a.logURL()
	if err != nil {
		return 0, err
	}
	log, owner, err := a.ownLog(ctx, url, connect.Forever)
	if err != nil {
		return 0, err
	}
	id, _, _ = strings.Cut(id, "/")
	r := &forgetResult{Command: "forget", Status: "owned", Owner: owner, ID: id}
	if owner != "" {
		return statusInDoubt, a.print(r, r.write)
	}
	defer log.Close()
	r.LogID = log.ID()
	keeper, ok := log.(txlog.Notes)
	if !ok {
		return statusFailure, errors.New("this log keeps no notes: there is nothing to forget")
	}
	var noted []string
	for n, err := range keeper.Noted(ctx, "") {
		if err != nil {
			return statusFailure, err
		}
		if noted = append(noted, n.ID); n.ID == id {
			r.Notes++
		}
	}
	if near := nearestOf(id, noted); near != "" {
		return statusUsage, usagef("nothing is noted of %q: did you mean %s?", id, near)
	}
	if !slices.Contains(noted, id) {
		r.Status = "nothing_to_forget"
		return statusFailure, a.print(r, r.write)
	}
	if err := keeper.Forget(ctx, id); err != nil {
		return statusFailure, err
	}
	r.Status = "forgotten"
	return statusSettled, a.print(r, r.write)
}

func (r *forgetResult) write(w io.Writer) {
	switch r.Status {
	case "owned":
		fmt.Fprintf(w, "The log is in the hands of a live process (%s): end it first. Nothing was done.\n", r.Owner)
	case "nothing_to_forget":
		fmt.Fprintf(w, "Nothing is noted of %s. Nothing was done.\n", oneLine(r.ID))
	case "forgotten":
		fmt.Fprintf(w, "Forgotten: %s of %s.\n", plural(r.Notes, "note", "notes"), r.ID)
	}
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// transaction is what show tells of one global transaction.
type transaction struct {
	ID       string    `json:"id"`
	Begun    time.Time `json:"begun_at,omitzero"`
	Decision string    `json:"decision"` // "undecided", "committed" or "aborted"; "unknown" where the log is damaged
	Settled  bool      `json:"settled"`  // every branch has confirmed the decision
	Foreign  bool      `json:"foreign"`  // of another log or another program: nothing is known of its decision
	Next     string    `json:"next"`     // the next step, for a person
}

func (a *app) showCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Explain one global transaction: its decision, each branch, the next step",
		Long: `Explain one global transaction: its decision, its branch in each database and
the tables that it has locked, and the next step. The ID is the transaction's ID
or an XID, as list prints them.`,
		Args:              oneID,
		ValidArgsFunction: a.completeIDs,
		RunE: a.action(func(ctx context.Context, args []string) (int, error) {
			return a.show(ctx, args[0])
		}),
	}
}

func oneID(cmd *cobra.Command, args []string) error {
	if len(args) != 1 {
		return usagef("%s takes one ID: the transaction's ID or an XID, as list prints them", cmd.Name())
	}
	return nil
}

// parseID reads a transaction's ID, or the XID of one of its branches.
func parseID(s string) (drivers.XID, error) {
	if strings.Contains(s, "/") {
		xid, err := drivers.ParseXID(s)
		if err != nil {
			return xid, usagef("%w: copy it as list prints it", err)
		}
		return xid, nil
	}
	if _, _, ok := txid.Split(s); !ok {
		return drivers.XID{}, usagef("%q is not the ID of a global transaction: copy it, or an XID, as list prints it", s)
	}
	return drivers.XID{FormatID: drivers.FormatID, GTRID: s}, nil
}

// recognize returns an error that is errUsage where the ID is none, or looks like a slip for one that is known.
func (s *session) recognize(ctx context.Context, id string, xid drivers.XID, wrong error, report recovery.Report) error {
	if wrong == nil {
		if outcome, err := s.lookup(ctx, xid.GTRID); err != nil || outcome != txlog.Undecided {
			return nil
		}
	}
	if near := nearest(id, report); near != "" {
		return usagef("%q is not known: did you mean %s?", id, near)
	}
	return wrong
}

func (a *app) show(ctx context.Context, id string) (int, error) {
	xid, wrong := parseID(id)
	s, err := a.read(ctx)
	if wrong != nil && err != nil {
		return 0, wrong
	}
	if err != nil {
		return 0, err
	}
	defer s.Close()
	report, err := s.scan(ctx)
	if err != nil && s.damage == nil {
		return statusFailure, cmp.Or(wrong, err)
	}
	r := newResult("show", report, s, a.now())
	r.Logs = nil
	if wrong != nil {
		if r.explainNamed(report, id, a.now()) {
			return a.tell(r, s.damage)
		}
	}
	if err := s.recognize(ctx, id, xid, wrong, report); err != nil {
		return statusUsage, err
	}
	tx := &transaction{ID: xid.GTRID, Decision: undecided}
	if xid.FormatID != drivers.FormatID {
		tx.ID = xid.String() // another program's bytes may be anything
	}
	r.Transaction = tx
	_, tx.Begun, _ = txid.Split(xid.GTRID)

	if xid.FormatID != drivers.FormatID {
		err = r.explainForeign(report, xid, a.now())
	} else {
		r.prove(ctx, s, report, tx.ID)
		err = r.explainOurs(ctx, s, report, xid, a.now())
	}
	if err != nil {
		return r.exitStatus(), err
	}
	r.addBlocking(ctx, s.resources)
	r.addTables(ctx, s.resources)
	return a.tell(r, s.damage)
}

// explainOurs looks into the log first: what was decided of another log's transaction, which was adopted, is in it as well.
func (r *result) explainOurs(ctx context.Context, s *session, report recovery.Report, xid drivers.XID, now time.Time) error {
	outcome, err := s.lookup(ctx, xid.GTRID)
	unreadable := s.damage != nil && errors.Is(err, txlog.ErrCorrupt)
	switch {
	case err != nil && !unreadable:
		return err
	case txid.Belongs(xid.GTRID, s.log.ID()) || err == nil && (outcome != txlog.Undecided || r.hasNotes(xid.GTRID)):
	default:
		return r.explainForeign(report, xid, now)
	}
	r.addBranches(report.Branches(isForeign), now) // those of an adopted one that turn up after it was settled
	if s.damage != nil {
		r.explainDamage(outcome, err)
		return nil
	}
	return r.explain(outcome)
}

func (r *result) hasNotes(id string) bool {
	return slices.ContainsFunc(r.Notes, func(n noteResult) bool { return n.ID == id })
}

// explain narrows the result down to the transaction, and finds its next step. The exit status is about this transaction alone.
func (r *result) explain(outcome txlog.Outcome) error {
	tx := r.Transaction
	tx.Decision = outcome.String()
	r.keep(tx.ID)
	r.InDoubt, r.Heuristic, r.Foreign = len(r.Branches), 0, 0
	unreached := r.unreached()
	r.Status = "in_doubt"
	defer func() {
		if r.heuristicNotes() == 0 {
			return
		}
		r.Status = "heuristic"
		mend := "put the data in order (complete the transaction everywhere, or reverse it), and only then run xa-recover forget " + tx.ID
		if len(r.Branches) > 0 || len(unreached) > 0 || len(r.Decisions) > 0 && !r.Decisions[0].Settled {
			mend = tx.Next + "; then " + mend
		}
		tx.Next = mend
	}()
	switch {
	case len(r.Branches) > 0:
		tx.Next = r.halves(r.nextStep())
	case len(r.Decisions) > 0 && !r.Decisions[0].Settled:
		tx.Next = "nothing is settled yet: " + r.Decisions[0].Reason
	case len(r.Decisions) > 0:
		r.Status = "settled"
		tx.Next = "nothing waits: no database holds a branch of it any more, and resolve will settle the decision"
	case outcome != txlog.Undecided:
		r.Status, tx.Settled = "settled", true
		tx.Next = "nothing: it is settled"
	case len(r.Notes) > 0:
		r.Status = "settled"
		tx.Next = "nothing: no database holds a branch of it, and the log has no decision of it now"
	case len(unreached) > 0:
		tx.Next = fmt.Sprintf("ask again: the log has no decision of it, and %s could not be asked", quotedNames(unreached))
	default:
		r.Status = "settled"
		return fmt.Errorf("transaction %s is not known: no database holds a branch of it, and the log has no decision. It was rolled back, or settled and forgotten long ago, or never was", tx.ID)
	}
	return nil
}

// explainDamage narrows the result down to the transaction, of which a damaged log tells as much as can be read.
func (r *result) explainDamage(outcome txlog.Outcome, unreadable error) {
	tx := r.Transaction
	tx.Decision = outcome.String()
	if unreadable != nil {
		tx.Decision = unknown
	}
	r.keep(tx.ID)
	r.InDoubt, r.Heuristic, r.Foreign = len(r.Branches), 0, 0
	tx.Settled = unreadable == nil && len(r.Decisions) == 0 && len(r.Branches) == 0
	tx.Next = "the log is damaged: xa-recover log verify explains what it means, and the way out"
}

// nextStep tells what becomes of the branches that are still there.
func (r *result) nextStep() string {
	if r.Owner != "" {
		return "wait: the process that owns the log is alive (" + r.Owner + "), and settles it"
	}
	var steps []string
	for _, step := range []struct {
		action recovery.Action
		text   string
	}{
		{recovery.WouldCommit, "run xa-recover resolve: it commits in "},
		{recovery.WouldRollBack, "run xa-recover resolve: it rolls back in "},
		{recovery.Live, "wait: another process that shares the log is alive, and settles it in "},
		{recovery.Left, "remove what stands in the way in "},
	} {
		var names []string
		for _, b := range r.Branches {
			if b.Action == actionName(step.action) {
				names = append(names, b.Resource)
			}
		}
		if slices.Sort(names); names != nil {
			steps = append(steps, step.text+strings.Join(names, ", "))
		}
	}
	return strings.Join(steps, "; ")
}

// explainForeign narrows the result down to a branch that is not this log's.
func (r *result) explainForeign(report recovery.Report, xid drivers.XID, now time.Time) error {
	same := report.Branches(func(b recovery.Branch) bool {
		return b.Raw == "" && b.XID.FormatID == xid.FormatID && b.XID.GTRID == xid.GTRID && (xid.BQual == "" || b.XID.BQual == xid.BQual)
	})
	r.Branches, r.Decisions, r.Notes, r.InDoubt, r.Heuristic, r.Status = []branchResult{}, []decisionResult{}, []noteResult{}, 0, 0, "settled"
	r.Foreign = len(same)
	r.addBranches(same, now)
	tx := r.Transaction
	tx.Foreign = true
	log, _, ours := txid.Split(xid.GTRID)
	_, strange := othersOf(same)
	others, _ := othersOf(report.Branches(func(b recovery.Branch) bool { return txid.Belongs(b.XID.GTRID, log) })) // a session may show elsewhere that it is in use
	switch ours = ours && xid.FormatID == drivers.FormatID; {
	case len(same) == 0 && len(r.proven) == 0:
		return fmt.Errorf("%s is not known: it is not of this log (%s), which has no decision of it, and no database holds a branch of it", tx.ID, r.LogID)
	case !ours:
		tx.Next = strange.ask()
	case len(same) == 0:
		tx.Next = "nothing: no database holds a branch of it"
	case len(others) > 0 && others[0].InUse != "":
		tx.Next = "none here: " + others[0].advice(false)
	default:
		tx.Next = "none here: the program that owns log " + log + " settles it itself, with its own configuration. Only if that log was lost or replaced: " + adoptHint(log)
	}
	return nil
}

// explainNamed narrows the result down to what another program has prepared under a name that is no XID, as list --all prints it.
func (r *result) explainNamed(report recovery.Report, name string, now time.Time) bool {
	same := report.Branches(func(b recovery.Branch) bool { return b.Raw != "" && (b.Raw == name || strconv.Quote(b.Raw) == name) })
	if len(same) == 0 {
		return false
	}
	_, strange := othersOf(same)
	r.Branches, r.Decisions, r.Notes, r.InDoubt, r.Heuristic, r.Status = []branchResult{}, []decisionResult{}, []noteResult{}, 0, 0, "settled"
	r.Foreign = len(same)
	r.Transaction = &transaction{ID: oneLine(name), Decision: undecided, Foreign: true, Next: strange.ask()}
	r.addBranches(same, now)
	return true
}

// ask is the next step of what another program has prepared.
func (s strangers) ask() string {
	who := "its owner"
	if len(s.owners) > 0 {
		who += " (" + and(s.owners) + ")"
	}
	return fmt.Sprintf("none here: another program has prepared it in %s: ask %s. xa-recover never touches it", and(s.resources), who)
}

func quotedNames(resources []resourceResult) string {
	var names []string
	for _, res := range resources {
		names = append(names, fmt.Sprintf("%q", res.Name))
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

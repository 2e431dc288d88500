package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/xasql/xasql/recovery"
)

// writeWould sums up what a person's decision would do.
func (r *result) writeWould(w io.Writer) {
	does, action := "Would commit", recovery.WouldCommit
	if r.Command == "rollback" {
		does, action = "Would roll back", recovery.WouldRollBack
	}
	n, leaves := r.count(action), ""
	if r.InDoubt > n {
		leaves = fmt.Sprintf(", and leave %d", r.InDoubt-n)
	}
	fmt.Fprintf(w, "%s %s%s. Nothing was done, and nothing noted.\n", does, plural(n, "branch", "branches"), leaves)
	if r.heuristicNotes() > 0 {
		fmt.Fprintln(w, "It goes against what is known: it would be a heuristic outcome, which needs a person until xa-recover forget ID.")
	}
}

func (r *result) writeSummary(w io.Writer) {
	if r.dryRun {
		r.writeWould(w)
		return
	}
	if settled := r.settledDecisions(); r.Acted && len(r.Branches)+settled > 0 {
		of := ""
		if n := r.transactions(func(branchResult) bool { return true }); n > 0 {
			of = ", of " + plural(n, "transaction", "transactions")
		}
		fmt.Fprintf(w, "Committed %s, rolled back %d, left %d%s; settled %s.\n", plural(r.count(recovery.Committed), "branch", "branches"),
			r.count(recovery.RolledBack), r.InDoubt, of, plural(settled, "decision", "decisions"))
	}
	unreached := len(r.unreached())
	switch {
	case r.Status == damaged:
		fmt.Fprintf(w, "%s in doubt, as far as the log can be read. Nothing is settled before it is whole: xa-recover log verify explains.\n",
			plural(r.InDoubt, "branch is", "branches are"))
	case r.Heuristic > 0:
		fmt.Fprintf(w, "%s a person: finished against the decision, or not to be finished without overwriting others' work.\n",
			plural(r.Heuristic, "branch needs", "branches need"))
	case r.heuristicNotes() > 0:
		fmt.Fprintf(w, "%s a person, until xa-recover forget ID: what was finished against the decision is noted above.\n",
			plural(r.heuristicNotes(), "outcome needs", "outcomes need"))
		if r.InDoubt > 0 {
			fmt.Fprintln(w, r.doubt())
		}
	case r.InDoubt > 0:
		fmt.Fprintln(w, r.doubt())
	case unreached > 0:
		fmt.Fprintf(w, "Nothing is known to be in doubt, but %s could not be asked.\n", plural(unreached, "database", "databases"))
	case r.Status != "settled":
		fmt.Fprintln(w, "No branch is in doubt, but not every decision can be settled.")
	case len(r.Only) > 1:
		fmt.Fprintf(w, "Nothing of these %d transactions is in doubt in %s.\n", len(r.Only), plural(len(r.Resources), "database", "databases"))
	case r.Command == "commit" || r.Command == "rollback" || len(r.Only) == 1:
		fmt.Fprintf(w, "Nothing of it is in doubt in %s.\n", plural(len(r.Resources), "database", "databases"))
	default:
		fmt.Fprintf(w, "Nothing of this log (%s) is in doubt in %s.\n", r.LogID, plural(len(r.Resources), "database", "databases"))
	}
	if r.NoNotes && (r.Heuristic > 0 || r.Command == "commit" || r.Command == "rollback") {
		fmt.Fprintln(w, "This log keeps no notes: write down what you see here.")
	}
	if r.Owner != "" {
		fmt.Fprintf(w, "The log is in the hands of a live process (%s), which settles what is in doubt itself. Nothing was touched.\n", r.Owner)
	}
}

// transactions counts those that have a branch as is asked for.
func (r *result) transactions(keep func(branchResult) bool) int {
	ids := map[string]bool{}
	for _, b := range r.Branches {
		if b.Action != actionName(recovery.Foreign) && keep(b) {
			ids[b.id] = true
		}
	}
	return len(ids)
}

// doubt counts what is in doubt, and what would become of it.
func (r *result) doubt() string {
	are := "are"
	if r.InDoubt == 1 {
		are = "is"
	}
	transactions := r.transactions(func(b branchResult) bool { return b.live })
	line := fmt.Sprintf("%s of %s %s in doubt", plural(r.InDoubt, "branch", "branches"), plural(transactions, "transaction", "transactions"), are)
	if r.count(recovery.WouldCommit)+r.count(recovery.WouldRollBack) == 0 {
		return line + "."
	}
	var parts []string
	for _, p := range []struct {
		action recovery.Action
		text   string
	}{
		{recovery.WouldCommit, "to commit"}, {recovery.WouldRollBack, "to roll back"}, {recovery.Live, "in hand"}, {recovery.Left, "left"},
	} {
		if n := r.count(p.action); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, p.text))
		}
	}
	line += ": " + strings.Join(parts, ", ") + "."
	if r.Transaction == nil && r.mayBeHalf() {
		line += "\nHas somebody committed or rolled back at a database's own prompt? Then compare the rows before resolve: show ID tells where."
	}
	return line
}

// writeUnverified writes which transactions a person would have to look at, if somebody has finished branches by hand.
func (r *result) writeUnverified(w io.Writer) {
	ids, names := r.unverified()
	if len(ids) == 0 || !r.Acted {
		return
	}
	hold, of := "hold", "of them any more, and nothing proves that they were"
	if len(names) == 1 {
		hold = "holds"
	}
	if len(ids) == 1 {
		of = "of it any more, and nothing proves that it was"
	}
	fmt.Fprintf(w, "%s unverified: %s %s no branch %s committed there.\n", plural(len(ids), "decision is", "decisions are"), and(names), hold, of)
	fmt.Fprintln(w, "That is usual after a crash in the middle of the commits. If somebody finished branches by hand, compare the rows of")
	for i, id := range ids {
		if i == maxUnverified {
			fmt.Fprintf(w, "    and %d more: --output json lists them all\n", len(ids)-i)
			break
		}
		fmt.Fprintf(w, "    %s\n", id)
	}
}

// maxUnverified limits how many unverified transactions get a line each.
const maxUnverified = 10

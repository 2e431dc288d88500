package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// prove asks the databases what has become of the transaction's branches.
func (r *result) prove(ctx context.Context, s *session, report recovery.Report, id string) {
	d := txlog.Decision{ID: id}
	for _, known := range report.Decisions {
		if known.ID == id {
			d = known.Decision
		}
	}
	r.proven = s.resolver.Proven(ctx, d)
}

// writeStates writes what each database holds, or proves, of the transaction.
func (r *result) writeStates(w io.Writer) {
	t := table{}
	t.row("", "RESOURCE", "STATE", "NEXT", "XID")
	for _, res := range r.Resources {
		held := false
		for _, b := range r.Branches {
			if b.Resource == res.Name {
				held = true
				t.row(r.why(b), b.Resource, "prepared, "+b.age()+" old", r.action(b), b.name())
			}
		}
		if !held {
			state, note := r.state(res)
			t.row(note, res.Name, state, "-", "-")
		}
	}
	t.write(w)
}

// state is what is known of a database that lists no branch of the transaction. What nothing proves is not claimed.
func (r *result) state(res resourceResult) (state, note string) {
	for _, n := range r.Notes {
		if n.Kind == txlog.Heuristic.String() && n.Resource == res.Name {
			return "heuristic", n.Text
		}
	}
	switch r.proven[res.Name] {
	case txlog.Committed:
		return "committed (proven)", ""
	case txlog.Aborted:
		return "rolled back (proven)", ""
	}
	named, known := r.participants()
	switch {
	case res.Error != "":
		return "not known", ""
	case res.Withheld != "":
		return "another database", "it holds nothing of it, which tells nothing of the one that was meant"
	case known && slices.Contains(named, res.Name):
		return "holds nothing of it any more", "the decision to commit names it: committed, or gone"
	case known:
		return "has no part in it", ""
	}
	if r.Transaction != nil && r.Transaction.Decision == undecided {
		return "holds nothing of it", "not prepared there, no part in it, or finished by somebody: only its rows tell"
	}
	return "holds nothing of it", ""
}

// participants are the databases that had a part in the transaction. Only a coordinator's own decision to commit tells that: any other names all databases.
func (r *result) participants() (names []string, known bool) {
	if r.Transaction == nil || !txid.Belongs(r.Transaction.ID, r.LogID) || len(r.Decisions) != 1 || r.Decisions[0].Outcome != txlog.Committed.String() {
		return nil, false
	}
	if slices.ContainsFunc(r.Notes, func(n noteResult) bool { return n.ID == r.Transaction.ID }) {
		return nil, false // a person's, or recovery's by a database's proof
	}
	return r.Decisions[0].Resources, true
}

// mayBeHalf tells whether a transaction without a decision is to be rolled back of which not every database holds a branch.
func (r *result) mayBeHalf() bool {
	holders := map[string]int{}
	for _, b := range r.Branches {
		if b.Action == actionName(recovery.WouldRollBack) && b.Decision == undecided {
			holders[b.id]++
		}
	}
	for _, n := range holders {
		if n < len(r.Resources) {
			return true
		}
	}
	return false
}

// halves adds a warning to the next step of a transaction without a decision, to be rolled back, of which other databases hold nothing: somebody may have finished it there by hand.
func (r *result) halves(next string) string {
	if r.count(recovery.WouldRollBack) == 0 || r.Transaction.Decision != undecided {
		return next
	}
	var silent []string
	for _, res := range r.Resources {
		holds := slices.ContainsFunc(r.Branches, func(b branchResult) bool { return b.Resource == res.Name })
		if !holds && res.Error == "" && res.Withheld == "" && r.proven[res.Name] == txlog.Undecided {
			silent = with(silent, res.Name)
		}
	}
	if len(silent) == 0 {
		return next
	}
	hold := "hold"
	if len(silent) == 1 {
		hold = "holds"
	}
	return fmt.Sprintf("%s %s nothing of it. If somebody finished it there by hand, compare the rows: what is committed in one must be committed in all, by xa-recover commit %s. Else it was not prepared there yet: %s",
		and(silent), hold, r.Transaction.ID, next)
}

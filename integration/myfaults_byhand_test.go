package integration

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/xa"
)

// An operator finishes a branch while its application lives. Where the application's own session is told that the branch is unknown it
// says so, noted until a person has it forgotten; where the session was killed before, recovery finds nothing, and calls that
// unverified. Neither ever says that the branch was committed (rule P1).
func TestMySQLBranchFinishedByHandIsNeverCalledCommitted(t *testing.T) {
	forMyFaults(t, faultSetUp{}, func(t *testing.T, w *faultWorld) {
		for _, point := range []string{"decide-start", "decide-done"} {
			for _, verb := range []string{"commit", "rollback"} {
				for _, kill := range []bool{false, true} {
					w.finishByHand(point, verb, kill)
				}
			}
		}
	})
}

func (w *faultWorld) finishByHand(point, verb string, kill bool) {
	w.t.Helper()
	what := fmt.Sprintf("%s at %s, session killed %t", verb, point, kill)
	var byHand error
	w.at(point, func(id string) { byHand = w.finish(verb, id, kill) })
	x := w.transfer(faultWork{})
	w.reached(what)
	w.settle()
	if w.maria() && !kill { // the branch is its session's alone
		wantMyError(w.t, what, byHand, 1397)
		w.wantTold(what, x, ledger.Committed)
		w.wantNotes(what, x, 0)
		return
	}
	if byHand != nil {
		w.t.Errorf("%s: %v", what, byHand)
	}
	if kill {
		w.wantTold(what, x, ledger.Committed)
		w.wantUnverified(what, x)
		w.wantNotes(what, x, 0)
	} else {
		w.wantTold(what, x, ledger.Heuristic)
		if be, ok := errors.AsType[*xa.BranchError](x.err); !ok || be.XID.BQual != w.databases[0].name {
			w.t.Errorf("%s: %v does not name the branch", what, x.err)
		}
		w.wantForgettable(what, x)
	}
	w.mend(what, x, verb == "commit")
}

// Before a rollback, too, an operator may finish what is prepared: the application's own session learns that its branch is gone, and not how. If it was
// committed that is half a transaction, so it is never called rolled back. Where the session was killed before, recovery decides.
func TestMySQLBranchFinishedByHandBeforeTheRollbackIsNotCalledRolledBack(t *testing.T) {
	forMyFaults(t, faultSetUp{}, func(t *testing.T, w *faultWorld) {
		for _, kill := range []bool{false, true} {
			if !kill && w.maria() {
				continue // only its session can finish it
			}
			what, want := "in its session", ledger.Heuristic
			if kill {
				what, want = "its session killed", ledger.RolledBack
			}
			work := w.rollingBack()
			w.at("rollback-start", func(id string) {
				if err := w.finish("rollback", id, kill); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
			x := w.transfer(work)
			w.reached(what)
			w.wantTold(what, x, want)
			if !errors.Is(x.err, errFaultOwn) {
				t.Errorf("%s: %v does not tell why", what, x.err)
			}
			w.settle()
			if !kill {
				w.wantForgettable(what, x)
				w.tell(x.id, ledger.Unknown) // the books are whole
			}
		}
	})
}

// finish finishes a branch of the first database's as an operator does, with its session killed before or not.
func (w *faultWorld) finish(verb, id string, kill bool) error {
	xid := drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: w.databases[0].name}
	if kill {
		w.kill()
		w.awaitFree(xid)
	}
	_, err := w.admin.ExecContext(w.t.Context(), myByHand(verb, xid))
	return err
}

// awaitFree returns when the session that prepared the branch has handed it over: on MariaDB, what others do to it between that session's leaving the
// process list and the handover is answered with OK, and has no effect.
func (w *faultWorld) awaitFree(xid drivers.XID) {
	w.t.Helper()
	w.eventually("the branch is free", func() bool {
		list, err := mysql.New().Prepared(w.t.Context(), w.admin)
		if err != nil {
			w.t.Error(err)
		}
		return slices.ContainsFunc(list, func(p drivers.Prepared) bool { return p.XID == xid && !p.Held })
	})
}

// wantUnverified fails the test unless recovery has settled the decision with the first database's branch as unverified.
func (w *faultWorld) wantUnverified(what string, x faultTransfer) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if got := w.unverified[x.tx]; !slices.Contains(got, w.databases[0].name) {
		w.t.Errorf("%s: recovery calls %q unverified, and not the branch", what, got)
	}
}

// wantNotes fails the test unless so many heuristic outcomes of the transaction in the first database are noted.
func (w *faultWorld) wantNotes(what string, x faultTransfer, want int) {
	w.t.Helper()
	notes := w.noted(x)
	if len(notes) != want || slices.ContainsFunc(notes, func(n txlog.Note) bool { return n.Kind != txlog.Heuristic || n.Resource != w.databases[0].name }) {
		w.t.Errorf("%s: want %d notes of a heuristic outcome, got %+v", what, want, notes)
	}
}

// wantForgettable fails the test unless a heuristic outcome is noted until it is forgotten.
func (w *faultWorld) wantForgettable(what string, x faultTransfer) {
	w.t.Helper()
	w.wantNotes(what, x, 1)
	if err := w.log.Forget(w.t.Context(), x.tx); err != nil {
		w.t.Error(err)
	}
	w.wantNotes(what+", forgotten", x, 0)
}

// mend fails the test unless the first database has the entry of a transfer or not, as it should, and the other has it; then it
// makes the books whole, as a person would.
func (w *faultWorld) mend(what string, x faultTransfer, want bool) {
	w.t.Helper()
	if there := w.in(0, x) == 1; there != want || w.in(1, x) != 1 {
		w.t.Errorf("%s: on the server %t, want %t; in the other database %t", what, there, want, w.in(1, x) == 1)
	}
	if !want {
		if err := ledger.Post(w.t.Context(), w.admin, x.entry(0)); err != nil {
			w.t.Error(err)
		}
	}
	w.tell(x.id, ledger.Unknown)
}

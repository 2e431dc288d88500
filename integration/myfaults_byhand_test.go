package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/xa"
)

// An operator finishes a branch while its application lives. Where the application's own session is told that the branch is unknown it
// says so, noted until a person has it forgotten; where the session was killed before, recovery finds nothing, and calls that
// unverified. Neither ever says that the branch was committed (rule P1).
func TestMySQLBranchFinishedByHandIsNeverCalledCommitted(t *testing.T) {
	forMyFaults(t, mySetUp{}, func(t *testing.T, f *myFaults) {
		for _, step := range []string{myDecide, myDecided} {
			for _, verb := range []string{"XA COMMIT", "XA ROLLBACK"} {
				for _, kill := range []bool{false, true} {
					f.finishByHand(step, verb, kill)
				}
			}
		}
	})
}

func (f *myFaults) finishByHand(step, verb string, kill bool) {
	f.t.Helper()
	what := fmt.Sprintf("%s at %s, session killed %t", verb, step, kill)
	var byHand error
	id, err := f.transfer(myTransfer{at: func(at string, session int64) error {
		if at == step {
			if kill {
				f.kill(session)
			}
			byHand = f.byHand(verb)
		}
		return nil
	}})
	f.settle()
	gtrid := f.xid.Load().GTRID
	if f.server.Engine.Kind == engines.MariaDB && !kill { // the branch is its session's alone
		f.wantMyError(what, byHand, 1397)
		wantMyOutcome(f.t, what, err, ledger.Committed)
		f.wantNotes(what, gtrid, 0)
		return
	}
	if byHand != nil {
		f.t.Errorf("%s: %v", what, byHand)
	}
	if kill {
		wantMyOutcome(f.t, what, err, ledger.Committed)
		f.wantUnverified(what, gtrid)
		f.wantNotes(what, gtrid, 0)
	} else {
		wantMyOutcome(f.t, what, err, ledger.Heuristic)
		if be, ok := errors.AsType[*xa.BranchError](err); !ok || be.XID.BQual != f.bank.databases[0].name {
			f.t.Errorf("%s: %v does not name the branch", what, err)
		}
		f.wantNotes(what, gtrid, 1)
		if err := f.log.Forget(f.t.Context(), gtrid); err != nil {
			f.t.Error(err)
		}
		f.wantNotes(what+", forgotten", gtrid, 0)
	}
	f.mend(id, verb == "XA COMMIT")
}

// Before a rollback, too, an operator may finish what is prepared: the application's own session learns that its branch is gone, and not how. If it was
// committed that is half a transaction, so it is never called rolled back. Where the session was killed before, recovery decides.
func TestMySQLBranchFinishedByHandBeforeTheRollbackIsNotCalledRolledBack(t *testing.T) {
	forMyFaults(t, mySetUp{}, func(t *testing.T, f *myFaults) {
		for _, kill := range []bool{false, true} {
			if !kill && f.server.Engine.Kind == engines.MariaDB {
				continue // only its session can finish it
			}
			what, want := "in its session", ledger.Heuristic
			if kill {
				what, want = "its session killed", ledger.RolledBack
			}
			id, err := f.transfer(myTransfer{at: func(at string, session int64) error {
				if at == myPrepared {
					f.tx.SetRollbackOnly(errMyOwn)
				} else if at == myRollback {
					if kill {
						f.kill(session)
					}
					return f.byHand("XA ROLLBACK")
				}
				return nil
			}})
			wantMyOutcome(t, what, err, want)
			if !errors.Is(err, errMyOwn) {
				t.Errorf("%s: %v does not tell why", what, err)
			}
			f.settle()
			if gtrid := f.xid.Load().GTRID; !kill {
				f.wantNotes(what, gtrid, 1)
				if err := f.log.Forget(t.Context(), gtrid); err != nil {
					t.Error(err)
				}
				f.tell(id, ledger.Unknown) // the books are whole
			}
		}
	})
}

// byHand finishes the branch that was last seen, as an operator does.
func (f *myFaults) byHand(verb string) error {
	xid := f.xid.Load()
	_, err := f.admin.ExecContext(f.t.Context(), fmt.Sprintf("%s x'%x',x'%x',%d", verb, xid.GTRID, xid.BQual, xid.FormatID))
	return err
}

// wantUnverified fails the test unless recovery has settled the decision with the server's branch as unverified.
func (f *myFaults) wantUnverified(what, gtrid string) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	if !slices.ContainsFunc(f.settled, func(d recovery.Decision) bool {
		return d.ID == gtrid && d.Settled && slices.Contains(d.Unverified, f.bank.databases[0].name)
	}) {
		f.t.Errorf("%s: recovery did not call the branch unverified: %+v", what, f.settled)
	}
}

// wantNotes fails the test unless recovery tells so many heuristic outcomes of the transaction.
func (f *myFaults) wantNotes(what, gtrid string, want int) {
	f.t.Helper()
	report, err := f.manager.Recover(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	got := 0
	for _, n := range report.Notes {
		if n.ID == gtrid && n.Kind == txlog.Heuristic && n.Resource == f.bank.databases[0].name {
			got++
		}
	}
	if got != want {
		f.t.Errorf("%s: %d notes of a heuristic outcome, want %d: %+v", what, got, want, report.Notes)
	}
}

// mend fails the test unless the server has the entry of a transfer or not, as it should, and the other database has it; then it
// makes the books whole, as a person would.
func (f *myFaults) mend(id string, want bool) {
	f.t.Helper()
	entries := func(i int) map[string]ledger.Entry {
		db := f.bank.databases[i].open(f.t)
		defer db.Close()
		book, err := ledger.Read(f.t.Context(), db)
		if err != nil {
			f.t.Fatal(err)
		}
		return book.Entries
	}
	other, committed := entries(1)[id]
	if _, there := entries(0)[id]; there != want || !committed {
		f.t.Errorf("%s: on the server %t, want %t; in the other database %t", id, there, want, committed)
	}
	if !want {
		other.Delta = -other.Delta
		if err := ledger.Post(context.WithoutCancel(f.t.Context()), f.admin, other); err != nil {
			f.t.Error(err)
		}
	}
	f.tell(id, ledger.Unknown)
}

package main

import (
	"fmt"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog"
)

func TestHeuristicOutcomeIsListedUntilForgotten(t *testing.T) {
	w := newWorld(t)
	w.noteHeuristic()
	w.wantStatus(w.run("list"), 4)
	w.wantStatus(w.run("resolve"), 4)
	w.wantStatus(w.run("list", "-o", "json"), 4)
	w.wantStatus(w.run("show", w.id(1)), 4)
	w.wantStatus(w.run("forget", w.id(2)), 2)
	w.wantStatus(w.run("forget", "k"), 1)
	w.owned = true
	w.wantStatus(w.run("forget", w.id(1)), 3)
	w.owned = false
	w.wantStatus(w.run("forget", w.id(1)), 0)
	w.wantStatus(w.run("forget", w.id(1), "--output", "json"), 1)
	w.wantStatus(w.run("list"), 0)
	w.golden("forget")
}

// noteHeuristic leaves a transaction of which one database has rolled its branch back although the decision is committed.
func (w *world) noteHeuristic() {
	w.t.Helper()
	w.decide(1, txlog.Committed, time.Minute, "berlin", "paris")
	n := txlog.Note{ID: w.id(1), Kind: txlog.Heuristic, Resource: "paris", By: "recovery", At: now.Add(-time.Minute),
		Text: "the decision is committed, and the database answered: branch was rolled back by the database"}
	if err := w.log.Note(w.t.Context(), n); err != nil {
		w.t.Fatal(err)
	}
}

func TestCommitAndRollbackAreAPersonsDecision(t *testing.T) {
	w := newWorld(t)
	w.made = true
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.prepare(2, 5*time.Minute, "berlin")
	w.prepare(3, 5*time.Minute, "paris")
	w.wantStatus(w.run("commit", w.id(1)), 2)                  // no reason
	w.wantStatus(w.run("commit", w.id(1), "--why", "paid"), 2) // nobody to ask
	w.stdin = "no\n"
	w.wantStatus(w.run("commit", w.id(1), "--why", "paid"), 1)
	w.stdin = "yes\n"
	w.wantStatus(w.run("commit", w.id(1), "--why", "the customer has paid"), 0)
	w.stdin = ""
	w.wantStatus(w.run("rollback", w.id(2)+"/berlin", "--why", "a test order", "--yes", "-o", "json"), 0)
	w.wantStatus(w.run("rollback", w.id(1), "--why", "oops", "--yes"), 1)
	w.wantStatus(w.run("commit", w.id(1), "--why", "again", "--yes"), 0)
	w.wantStatus(w.run("commit", w.id(4), "--why", "a slip", "--yes"), 2)
	w.wantStatus(w.run("commit", w.id(3)[:30], "--why", "a slip", "--yes"), 2)
	w.wantStatus(w.run("list"), 3)
	w.golden("decide")
	if b, p := w.dbs["berlin"].Stats().Prepared, w.dbs["paris"].Stats().Prepared; b != 0 || p != 1 {
		t.Errorf("berlin holds %d branches and paris %d, want 0 and 1", b, p)
	}
}

func TestDecisionAgainstTheLogIsForcedAndRemembered(t *testing.T) {
	w := newWorld(t)
	w.made = true
	w.prepare(1, time.Minute, "berlin", "paris")
	w.decide(1, txlog.Committed, time.Minute, "berlin", "paris")
	w.wantStatus(w.run("rollback", w.id(1), "--why", "paid twice", "--yes"), 1)
	w.wantStatus(w.run("rollback", w.id(1), "--why", "paid twice", "--yes", "--force"), 4)
	w.wantStatus(w.run("resolve"), 4)
	w.wantStatus(w.run("forget", w.id(1)), 0)
	w.wantStatus(w.run("list"), 0)
	w.golden("force")
}

func TestDecisionIsRefusedWhereItCannotBeKnown(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin")
	w.owned = true
	w.wantStatus(w.run("rollback", w.id(1), "--why", "test", "--yes"), 3)
	w.owned = false
	w.dbs["paris"].Down(true)
	w.wantStatus(w.run("commit", w.id(1), "--why", "test", "--yes"), 3)
	w.dbs["paris"].Down(false)
	w.dbs["berlin"].Stranger(drivers.Prepared{XID: drivers.XID{FormatID: drivers.FormatID, GTRID: w.id(1), BQual: "berlin"}}, false)
	w.wantStatus(w.run("commit", w.id(1), "--why", "test", "--yes"), 1)
	w.strangers()
	w.wantStatus(w.run("rollback", "1:bitronix%20x/%01", "--why", "test", "--yes"), 1)
	w.wantStatus(w.run("rollback", "bogus", "--why", "test", "--yes"), 2)
	w.wantStatus(w.run("rollback"), 2)
	w.wantStatus(w.run("forget"), 2)
	w.golden("decide-refused")
}

func TestForcedDecisionThatOneDatabaseRefuses(t *testing.T) {
	w := newWorld(t)
	w.made = true
	w.prepare(1, time.Minute, "berlin", "paris")
	w.dbs["paris"].Fail(memdb.OpCommitPrepared, memdb.Fault{Err: fmt.Errorf("memdb: paris: %w", drivers.ErrRolledBack)})
	w.wantStatus(w.run("commit", w.id(1), "--why", "paid", "--yes"), 4)
	w.golden("decide-heuristic")
}

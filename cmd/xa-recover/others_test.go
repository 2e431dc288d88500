package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// lost is the ID of the n-th transaction under another log, prepared in these databases.
func (w *world) lost(n int, resources ...string) string {
	id := fmt.Sprintf("otherlog.01JD%022d", n)
	for _, name := range resources {
		w.dbs[name].Stranger(drivers.Prepared{XID: drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: name}, At: now.Add(-9 * time.Minute), Owner: "app"}, true)
	}
	return id
}

func (w *world) holds(name string, want int) {
	w.t.Helper()
	if n := w.dbs[name].Stats().Prepared; n != want {
		w.t.Errorf("%s holds %d branches, want %d:\n%s", name, n, want, w.session.String())
	}
}

func (w *world) undecided(ids ...string) {
	w.t.Helper()
	w.log.Reopen() // the command has closed it
	for _, id := range ids {
		if o, err := w.log.Lookup(w.t.Context(), id); err != nil || o != txlog.Undecided {
			w.t.Errorf("%s: %v, %v", id, o, err)
		}
	}
}

// A session that is seen in one database keeps the log from being adopted in all.
func TestLogInUseIsNotAdoptedByAnyCommand(t *testing.T) {
	w := newWorld(t)
	held, sibling := w.lost(1, "berlin", "paris"), w.lost(2, "berlin")
	w.held = map[string]bool{held: true}
	w.wantStatus(w.run("list"), 0)
	w.wantStatus(w.run("show", sibling), 0)
	w.wantStatus(w.run("resolve", "--adopt", "otherlog", "--dry-run"), 3)
	w.wantStatus(w.run("resolve", "--adopt", "otherlog", "--yes"), 3)
	w.stdin = "yes\n"
	for _, id := range []string{held, sibling} {
		w.wantStatus(w.run("rollback", id, "--adopt", "--why", "lost"), 3)
		w.wantStatus(w.run("commit", id, "--adopt", "--why", "lost", "--force", "--yes"), 3)
	}
	w.golden("in-use")
	w.holds("berlin", 2)
	w.holds("paris", 1)
	w.undecided(held, sibling)
}

// What was decided of an adopted transaction stands in this log, and is told from it: with who, when and why, or with the proof.
func TestShowLooksIntoTheLogForEveryID(t *testing.T) {
	w := newWorld(t)
	w.made = true
	proven, byHand, open := w.lost(1, "berlin"), w.lost(2, "berlin"), w.lost(3, "berlin")
	w.proven = map[string]bool{proven: true}
	w.wantStatus(w.run("show", proven), 0)
	w.wantStatus(w.run("resolve", "--adopt", "otherlog", "--yes"), 3)
	w.wantStatus(w.run("show", proven), 0)
	w.wantStatus(w.run("commit", byHand, "--why", "paid"), 1) // nobody is asked
	w.undecided(byHand)
	w.wantStatus(w.run("commit", byHand, "--why", "the customer has paid", "--adopt", "--yes"), 0)
	w.wantStatus(w.run("show", byHand), 0)
	w.wantStatus(w.run("show", open), 0)
	w.golden("show-adopted")
	w.undecided(open)
	w.holds("berlin", 1)
}

func TestQuestionTellsTheEvidence(t *testing.T) {
	w := newWorld(t)
	id := w.lost(1, "berlin")
	w.proven = map[string]bool{id: true}
	w.stdin = "no\n"
	w.wantStatus(w.run("rollback", id, "--adopt", "--why", "lost"), 1)
	w.golden("question")
	w.holds("berlin", 1)
	w.undecided(id)
}

// Somebody has finished one branch by hand: to roll the rest back may leave half, and show says so, the more where it is proven.
func TestShowWarnsOfHalves(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin")
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.proven = map[string]bool{w.id(1): true}
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.proven[w.id(1)] = false
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.dbs["paris"].Down(true)
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.golden("halves")
}

// A decision to commit names who had a part; what nothing proves is not claimed.
func TestShowTellsWhatIsKnownOfEachDatabase(t *testing.T) {
	w := newWorld(t)
	w.decide(1, txlog.Committed, time.Minute, "berlin")
	w.wantStatus(w.run("show", w.id(1)), 0)
	w.decide(2, txlog.Committed, time.Minute, "berlin", "paris")
	w.proven = map[string]bool{w.id(2): true}
	w.wantStatus(w.run("show", w.id(2)), 0)
	w.decide(3, txlog.Aborted, time.Minute, "berlin", "paris")
	w.wantStatus(w.run("show", w.id(3)), 0)
	n := txlog.Note{ID: w.id(4), Kind: txlog.Heuristic, Resource: "berlin", By: "recovery", At: now.Add(-time.Minute),
		Text: "committed by somebody else, against the decision to roll back"}
	if err := w.log.Note(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	w.wantStatus(w.run("show", w.id(4)), 4)
	w.golden("show-known")
	if strings.Contains(w.session.String(), "forgotten") {
		t.Errorf("nobody knows that a decision was recorded:\n%s", w.session.String())
	}
}

func TestShowExplainsAStranger(t *testing.T) {
	w := newWorld(t)
	w.dbs["berlin"].Stranger(drivers.Prepared{Raw: "nightly_report_2026", At: now.Add(-time.Hour), Owner: "reporting"}, true)
	w.strangers()
	w.wantStatus(w.run("show", "nightly_report_2026"), 0)
	w.wantStatus(w.run("show", `"somebody's\n'gid'"`), 0)
	w.golden("show-stranger")
}

// The name of a database was changed while it held a branch.
func TestRenamedResourceIsTold(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin")
	w.env["XA_RESOURCES"] = "hauptstadt=mem:berlin paris=mem:paris"
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("doctor"), 0)
	w.golden("renamed")
}

// A name means another database: what would be done with the branches there is told with what is not.
func TestWithheldSettlingIsToldWithEachBranch(t *testing.T) {
	w := newWorld(t)
	w.dbs["paris"].Style.Bare = false
	for n := range 3 {
		w.decide(n, txlog.Committed, time.Hour, "berlin", "paris")
	}
	w.prepare(0, time.Hour, "berlin", "paris")
	w.prepare(3, time.Minute, "berlin")
	if err := w.log.Register(t.Context(), "paris", "memdb:OTHER"); err != nil {
		t.Fatal(err)
	}
	w.env["XA_LOG"] = "mem:other"
	w.other = func(bool) (txlog.Log, error) { w.log.Reopen(); return w.log, nil }
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("resolve", "--rebind", "paris", "--dry-run"), 3)
	w.dbs["berlin"].Stranger(drivers.Prepared{XID: drivers.XID{FormatID: drivers.FormatID, GTRID: w.id(3), BQual: "berlin"}}, false) // it would be decided at this moment
	w.wantStatus(w.run("resolve"), 3)
	w.wantStatus(w.run("resolve", "--rebind", "paris"), 0)
	w.identity("paris")
	w.golden("withheld")
}

// One server may list the branches of all its databases under each of their names.
func TestBranchOfASharedServerIsCountedOnce(t *testing.T) {
	id := drivers.XID{FormatID: drivers.FormatID, GTRID: "otherlog.01JD0000000000000000000001", BQual: "berlin"}
	var listed []recovery.Branch
	for _, name := range []string{"paris", "berlin", "rome"} {
		for _, p := range []drivers.Prepared{{XID: id}, {XID: drivers.XID{FormatID: 1, GTRID: "x"}, Owner: "dba"}} {
			listed = append(listed, recovery.Branch{Prepared: p, Resource: name})
		}
	}
	logs, s := othersOf(listed)
	if len(logs) != 1 || logs[0].Branches != 1 || logs[0].Transactions != 1 || !slices.Equal(logs[0].Resources, []string{"berlin"}) || s.branches != 1 {
		t.Errorf("got %+v, %+v", logs, s)
	}
}

func TestWhatIsNotShownOfManyDatabasesIsSaidOnce(t *testing.T) {
	r := result{Resources: []resourceResult{
		{Name: "a", Untold: "mysql: what x/a blocks: this user may not see it: grant it PROCESS on *.*: Error 1227 (42000): Access denied"}, {Name: "b"},
		{Name: "c", Untold: "mysql: what y/c blocks: this user may not see it: grant it PROCESS on *.*: Error 1227 (42000): Access denied"}}}
	var out strings.Builder
	r.writeUntold(&out)
	if want := "For information: what the branches in a and c hold is not shown: this user may not see it: grant it PROCESS on *.*\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
}

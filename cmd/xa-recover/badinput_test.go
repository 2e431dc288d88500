package main

import (
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

func TestNameThatNowMeansAnotherDatabaseSettlesNothingUntilAPersonSaysSo(t *testing.T) {
	w := newWorld(t)
	w.decide(1, txlog.Committed, time.Hour, "berlin", "paris")
	w.meansAnother()
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("resolve"), 3)
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.wantStatus(w.run("resolve", "--rebind", "pari"), 2)
	w.wantStatus(w.run("resolve", "--rebind", "paris"), 0)
	w.wantStatus(w.run("list"), 0)
	w.identity("paris")
	w.golden("another-database")
}

func TestDatabaseUnderTwoNamesHarmsNothing(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin", "paris")
	w.decide(1, txlog.Committed, time.Minute, "berlin", "paris")
	w.wantStatus(w.run("list", "--resource", "rome=mem:berlin"), 3)
	w.wantStatus(w.run("resolve", "--resource", "rome=mem:berlin"), 0)
	w.golden("two-names")
}

func TestSlipsAreAnsweredWithWhatWasMeant(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	id := w.id(2)
	slip := id[:len(id)-3] + "0O2"
	w.wantStatus(w.run("show", slip), 2)
	w.wantStatus(w.run("commit", slip, "--why", "x", "--yes"), 2)
	w.wantStatus(w.run("rollback", id[:len(id)-4], "--why", "x", "--yes"), 2)
	w.wantStatus(w.run("resolve", "--adopt", "otherlig", "--yes", "--dry-run"), 2)
	w.wantStatus(w.run("list", "--color", "pink"), 2)
	w.wantStatus(w.run("list", "--resorce", "paris=mem:paris"), 2)
	w.wantStatus(w.run("resolve", "--dryrun"), 2)
	w.wantStatus(w.run("list", "--bogus"), 2)
	w.wantStatus(w.run("list", "-x"), 2)
	w.golden("slips")
}

// A database that is not what its name makes one think is told by list and resolve, too; nobody is woken up for it.
func TestDatabaseUnderTwoNamesIsToldByListAndResolve(t *testing.T) {
	w := newWorld(t)
	w.dbs["berlin"].Style.Bare = false
	w.env["XA_LOG"] = "mem:other"
	w.other = func(bool) (txlog.Log, error) {
		w.log.Reopen()
		return w.log, nil
	}
	w.prepare(1, time.Minute, "berlin", "paris")
	w.decide(1, txlog.Committed, time.Minute, "berlin", "paris")
	rome := []string{"--resource", "rome=mem:berlin"}
	w.wantStatus(w.run(append(rome, "list")...), 3)
	w.wantStatus(w.run(append(rome, "resolve")...), 0)
	w.wantStatus(w.run(append(rome, "list", "-o", "json")...), 0)
	w.wantStatus(w.run(append(rome, "resolve", "--quiet")...), 0)
	w.identity("berlin")
	w.golden("two-names-told")
}

// A name that means another database, on which no decision hangs, is told before resolve notes it, and when it does.
func TestNameThatMeansAnotherDatabaseIsToldWhereNothingHangsOnIt(t *testing.T) {
	w := newWorld(t)
	w.meansAnother()
	w.wantStatus(w.run("list"), 0)
	w.wantStatus(w.run("resolve", "--dry-run", "--quiet"), 0)
	w.wantStatus(w.run("resolve"), 0)
	w.wantStatus(w.run("list"), 0)
	w.identity("paris")
	w.golden("another-database-told")
}

// meansAnother makes paris another database than the one that the log knows by that name.
func (w *world) meansAnother() {
	w.t.Helper()
	w.dbs["paris"].Style.Bare = false
	if err := w.log.Register(w.t.Context(), "paris", "memdb:OTHER"); err != nil {
		w.t.Fatal(err)
	}
	w.env["XA_LOG"] = "mem:other"
	w.other = func(bool) (txlog.Log, error) {
		w.log.Reopen()
		return w.log, nil
	}
}

package main

import (
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// reads makes every opening of the log to be written a failure.
func (w *world) reads() {
	w.onOpen = func() { w.t.Error("the log was opened to be written") }
}

// What --dry-run tells of a person's decision, with its exit status, is what the decision itself then does.
func TestDryRunOfAPersonsDecisionTellsItAndDoesNothing(t *testing.T) {
	w := newWorld(t)
	w.made = true
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.prepare(2, time.Minute, "berlin", "paris")
	w.decide(2, txlog.Committed, time.Minute, "berlin", "paris")
	w.reads()
	w.wantStatus(w.run("commit", w.id(1), "--dry-run"), 3)
	w.wantStatus(w.run("rollback", w.id(1)+"/berlin", "--dry-run", "--why", "a test order", "-o", "json"), 3)
	w.wantStatus(w.run("commit", w.id(2), "--dry-run", "--yes"), 3)
	w.wantStatus(w.run("rollback", w.id(2), "--dry-run"), 1)
	w.wantStatus(w.run("rollback", w.id(2), "--dry-run", "--force"), 4)
	w.undecided(w.id(1))
	w.holds("berlin", 2)
	w.holds("paris", 2)
	w.onOpen = nil
	w.wantStatus(w.run("rollback", w.id(2), "--why", "paid twice", "--yes"), 1)
	w.wantStatus(w.run("commit", w.id(2), "--why", "paid", "--yes"), 0)
	w.reads()
	w.wantStatus(w.run("commit", w.id(2), "--dry-run"), 0) // it is done
	w.wantStatus(w.run("list"), 3)                         // nothing is noted
	w.golden("dry-run")
}

func TestDryRunIsRefusedAsTheDecisionWouldBe(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin")
	w.prepare(2, time.Minute, "berlin")
	w.strangers()
	w.reads()
	both := func(want int, args ...string) {
		w.t.Helper()
		w.wantStatus(w.run(append(args, "--dry-run")...), want)
		w.onOpen = nil
		w.wantStatus(w.run(append(args, "--why", "test", "--yes")...), want)
		w.reads()
	}
	w.dbs["paris"].Down(true)
	both(3, "commit", w.id(1))
	w.dbs["paris"].Down(false)
	w.proven = map[string]bool{w.id(1): false}
	both(1, "commit", w.id(1))
	both(1, "rollback", w.id(987654321012)) // nobody knows it
	both(2, "rollback", w.id(2)[:30])
	both(2, "rollback", "bogus")
	both(1, "rollback", "otherlog.01JD0000000000000000000009")
	both(1, "rollback", "1:bitronix%20x/%01")
	w.held = map[string]bool{"otherlog.01JD0000000000000000000008": true}
	w.lost(8, "paris")
	both(3, "rollback", "otherlog.01JD0000000000000000000009", "--adopt")
	w.held, w.owned = nil, true
	both(3, "rollback", w.id(1))
	w.wantStatus(w.run("commit", "--dry-run"), 2)
	w.wantStatus(w.run("forget", w.id(1), "--dry-run"), 2)
	w.golden("dry-run-refused")
	w.undecided(w.id(1), w.id(2))
	w.holds("berlin", 5)
}

// What a living member of a shared log has in hand is refused, and the look joins nobody.
func TestDryRunSeesWhoHasATransactionInHand(t *testing.T) {
	w := newWorld(t)
	log := w.share()
	w.prepare(1, 12*time.Second, "berlin", "paris")
	member, err := log.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.Claim(t.Context(), []string{w.id(1)}); err != nil {
		t.Fatal(err)
	}
	w.reads()
	w.wantStatus(w.run("rollback", w.id(1), "--dry-run"), 3)
	w.wantStatus(w.run("rollback", w.id(1), "--dry-run", "--force"), 3)
	if err := member.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantStatus(w.run("rollback", w.id(1), "--dry-run"), 3)
	w.golden("dry-run-shared")
	w.holds("berlin", 1)
}

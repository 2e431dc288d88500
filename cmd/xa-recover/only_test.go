package main

import (
	"context"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

func TestResolveSettlesOnlyWhatItIsTold(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.prepare(4, time.Minute, "berlin", "paris")
	w.reads()
	w.wantStatus(w.run("resolve", w.id(4), w.id(1)+"/paris", "--dry-run"), 3)
	w.onOpen = nil
	w.wantStatus(w.run("resolve", w.id(4), w.id(1)+"/paris"), 0)
	w.wantStatus(w.run("resolve", w.id(1), "-o", "json"), 0) // again
	w.dbs["berlin"].Down(true)
	w.wantStatus(w.run("resolve", w.id(3)), 3)
	w.dbs["berlin"].Down(false)
	w.wantStatus(w.run("resolve", w.id(3), "-q"), 0)
	w.wantStatus(w.run("list"), 3)
	w.golden("only")
	w.holds("berlin", 1+3) // one more, and strangers'
	w.holds("paris", 0)
	w.undecided(w.id(2))
}

func TestResolveOfWhatIsNotKnownDoesNothing(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.decide(5, txlog.Committed, time.Hour, "rome")
	lost := w.lost(6, "paris")
	for _, ids := range [][]string{
		{w.id(1), "bogus"},
		{""},
		{w.id(1), w.id(2)[:30]},
		{w.id(1), "--metrics", "xa.prom"},
	} {
		w.wantStatus(w.run(append([]string{"resolve"}, ids...)...), 2)
	}
	ctx, cancel := context.WithCancel(t.Context())
	w.onOpen = cancel // it would not end by itself
	w.wantStatus(w.runContext(ctx, "resolve", w.id(1), "--watch", "1m"), 2)
	w.onOpen = nil
	w.wantStatus(w.run("resolve", w.id(1), w.id(987654321012)), 1)
	w.wantStatus(w.run("resolve", w.id(1), lost), 1)
	w.wantStatus(w.run("resolve", w.id(1), "1:bitronix%20x/%01"), 1)
	w.wantStatus(w.run("resolve", w.id(5)), 3) // its database is not configured
	w.owned = true
	w.wantStatus(w.run("resolve", w.id(1)), 3)
	w.owned = false
	w.holds("berlin", 5)
	w.holds("paris", 3)
	w.wantStatus(w.run("resolve", lost, "--adopt", "otherlog", "--yes"), 3) // nothing proves it
	w.proven = map[string]bool{lost: true}
	w.wantStatus(w.run("resolve", lost, "--adopt", "otherlog", "--yes"), 0)
	w.golden("only-refused")
	w.holds("berlin", 5)
	w.holds("paris", 2)
	w.undecided(w.id(2))
}

package main

import (
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

func TestLogCompactDropsWhatIsSettledAndOver(t *testing.T) {
	w := newWorld(t)
	log := w.newFileLog()
	for n := range 3 {
		d := txlog.Decision{ID: w.id(n), Outcome: txlog.Committed, Resources: []string{"berlin"}, At: now.Add(-time.Hour)}
		if _, err := log.Decide(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if n == 2 {
			continue
		}
		if err := log.Settle(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	w.wantStatus(w.run("log", "compact"), 0)
	w.wantStatus(w.run("log", "compact", "--retention", "1ns"), 0)
	w.wantStatus(w.run("log", "compact", "--retention", "1ns", "-o", "json"), 0)
	w.wantStatus(w.run("log", "info"), 0)
	w.golden("log-compact")
}

func TestLogCompactLeavesALiveOwnerAlone(t *testing.T) {
	w := newWorld(t)
	w.owned = true
	w.wantStatus(w.run("log", "compact"), 3)
	w.wantStatus(w.run("log", "compact", "-o", "json"), 3)
	w.golden("log-compact-owned")
}

// Only the application knows how long it wants settled decisions kept.
func TestResolveDropsNoSettledDecision(t *testing.T) {
	w := newWorld(t)
	w.wantStatus(w.run("resolve"), 0)
	if want := 10 * 365 * 24 * time.Hour; w.opts.Retention < want {
		t.Errorf("the log was opened with a retention of %v, want %v or more", w.opts.Retention, want)
	}
}

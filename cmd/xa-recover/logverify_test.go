package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

func TestLogVerifyReadsEachKindOfDamage(t *testing.T) {
	for _, c := range []struct {
		log    string
		status int
	}{
		{"ok", 0},
		{"torn-tail", 0},
		{"interrupted-compaction", 0},
		{"interrupted-roll", 0},
		{"flipped-sealed", 1},
		{"missing-segment", 1},
		{"duplicate-segment", 1},
		{"archived", 0},
		{"archive-unlisted", 0},
		{"archive-missing", 1},
		{"archive-flipped-byte", 1},
		{"future-version", 1},
	} {
		w := newWorld(t)
		w.goldenLog(c.log)
		w.unchanged(func() {
			w.wantStatus(w.run("log", "verify"), c.status)
		})
		w.golden("log-verify-" + c.log)
	}
}

func TestLogVerifyRefusesWhatIsNoLog(t *testing.T) {
	w := newWorld(t)
	w.dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(w.dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, place := range []string{".", "no-such", "notes.txt"} {
		w.wantStatus(w.run("log", "verify", "--log", "file:"+filepath.Join(w.dir, place)), 1)
	}
	w.golden("log-verify-none")
}

func TestLogVerifyInJSON(t *testing.T) {
	w := newWorld(t)
	w.goldenLog("flipped-sealed")
	w.wantStatus(w.run("log", "verify", "-o", "json"), 1)
	w.golden("log-verify-json")
}

func TestLogVerifyReadsEveryRow(t *testing.T) {
	w := newWorld(t)
	h := w.history(w.entry(1, txlog.Committed, time.Hour, true), w.entry(2, txlog.Aborted, time.Hour, false))
	w.wantStatus(w.run("log", "verify"), 0)
	h.entries = append(h.entries, w.entry(3, txlog.Undecided, time.Hour, false))
	w.wantStatus(w.run("log", "verify"), 1)
	h.failure = fmt.Errorf("sqllog: read: %w", errors.New("connection refused"))
	w.wantStatus(w.run("log", "verify"), 1)
	w.golden("log-verify-rows")
}

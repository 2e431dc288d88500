package main

import (
	"context"
	"errors"
	"os"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// copiedLog is a log that was copied, until it is adopted.
type copiedLog struct {
	txlog.Log
	adopted bool
}

func (l *copiedLog) Witnessed() error {
	if l.adopted {
		return nil
	}
	return errors.New("filelog: the directory was copied or moved")
}

func (l *copiedLog) Adopt(context.Context) error {
	l.adopted = true
	return nil
}

func (w *world) copied() *copiedLog {
	l := &copiedLog{Log: w.log}
	w.env["XA_LOG"] = "mem:other"
	w.other = func(bool) (txlog.Log, error) {
		w.log.Reopen()
		return l, nil
	}
	return l
}

func TestLogAdoptWantsAPersonsWord(t *testing.T) {
	w := newWorld(t)
	l := w.copied()
	w.wantStatus(w.run("log", "adopt"), 2)
	w.stdin = "no\n"
	w.wantStatus(w.run("log", "adopt"), 1)
	w.stdin = "y" // and the end of the input
	w.wantStatus(w.run("log", "adopt"), 1)
	if l.adopted {
		t.Error("it was adopted without a person's word")
	}
	w.stdin = "yes\n"
	w.wantStatus(w.run("log", "adopt"), 0)
	if !l.adopted {
		t.Error("it was not adopted")
	}
	w.wantStatus(w.run("log", "adopt"), 0)
	w.golden("log-adopt")
}

func TestLogAdoptTakesYesForTheWord(t *testing.T) {
	w := newWorld(t)
	l := w.copied()
	w.wantStatus(w.run("log", "adopt", "--yes", "-o", "json"), 0)
	w.wantStatus(w.run("log", "adopt", "--yes", "-o", "json"), 0)
	if !l.adopted {
		t.Error("it was not adopted")
	}
	w.golden("log-adopt-yes")
}

func TestLogAdoptLeavesALiveOwnerAlone(t *testing.T) {
	w := newWorld(t)
	w.owned = true
	w.wantStatus(w.run("log", "adopt", "--yes"), 3)
	w.golden("log-adopt-owned")
}

func TestCopiedLogLeavesWhatItHasNoDecisionOf(t *testing.T) {
	w := newWorld(t)
	w.copied()
	w.prepare(1, time.Minute, "berlin", "paris")
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("resolve"), 3)
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.wantStatus(w.run("log", "adopt", "--yes"), 0)
	w.wantStatus(w.run("resolve"), 0)
	w.golden("copied")
}

func TestCopiedDirectoryIsReportedAndAdopted(t *testing.T) {
	w := newWorld(t)
	log := w.newFileLog()
	w.prepare(1, time.Minute, "berlin", "paris")
	w.prepare(2, time.Minute, "berlin")
	d := txlog.Decision{ID: w.id(1), Outcome: txlog.Committed, Resources: []string{"berlin", "paris"}, At: now.Add(-time.Minute)}
	if _, err := log.Decide(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(log.Close(), os.CopyFS(w.dir+"-copy", os.DirFS(w.dir))); err != nil {
		t.Fatal(err)
	}
	w.env["XA_LOG"] += "-copy"
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("log", "info", "-o", "json"), 0)
	w.wantStatus(w.run("resolve"), 3)
	if b, p := w.dbs["berlin"].Stats().Prepared, w.dbs["paris"].Stats().Prepared; b != 1 || p != 0 {
		t.Errorf("berlin holds %d branches and paris %d, want 1 and 0: what the copy knows is finished", b, p)
	}
	w.stdin = "yes\n"
	w.wantStatus(w.run("log", "adopt"), 0)
	w.wantStatus(w.run("log", "info"), 0)
	w.wantStatus(w.run("resolve"), 0)
	w.golden("copied-directory")
}

package main

import (
	"context"
	"iter"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/txlog/sqllog"
)

// share makes a log that others share this world's log, and returns another's opening of it.
func (w *world) share() *logtest.SharedMemory {
	log := logtest.NewSharedMemory(time.Hour)
	w.logID = log.ID
	w.env["XA_LOG"] = "mem:other"
	w.other = func(read bool) (txlog.Log, error) {
		if read {
			return log.Another().ReadOnly(), nil
		}
		return log.Another(), nil
	}
	return log
}

func TestWhatALivingMemberHasInHandIsLeftToIt(t *testing.T) {
	w := newWorld(t)
	log := w.share()
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.prepare(2, 5*time.Minute, "berlin")
	member, err := log.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := member.Claim(t.Context(), []string{w.id(1)}); err != nil {
		t.Fatal(err)
	}
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("resolve"), 3)
	w.wantStatus(w.run("list", "-o", "json"), 3)
	w.wantStatus(w.run("show", w.id(1)), 3)
	if b, p := w.dbs["berlin"].Stats().Prepared, w.dbs["paris"].Stats().Prepared; b != 1 || p != 1 {
		t.Errorf("berlin holds %d branches and paris %d, want 1 and 1: those of the living member", b, p)
	}
	if err := member.Leave(t.Context()); err != nil {
		t.Fatal(err)
	}
	w.wantStatus(w.run("resolve"), 0)
	w.golden("shared")
}

// history is a log that can list what was settled, and tell who shares it.
type history struct {
	txlog.Log
	entries []txlog.Entry
	failure error // after the entries
}

func (h *history) Entries(context.Context) iter.Seq2[txlog.Entry, error] {
	return func(yield func(txlog.Entry, error) bool) {
		for _, e := range h.entries {
			if !yield(e, nil) {
				return
			}
		}
		if h.failure != nil {
			yield(txlog.Entry{}, h.failure)
		}
	}
}

func (h *history) Info(context.Context) (sqllog.Info, error) {
	return sqllog.Info{
		ID: h.ID(), Dialect: sqllog.Postgres, Version: 1, Unsettled: 12, Settled: 1000,
		Members: []sqllog.Member{
			{Holder: txlog.Holder{Mark: "3V7QX", Name: "app-7 pid 4711", Alive: true}, Since: now.Add(-26 * time.Hour), Expires: now.Add(8 * time.Second)},
			{Holder: txlog.Holder{Mark: "8KD0A", Name: "app-8\npid 99"}, Since: now.Add(-50 * time.Hour), Expires: now.Add(-3 * time.Hour)},
		},
	}, nil
}

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// history makes a log with the entries this world's log.
func (w *world) history(entries ...txlog.Entry) *history {
	h := &history{Log: w.log, entries: entries}
	w.env["XA_LOG"] = "mem:other"
	w.other = func(bool) (txlog.Log, error) { return h, nil }
	return h
}

func (w *world) entry(n int, outcome txlog.Outcome, age time.Duration, settled bool, resources ...string) txlog.Entry {
	e := txlog.Entry{Decision: txlog.Decision{ID: w.id(n), Outcome: outcome, Resources: resources, At: now.Add(-age)}}
	if settled {
		e.SettledAt = e.At.Add(time.Second)
	}
	return e
}

func TestLogDumpListsAllDecisionsOldestFirst(t *testing.T) {
	w := newWorld(t)
	w.history(
		w.entry(3, txlog.Committed, time.Minute, false, "berlin", "paris"),
		w.entry(1, txlog.Committed, time.Hour, true),
		w.entry(2, txlog.Aborted, time.Hour, true, "paris"),
	)
	w.wantStatus(w.run("log", "dump"), 0)
	w.wantStatus(w.run("log", "dump", "-o", "json"), 0)
	w.golden("log-dump")
}

func TestLogDumpOfAnEmptyLog(t *testing.T) {
	w := newWorld(t)
	w.history()
	w.wantStatus(w.run("log", "dump"), 0)
	w.wantStatus(w.run("log", "dump", "-o", "json"), 0)
	w.golden("log-dump-empty")
}

func TestLogDumpThatIsCutShortExitsOne(t *testing.T) {
	w := newWorld(t)
	h := w.history(w.entry(1, txlog.Committed, time.Hour, true, "berlin"))
	h.failure = fmt.Errorf("filelog: corrupt record at 00000003.xalog+8192: crc is 1a2b, want 3c4d: %w", txlog.ErrCorrupt)
	w.wantStatus(w.run("log", "dump"), 1)
	w.golden("log-dump-damaged")
}

func TestDumpHoldsNoMoreThanItsWindow(t *testing.T) {
	var out bytes.Buffer
	d := newDump(&out, true)
	d.window = 100
	const all = 1000
	for i := range all { // each at most 40 places from its own
		at := now.Add(time.Duration(i+rand.IntN(40)) * time.Second)
		if err := d.add(txlog.Entry{Decision: txlog.Decision{ID: fmt.Sprint(i), Outcome: txlog.Committed, At: at}}); err != nil {
			t.Fatal(err)
		}
		if len(d.held) > d.window {
			t.Fatalf("%d decisions are held", len(d.held))
		}
	}
	if err := d.finish(); err != nil {
		t.Fatal(err)
	}
	n, last := 0, time.Time{}
	for dec := json.NewDecoder(&out); dec.More(); n++ {
		var e dumpEntry
		if err := dec.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e.At.Before(last) {
			t.Fatalf("%s comes after one of %s", e.At, last)
		}
		last = e.At
	}
	if n != all {
		t.Errorf("%d decisions were written, want %d", n, all)
	}
}

func TestLogInfoNamesThoseWhoShareTheLog(t *testing.T) {
	w := newWorld(t)
	w.history()
	w.wantStatus(w.run("log", "info"), 0)
	w.wantStatus(w.run("log", "info", "-o", "json"), 0)
	w.golden("log-info-shared")
}

func TestLogDumpReadsTheArchivesToo(t *testing.T) {
	w := newWorld(t)
	log := w.newFileLog()
	const settled = 50
	for n := range settled + 1 {
		d := txlog.Decision{ID: w.id(n), Outcome: txlog.Committed, Resources: []string{"berlin"}, At: now.Add(time.Duration(n) * time.Second), Evidence: []string{"7301.1/4711"}}
		if _, err := log.Decide(t.Context(), d); err != nil {
			t.Fatal(err)
		}
		if n == settled {
			break
		}
		if err := log.Settle(t.Context(), d.ID); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(log.Compact(t.Context()), log.Close()); err != nil {
		t.Fatal(err)
	}
	w.wantStatus(w.run("log", "dump", "-o", "json"), 0)
	for n := range settled + 1 {
		if count := strings.Count(w.session.String(), `{"id":"`+w.id(n)+`",`); count != 1 {
			t.Errorf("%s is listed %d times", w.id(n), count)
		}
	}
	if count := strings.Count(w.session.String(), `"resources":["berlin"],"evidence":["7301.1/4711"]}`); count != 1 {
		t.Errorf("%d decisions show their evidence, want the one that is not settled", count)
	}
}

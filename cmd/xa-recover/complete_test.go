package main

import (
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

func TestShellCompletesIDsAndNames(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.decide(4, txlog.Committed, time.Hour, "rome")
	if err := w.log.Note(t.Context(), txlog.Note{ID: w.id(5), Kind: txlog.Heuristic, Resource: "berlin", By: "ada@db7", Text: "put right", At: now}); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"__complete", "show", ""},
		{"__complete", "commit", ""},
		{"__complete", "show", w.id(1), ""},
		{"__complete", "forget", ""},
		{"__complete", "resolve", "--rebind", ""},
		{"__complete", "resolve", "--adopt", ""},
		{"__complete", "--output", ""},
	} {
		w.wantStatus(w.run(args...), 0)
	}
	w.golden("complete")
}

func TestCompletionIsSilentWhereNothingCanBeRead(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.dbs["paris"].Down(true)
	w.wantStatus(w.run("__complete", "show", ""), 0)
	w.env["XA_LOG"] = "file:/no/such/log"
	for _, args := range [][]string{{"show", ""}, {"forget", ""}, {"resolve", "--adopt", ""}} {
		w.wantStatus(w.run(append([]string{"__complete"}, args...)...), 0)
	}
	w.env["XA_RESOURCES"], w.env["XA_LOG"] = "", ""
	w.wantStatus(w.run("__complete", "resolve", "--rebind", ""), 0)
	w.golden("complete-silent")
}

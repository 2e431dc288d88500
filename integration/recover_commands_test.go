package integration

import (
	"os"
	"strings"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
)

// handCommand is a command of xa-recover that is cut short at each of its steps, and what must come of it.
type handCommand struct {
	name      string
	arguments string                     // ID stands for the transaction's, LOST for a lost log's
	status    int                        // of a run to its end
	before    func(h *hand) (id string)  // what it finds
	again     func(h *hand, id string)   // goes on after it was cut short; nil: by the same command, to the same end
	end       func(h *hand, id string)   // fails unless all is as an undisturbed run leaves it
	only      func(logInFiles bool) bool // nil: on both kinds of logs
}

// args are the command's for that transaction.
func (h *hand) args(c handCommand, id string) []string {
	return strings.Fields(strings.NewReplacer("ID", id, "LOST", h.lost).Replace(c.arguments))
}

// handCommands are the commands that change something.
func handCommands() []handCommand {
	undecided := func(h *hand) string { return h.prepare(h.logID, h.resources...) }
	decided := func(outcome txlog.Outcome) func(h *hand) string {
		return func(h *hand) string {
			id := h.prepare(h.logID, h.resources...)
			h.withLog(func(log txlog.Log) { h.decide(log, id, outcome, h.resources...) })
			return id
		}
	}
	end := func(committed, noted bool) func(*hand, string) {
		return func(h *hand, id string) {
			h.Helper()
			h.finished(id, committed)
			if got := h.notes(id); (got > 0) != noted {
				h.Errorf("%s: %d notes", id, got)
			}
		}
	}
	return []handCommand{
		{name: "commit", arguments: "commit ID --why ledger --yes", before: undecided, end: end(true, true)},
		{name: "rollback", arguments: "rollback ID --why ledger --yes", before: undecided, end: end(false, true)},
		{name: "resolve-committed", arguments: "resolve", before: decided(txlog.Committed), end: end(true, false)},
		{name: "resolve-undecided", arguments: "resolve", before: undecided, end: end(false, false)},
		{name: "force", arguments: "commit ID --force --why ledger --yes", status: 4, before: decided(txlog.Aborted),
			again: forceAgain, end: forceEnd},
		{name: "adopt", arguments: "resolve --adopt LOST --yes", status: 3, before: adoptBefore, again: adoptAgain, end: adoptEnd},
		{name: "forget", arguments: "forget ID", before: forgetBefore, again: forgetAgain, end: forgetEnd},
		{name: "compact", arguments: "log compact", before: compactBefore, end: compactEnd},
		{name: "log-adopt", arguments: "log adopt --yes", before: copyBefore, again: copyAgain, end: copyEnd,
			only: func(logInFiles bool) bool { return logInFiles }},
	}
}

// forceAgain has cron come by before the person tries again: it must not undo what the person began.
func forceAgain(h *hand, id string) {
	h.Helper()
	if h.notes(id) > 0 { // a person has spoken
		h.want([]string{"resolve"}, 3, 4)
	}
	h.want([]string{"commit", id, "--force", "--why", "ledger", "--yes"}, 4)
}

func forceEnd(h *hand, id string) {
	h.Helper()
	h.finished(id, true)
	h.want([]string{"list"}, 4)
	h.want([]string{"forget", id}, 0) // else every later run would end with 4 for this one
}

// adoptBefore leaves two transactions of a lost log: one that SQLite proves committed, and one whose outcome nothing proves.
func adoptBefore(h *hand) (id string) {
	h.Helper()
	if h.other.id == "" {
		h.other.id = h.prepare(h.lost, h.servers()...)
		h.other.row = h.row
		h.awaitFree(h.other.id)
	}
	id = h.prepare(h.lost, h.resources...)
	h.awaitFree(id) // a session that holds a branch may be a coordinator that has the log
	res := h.resources[len(h.resources)-1]
	if err := res.Driver.CommitPrepared(h.Context(), res.DB, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: res.Name}); err != nil {
		h.Fatal(err)
	}
	return id
}

func adoptAgain(h *hand, _ string) {
	h.Helper()
	h.adopt(3, "resolve", "--adopt", h.lost, "--yes")
}

func adoptEnd(h *hand, id string) {
	h.Helper()
	h.finished(id, true)
	h.withLog(func(log txlog.Log) {
		if got, err := log.Lookup(h.Context(), id); err != nil || got != txlog.Committed {
			h.Errorf("%s: the log has %v, %v", id, got, err)
		}
		if got, err := log.Lookup(h.Context(), h.other.id); err != nil || got != txlog.Undecided {
			h.Errorf("%s, of which nothing is proven: the log has %v, %v", h.other.id, got, err)
		}
	})
	if n := h.prepared(h.other.id); n != len(h.servers()) || h.in(h.other.row, h.servers()...) {
		h.Fatalf("%s, of which nothing is proven, is prepared in %d databases", h.other.id, n)
	}
}

// forgetBefore leaves notes on two transactions, one of which is to be forgotten.
func forgetBefore(h *hand) (id string) {
	h.Helper()
	id, h.other.id = txid.New(h.logID, "", time.Now()), txid.New(h.logID, "", time.Now())
	h.withLog(func(log txlog.Log) {
		h.decide(log, id, txlog.Committed, h.resources...)
		for _, n := range []txlog.Note{{ID: id, Kind: txlog.Heuristic, Resource: h.resources[0].Name}, {ID: id, Kind: txlog.CommittedByHand},
			{ID: h.other.id, Kind: txlog.AbortedByHand}} {
			n.By, n.Text, n.At = "judge", "noted", time.Now()
			if err := log.(txlog.Notes).Note(h.Context(), n); err != nil {
				h.Fatal(err)
			}
		}
	})
	return id
}

// forgetAgain takes "nothing is noted" for an end where it is true alone.
func forgetAgain(h *hand, id string) {
	h.Helper()
	switch n := h.notes(id); n {
	case 0:
		h.want([]string{"forget", id}, 1)
	case 2:
		h.want([]string{"forget", id}, 0)
	default:
		h.Fatalf("%s: %d of its 2 notes are left", id, n)
	}
}

func forgetEnd(h *hand, id string) {
	h.Helper()
	if forgotten, stays := h.notes(id), h.notes(h.other.id); forgotten != 0 || stays != 1 {
		h.Errorf("%d notes are left on %s, and %d on %s", forgotten, id, stays, h.other.id)
	}
	h.withLog(func(log txlog.Log) {
		if got, err := log.Lookup(h.Context(), id); err != nil || got != txlog.Committed {
			h.Errorf("%s: the log has %v, %v", id, got, err)
		}
	})
}

// compactWritten is how many decisions are written before each compaction. Every third one stays unsettled.
const compactWritten = 9

func compactBefore(h *hand) (first string) {
	h.Helper()
	h.other.id = txid.New(h.logID, "", time.Now())
	h.withLog(func(log txlog.Log) {
		for i := range compactWritten {
			id := compactID(h.other.id, i)
			h.decide(log, id, txlog.Committed+txlog.Outcome(i%2), h.resources...)
			if i%3 == 0 {
				continue
			}
			if err := log.Settle(h.Context(), id); err != nil {
				h.Fatal(err)
			}
		}
		if err := log.(txlog.Notes).Note(h.Context(), txlog.Note{ID: h.other.id, Kind: txlog.AbortedByHand, By: "judge", Text: "noted", At: time.Now()}); err != nil {
			h.Fatal(err)
		}
	})
	return h.other.id
}

// compactID is the ID of the n-th decision.
func compactID(first string, n int) string { return first[:len(first)-1] + string(rune('0'+n)) }

// compactEnd finds every decision, also those that earlier compactions have moved, every note, and unsettled what was.
func compactEnd(h *hand, first string) {
	h.Helper()
	h.rounds = append(h.rounds, first)
	h.withLog(func(log txlog.Log) {
		open := map[string]bool{}
		for d, err := range log.Unsettled(h.Context()) {
			if err != nil {
				h.Fatal(err)
			}
			open[d.ID] = len(d.Resources) == len(h.resources)
		}
		for _, round := range h.rounds {
			for i := range compactWritten {
				id, want := compactID(round, i), txlog.Committed+txlog.Outcome(i%2)
				if got, err := log.Lookup(h.Context(), id); err != nil || got != want {
					h.Errorf("%s: the log has %v, %v; want %v", id, got, err, want)
				}
				if open[id] != (i%3 == 0) {
					h.Errorf("%s: unsettled is %v", id, open[id])
				}
			}
		}
	})
	for _, round := range h.rounds {
		if n := h.notes(round); n != 1 {
			h.Errorf("%d notes are kept on %s, want 1", n, round)
		}
	}
}

// copyBefore puts a copy of the log in its place, as who restores a backup does. It has no decision on a transaction that is in doubt, and says committed of
// another.
func copyBefore(h *hand) (id string) {
	h.Helper()
	dir, _ := h.inFiles()
	first := h.other.id == ""
	h.other.id = h.prepare(h.logID, h.servers()...)
	h.other.row = h.row
	h.withLog(func(log txlog.Log) { h.decide(log, h.other.id, txlog.Committed, h.servers()...) })
	id = h.prepare(h.logID, h.resources...)
	backup := dir + ".backup"
	if err := os.Rename(dir, backup); err != nil {
		h.Fatal(err)
	}
	if err := os.CopyFS(dir, os.DirFS(backup)); err != nil { // while the other is there: this one gets an inode of its own
		h.Fatal(err)
	}
	if err := os.RemoveAll(backup); err != nil {
		h.Fatal(err)
	}
	if first { // later the first command to open the copy is the one that is cut short
		h.want([]string{"resolve"}, 3)
		h.untouched(id)
	}
	return id
}

// untouched fails the test unless the copy was taken at its word where it says committed, and there alone.
func (h *hand) untouched(id string) {
	h.Helper()
	if n := h.prepared(id); n != len(h.resources) {
		h.Fatalf("nobody has adopted the copy, and %s is prepared in %d databases", id, n)
	}
	if !h.in(h.other.row, h.servers()...) {
		h.Fatalf("%s, which the copy says is committed, is not", h.other.id)
	}
}

// copyAgain has cron come by before the person tries again: it rolls back nothing of a copy, unless the person's word is durable.
func copyAgain(h *hand, id string) {
	h.Helper()
	if h.want([]string{"resolve"}, 0, 3) == 3 {
		h.untouched(id)
	}
	h.want([]string{"log", "adopt", "--yes"}, 0)
}

func copyEnd(h *hand, id string) {
	h.Helper()
	h.want([]string{"resolve"}, 0)
	h.finished(id, false)
	if !h.in(h.other.row, h.servers()...) {
		h.Fatalf("%s, which the copy says is committed, is not", h.other.id)
	}
}

package logtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/txlog"
)

func noteRules() []rule {
	return []rule{
		{"N1", "A note is durable when Note returns nil. It stays until Forget, whatever becomes of the decision and its retention.",
			lacksCrash, notesAreDurable},
		{"N2", "Of several notes of one ID, kind and resource the first is kept: who finds the same thing again says nothing new.",
			lacksReopen, firstNoteIsKept},
		{"N3", "Noted yields the notes of one transaction, or of all with an empty ID, oldest first, as noted.",
			lacksReopen, notedYieldsAll},
		{"N4", "Forget drops all notes of the transaction, durably; where there are none it is nil.",
			lacksCrash, forgetDropsAll},
		{"N5", "Note and Forget return ErrReadOnly on a log that was opened to be read, and ErrClosed on a closed one; Noted works on the former.",
			lacksReadOnly, readersDoNotNote},
	}
}

func notesAreDurable(t TB, h Harness, _ func() Harness) {
	decide(t, h.Log, "noted", txlog.Committed, "orders")
	note(t, h.Log, txlog.Note{ID: "never decided", Kind: txlog.AbortedByHand, By: "alice", Text: "of none"})
	note(t, h.Log, txlog.Note{ID: "noted", Kind: txlog.Heuristic, Resource: "orders", By: "xa", Text: "of a decision"})
	check := func(l txlog.Log, when string) {
		t.Helper()
		for id, text := range map[string]string{"noted": "of a decision", "never decided": "of none"} {
			if !slices.Contains(texts(noted(t, l, id)), text) {
				t.Errorf("%s: the note on %q is not there", when, id)
			}
		}
	}
	check(h.Log, "at once")
	others := openings(t, h)[1:]
	for _, l := range others {
		check(l, "in another opening")
	}
	closeAll(t, others...)
	if err := h.Log.Settle(t.Context(), "noted"); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	check(h.Log, "after settling")
	compact(t, h.Log)
	check(h.Log, "after compaction")
	l := h.Crash(t)
	check(l, "after a crash")
	compact(t, l)
	check(l, "after a crash and compaction")
	closeLog(t, l)
}

func compact(t TB, l txlog.Log) {
	t.Helper()
	if c, ok := l.(txlog.Compactor); ok {
		if err := c.Compact(t.Context()); err != nil {
			t.Fatalf("Compact: %v", err)
		}
	}
}

func firstNoteIsKept(t TB, h Harness, _ func() Harness) {
	first := txlog.Note{ID: "t", Kind: txlog.Heuristic, Resource: "orders", By: "xa", Text: "first", At: at(5)}
	note(t, h.Log, first)
	logs := openings(t, h)
	for i, l := range logs {
		again := first
		again.By, again.Text, again.At = "somebody else", fmt.Sprint("again ", i), at(4)
		note(t, l, again)
	}
	want := []string{"first", "of another ID", "of another kind", "of another resource", "of another spelling", "of the whole"}
	for i, change := range []func(*txlog.Note){
		func(n *txlog.Note) { n.ID = "T" },
		func(n *txlog.Note) { n.Kind = txlog.CommittedByHand },
		func(n *txlog.Note) { n.Resource = "ledger" },
		func(n *txlog.Note) { n.Resource = "Orders" },
		func(n *txlog.Note) { n.Resource = "" },
	} {
		other := first
		other.Text = want[i+1]
		change(&other)
		note(t, h.Log, other)
	}
	const races = 5
	for i := range races {
		raceToNote(t, logs, txlog.Note{ID: fmt.Sprint("race", i), Kind: txlog.AbortedByHand, By: "xa"})
	}
	closeAll(t, logs[1:]...)
	winners := map[string]string{}
	check := func(l txlog.Log, when string) {
		t.Helper()
		all := noted(t, l, "")
		for i := range races {
			id := fmt.Sprint("race", i)
			got := texts(slices.DeleteFunc(slices.Clone(all), func(n txlog.Note) bool { return n.ID != id }))
			if len(got) != 1 || winners[id] != "" && got[0] != winners[id] {
				t.Fatalf("%s, of notes of one ID, kind and resource, made at once, %q are kept, before %q", when, got, winners[id])
			}
			winners[id] = got[0]
		}
		rest := slices.DeleteFunc(all, func(n txlog.Note) bool { return winners[n.ID] != "" })
		got := slices.Sorted(slices.Values(texts(rest)))
		if !slices.Equal(got, want) {
			t.Errorf("%s %q are kept, want %q", when, got, want)
		}
	}
	check(h.Log, "at once")
	l := reopen(t, h, h.Log)
	check(l, "after reopening")
	note(t, l, txlog.Note{ID: "race0", Kind: txlog.AbortedByHand, By: "xa", Text: "late"})
	check(l, "noted again after reopening")
	closeLog(t, l)
}

// raceToNote makes many note the same thing at once, each in words of his own.
func raceToNote(t TB, logs []txlog.Log, n txlog.Note) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			own := n
			own.Text = fmt.Sprint("race ", i)
			if err := logs[i%len(logs)].(txlog.Notes).Note(t.Context(), own); err != nil {
				t.Errorf("Note: %v", err)
			}
		})
	}
	wg.Wait()
}

func notedYieldsAll(t TB, h Harness, _ func() Harness) {
	list := []txlog.Note{
		{ID: "b", Kind: txlog.Heuristic, Resource: "orders", By: "xa-recover on app-7", Text: "pq: prepared transaction \"x'y\" does not exist\n\t(gone; 100 % sure) 🔒", At: at(1)},
		{ID: "a", Kind: txlog.AbortedByHand, By: "Zoë", Text: "ticket 4711", At: at(2)},
		{ID: "b", Kind: txlog.CommittedByHand, Resource: "ledger", At: at(3)},
		{ID: "b", Kind: txlog.Heuristic, Resource: "ledger", By: "bob", Text: "last", At: at(4)},
	}
	for _, n := range list {
		note(t, h.Log, n)
	}
	of := func(id string) []txlog.Note {
		return slices.DeleteFunc(slices.Clone(list), func(n txlog.Note) bool { return n.ID != id })
	}
	check := func(l txlog.Log) {
		t.Helper()
		sameNotes(t, "on a", noted(t, l, "a"), of("a"))
		sameNotes(t, "on b", noted(t, l, "b"), of("b"))
		sameNotes(t, "on nothing", noted(t, l, "never noted"), nil)
		sameNotes(t, "", noted(t, l, ""), list)
	}
	check(h.Log)
	var seen []string
	for n, err := range h.Log.(txlog.Notes).Noted(t.Context(), "b") { // the log can be used meanwhile
		if err != nil {
			t.Fatalf("Noted: %v", err)
		}
		if len(seen) == 0 {
			note(t, h.Log, list[0])
			decide(t, h.Log, "meanwhile", txlog.Committed)
		}
		if seen = append(seen, n.Text); len(seen) == 2 {
			break
		}
	}
	others := openings(t, h)[1:]
	for _, l := range others {
		check(l)
	}
	closeAll(t, others...)
	notedUnderAnEndedContext(t, h.Log, len(list))
	l := reopen(t, h, h.Log)
	check(l)
	before := time.Now().Add(-time.Minute)
	note(t, l, txlog.Note{ID: "untimed", Kind: txlog.Heuristic})
	for _, n := range noted(t, l, "untimed") {
		if n.At.Before(before) || n.At.After(time.Now().Add(time.Minute)) {
			t.Errorf("a note without a time is noted as of %s", n.At)
		}
	}
	closeLog(t, l)
}

func notedUnderAnEndedContext(t TB, l txlog.Log, all int) {
	t.Helper()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	listed, end := 0, error(nil)
	for _, err := range l.(txlog.Notes).Noted(ended, "") {
		if end = err; err == nil {
			listed++
		}
	}
	if end == nil && listed < all {
		t.Errorf("Noted under a context that has ended yields %d notes of %d, and no error", listed, all)
	}
}

func sameNotes(t TB, what string, got, want []txlog.Note) {
	t.Helper()
	if !slices.EqualFunc(got, want, func(a, b txlog.Note) bool {
		same := a.At.Equal(b.At)
		a.At, b.At = time.Time{}, time.Time{}
		return same && a == b
	}) {
		t.Errorf("noted %s are\n%+v\nwant\n%+v", what, got, want)
	}
}

func forgetDropsAll(t TB, h Harness, _ func() Harness) {
	forget := func(l txlog.Log, id string) {
		t.Helper()
		if err := l.(txlog.Notes).Forget(t.Context(), id); err != nil {
			t.Errorf("Forget(%q): %v", id, err)
		}
	}
	gone := func(l txlog.Log, id, text string) {
		t.Helper()
		if slices.Contains(texts(noted(t, l, id)), text) {
			t.Errorf("the note %q on %q is there, although it was forgotten", text, id)
		}
	}
	for i, kind := range []txlog.NoteKind{txlog.Heuristic, txlog.CommittedByHand} {
		note(t, h.Log, txlog.Note{ID: "one", Kind: kind, Resource: "orders", Text: fmt.Sprint("to forget ", i)})
	}
	note(t, h.Log, txlog.Note{ID: "two", Kind: txlog.Heuristic, Resource: "orders", Text: "kept"})
	note(t, h.Log, txlog.Note{ID: "three", Kind: txlog.Heuristic, Resource: "orders", Text: "to forget by another"})
	logs := openings(t, h)
	forget(h.Log, "one")
	gone(h.Log, "one", "to forget 0")
	gone(h.Log, "one", "to forget 1")
	forget(h.Log, "one")
	forget(h.Log, "never noted")
	forget(logs[len(logs)-1], "three") // another opening where the log is shared
	for _, l := range logs {
		gone(l, "one", "to forget 0")
		gone(l, "one", "to forget 1")
		gone(l, "three", "to forget by another")
	}
	if !slices.Contains(texts(noted(t, h.Log, "two")), "kept") {
		t.Errorf("Forget of one transaction drops the notes of another")
	}
	closeAll(t, logs[1:]...)
	compact(t, h.Log)
	l := h.Crash(t)
	for id, text := range map[string]string{"one": "to forget 0", "three": "to forget by another"} {
		gone(l, id, text)
	}
	note(t, l, txlog.Note{ID: "one", Kind: txlog.Heuristic, Resource: "orders", Text: "anew"})
	if !slices.Contains(texts(noted(t, l, "one")), "anew") {
		t.Errorf("what is noted after Forget is not kept")
	}
	gone(l, "one", "to forget 0")
	closeLog(t, l)
}

func readersDoNotNote(t TB, h Harness, _ func() Harness) {
	n := txlog.Note{ID: "before", Kind: txlog.Heuristic, Resource: "orders", Text: "before"}
	late := txlog.Note{ID: "late", Kind: txlog.Heuristic, Text: "late"}
	note(t, h.Log, n)
	refuse := func(l txlog.Log, what string, want error) {
		t.Helper()
		notes := l.(txlog.Notes)
		for method, err := range map[string]error{"Note": notes.Note(t.Context(), late), "Note again": notes.Note(t.Context(), n), "Forget": notes.Forget(t.Context(), "before")} {
			if !errors.Is(err, want) {
				t.Errorf("%s of %s: %v, want %v", method, what, err, want)
			}
		}
	}
	r := h.ReadOnly(t)
	if _, ok := r.(txlog.Notes); !ok {
		t.Fatalf("the log keeps notes, but shows none when it was opened to be read")
	}
	refuse(r, "a log that is open for reading", txlog.ErrReadOnly)
	for _, l := range []txlog.Log{r, h.Log} {
		if got := texts(noted(t, l, "before")); !slices.Contains(got, "before") {
			t.Errorf("noted are %q, want \"before\"", got)
		}
		if got := texts(noted(t, l, "late")); slices.Contains(got, "late") {
			t.Errorf("a log that is open for reading has kept a note")
		}
	}
	for what, l := range map[string]txlog.Log{"a closed reader": r, "a closed log": h.Log} {
		closeLog(t, l)
		refuse(l, what, txlog.ErrClosed)
		var end error
		for _, end = range l.(txlog.Notes).Noted(t.Context(), "") {
			if end == nil {
				t.Errorf("Noted of %s yields something", what)
			}
		}
		if !errors.Is(end, txlog.ErrClosed) {
			t.Errorf("Noted of %s: %v, want ErrClosed", what, end)
		}
	}
}

func note(t TB, l txlog.Log, n txlog.Note) {
	t.Helper()
	if err := l.(txlog.Notes).Note(t.Context(), n); err != nil {
		t.Fatalf("Note(%+v): %v", n, err)
	}
}

func noted(t TB, l txlog.Log, id string) []txlog.Note {
	t.Helper()
	var list []txlog.Note
	for n, err := range l.(txlog.Notes).Noted(t.Context(), id) {
		if err != nil {
			t.Fatalf("Noted(%q): %v", id, err)
		}
		list = append(list, n)
	}
	return list
}

func texts(list []txlog.Note) []string {
	texts := make([]string, len(list))
	for i, n := range list {
		texts[i] = n.Text
	}
	return texts
}

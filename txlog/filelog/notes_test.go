package filelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// notedTexts returns the texts of the notes on a transaction, or on all, and how the iteration ended.
func notedTexts(ctx context.Context, l *Log, id string) (texts []string, end error) {
	for n, err := range l.Noted(ctx, id) {
		if err != nil {
			return texts, err
		}
		texts = append(texts, n.Text)
	}
	return texts, nil
}

func wantNoted(t *testing.T, l *Log, id string, want ...string) {
	t.Helper()
	if got, err := notedTexts(t.Context(), l, id); err != nil || !slices.Equal(got, want) {
		t.Errorf("noted on %q are %q, %v; want %q", id, got, err, want)
	}
}

func mustNote(t *testing.T, l *Log, n txlog.Note) {
	t.Helper()
	if err := l.Note(t.Context(), n); err != nil {
		t.Fatal(err)
	}
}

func TestANoteOutlivesItsDecisionAndIsForgottenForGood(t *testing.T) {
	now := goldenTime(0)
	m := newMemFS()
	opts := &Options{fs: m, Logger: quiet(), now: func() time.Time { return now }}
	l, err := Open("mem", opts)
	if err != nil {
		t.Fatal(err)
	}
	again := func() {
		t.Helper()
		if err := errors.Join(l.Compact(t.Context()), l.Compact(t.Context()), l.Close()); err != nil {
			t.Fatal(err)
		}
		if l, err = Open("mem", opts); err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b"} {
		mustDecide(t, l, id)
		mustNote(t, l, txlog.Note{ID: id, Kind: txlog.Heuristic, Resource: "orders", By: "xa", Text: "on " + id})
		if err := l.Settle(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	for _, wait := range []time.Duration{time.Hour, 48 * time.Hour, 1000 * time.Hour} { // in an archive, then nowhere
		now = now.Add(wait)
		again()
		wantNoted(t, l, "", "on a", "on b")
	}
	if o, err := l.Lookup(t.Context(), "a"); o != txlog.Undecided || err != nil {
		t.Fatalf("the decision is kept beyond its retention: %s, %v", o, err)
	}
	if err := l.Forget(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantNoted(t, l, "a")
		wantNoted(t, l, "", "on b")
		again()
	}
	if b := string(m.Data(segmentName(l.sealed[0].seq))); strings.Contains(b, "on a") || !strings.Contains(b, "on b") {
		t.Errorf("the base is %q", b)
	}
}

func TestANoteThatTheLogCannotKeepIsRefused(t *testing.T) {
	l := mustOpen(t, t.TempDir(), &Options{Logger: quiet()})
	fits := txlog.Note{ID: "t1", Kind: txlog.Heuristic, Resource: "orders", By: "xa", Text: strings.Repeat("x", maxRecordSize-100)}
	long := fits
	long.Text += strings.Repeat("x", 100)
	mustNote(t, l, fits)
	for _, c := range []struct {
		note txlog.Note
		want string
	}{
		{long, "bytes: the limit is 65536, shorten the text"},
		{txlog.Note{Kind: txlog.Heuristic}, "the ID is empty"},
		{txlog.Note{ID: "t1"}, "kind 0 is none of a note"},
		{txlog.Note{ID: "t1", Kind: 4}, "kind 4 is none of a note"},
	} {
		if err := l.Note(t.Context(), c.note); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Note(%.80v): %v, want %q", c.note, err, c.want)
		}
	}
	if err := l.Forget(t.Context(), strings.Repeat("x", maxRecordSize)); err != nil {
		t.Errorf("Forget of an ID that is too long for a note: %v", err)
	}
	wantNoted(t, l, "", fits.Text)
}

func TestAContextThatEndedKeepsAndForgetsNothing(t *testing.T) {
	l := mustOpen(t, t.TempDir(), &Options{Logger: quiet()})
	mustNote(t, l, txlog.Note{ID: "t1", Kind: txlog.Heuristic, Text: "kept"})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, notedErr := notedTexts(ctx, l, "")
	for _, err := range []error{l.Note(ctx, txlog.Note{ID: "t2", Kind: txlog.Heuristic}), l.Forget(ctx, "t1"), notedErr} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("under a context that has ended: %v", err)
		}
	}
	wantNoted(t, l, "", "kept")
}

func TestOfNotesThatShareASyncTheFirstIsKept(t *testing.T) {
	g, l := openGated(t, Options{})
	var wg sync.WaitGroup
	wg.Go(func() { mustDecide(t, l, "first") })
	<-g.entered
	for i := range 3 {
		wg.Go(func() {
			mustNote(t, l, txlog.Note{ID: "t1", Kind: txlog.Heuristic, Resource: "orders", Text: fmt.Sprint("note ", i)})
		})
	}
	first := ""
	for waiting := 0; waiting < 3; {
		l.mu.Lock()
		if waiting = len(l.next.records); waiting > 0 {
			first = l.next.records[0].note().Text
		}
		l.mu.Unlock()
	}
	g.leave <- struct{}{}
	<-g.entered
	g.leave <- struct{}{}
	wg.Wait()
	g.holds = nil
	for range 2 {
		wantNoted(t, l, "t1", first)
		r, err := openReadOnly("mem", g.memFS)
		if err != nil {
			t.Fatal(err)
		}
		wantNoted(t, r, "t1", first)
		if err := l.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// TestALatchedLogDoesNotVouchForItsNotes: a Forget that failed may be on the disk, and then the note is not there any more when the log is
// opened again.
func TestALatchedLogDoesNotVouchForItsNotes(t *testing.T) {
	m := newMemFS()
	l, err := openMem(m)
	if err != nil {
		t.Fatal(err)
	}
	n := txlog.Note{ID: "t1", Kind: txlog.Heuristic, Text: "first"}
	mustNote(t, l, n)
	m.failAt, m.failure = m.ops+2, failLate // the sync
	if err := l.Forget(t.Context(), "t1"); err == nil || errors.Is(err, txlog.ErrNotDecided) {
		t.Errorf("Forget that failed: %v", err)
	}
	for what, err := range map[string]error{"Note": l.Note(t.Context(), n), "Forget": l.Forget(t.Context(), "t2")} {
		if !errors.Is(err, errInjected) {
			t.Errorf("%s of a latched log: %v", what, err)
		}
	}
	wantNoted(t, l, "t1", "first")
}

func TestVerifyCountsNotesAmongTheRecords(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, &Options{Logger: quiet()})
	before, err := Verify(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		mustNote(t, l, txlog.Note{ID: fmt.Sprint("t", i), Kind: txlog.AbortedByHand, By: "alice", Text: "why"})
	}
	if err := l.Forget(t.Context(), "t1"); err != nil {
		t.Fatal(err)
	}
	after, err := Verify(t.Context(), dir)
	if err != nil || after.Damage != nil || after.Decisions != 0 || after.Files[0].Records != before.Files[0].Records+4 {
		t.Errorf("Verify: %+v, %v; before %+v", after, err, before)
	}
}

// TestANoteOfAnotherShapeIsDamage: its checksum is right, but no program wrote it so.
func TestANoteOfAnotherShapeIsDamage(t *testing.T) {
	for _, strings := range [][]string{nil, {"\x01", "orders", "by"}, {"", "orders", "by", "text"}, {"12", "orders", "by", "text"}, {"\x01", "orders", "by", "text", ""}} {
		b := goldenSegment(goldenID, 1, true, []record{{kindNote, "t1", strings, goldenTime(1)}}, nil)
		l, err := openReadOnly("mem", oneFile(b))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := notedTexts(t.Context(), l, ""); !errors.Is(err, txlog.ErrCorrupt) || len(got) > 0 {
			t.Errorf("%q: noted are %q, %v", strings, got, err)
		}
	}
}

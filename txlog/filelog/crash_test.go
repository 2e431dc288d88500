package filelog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// told is what the log's user was told, over all openings: the truth that every later opening is held against.
type told struct {
	id         string
	outcome    map[string]txlog.Outcome // acknowledged, or seen after an opening
	never      map[string]bool          // ErrNotDecided
	unknown    map[string]bool
	settled    map[string]bool
	identities map[string]string
	maybe      map[string]string   // Register that failed
	notes      map[string][]string // what may be noted on an ID, "" for nothing: more than one where Note or Forget failed

	retention time.Duration
	now       time.Time
	settledAt map[string]time.Time
	wrong     []string // answers
}

func newTold(retention time.Duration) *told {
	return &told{outcome: map[string]txlog.Outcome{}, never: map[string]bool{}, unknown: map[string]bool{}, settled: map[string]bool{},
		identities: map[string]string{}, maybe: map[string]string{}, notes: map[string][]string{}, retention: retention, now: goldenTime(0), settledAt: map[string]time.Time{}}
}

// open opens a log that begins a new segment every few decisions, and compacts in the caller's goroutine.
func (w *told) open(m *memFS) (*Log, error) {
	opts := clocked(m, &w.now)
	opts.Retention = w.retention
	return Open("mem", opts)
}

// forgettable reports whether the log may have forgotten the decision.
func (w *told) forgettable(id string) bool {
	return w.settled[id] && w.now.Sub(w.settledAt[id]) > w.retention
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// openMem opens a log that begins a new segment every few decisions, and compacts in the caller's goroutine.
func openMem(m *memFS) (*Log, error) {
	return Open("mem", &Options{Logger: quiet(), Retention: -1, SegmentSize: 4096, extent: 700, fs: m, now: time.Now, spawn: func(f func()) { f() }})
}

func (w *told) decide(l *Log, id string, o txlog.Outcome) {
	long := fmt.Sprintf("resource-%0300d", 7)
	got, err := l.Decide(context.Background(), txlog.Decision{ID: id, Outcome: o, Resources: []string{"orders", long}})
	switch {
	case err == nil:
		w.outcome[id] = got
	case errors.Is(err, txlog.ErrNotDecided):
		w.never[id] = true
	default:
		w.unknown[id] = true
	}
}

func (w *told) settle(l *Log, id string) {
	if w.outcome[id] != txlog.Undecided && l.Settle(context.Background(), id) == nil {
		w.settled[id], w.settledAt[id] = true, w.now
	}
}

// note notes the text on the ID, which tells where it was noted before.
func (w *told) note(l *Log, id, text string) {
	err := l.Note(context.Background(), txlog.Note{ID: id, Kind: txlog.Heuristic, Resource: "orders", By: "test", Text: text})
	w.mayHave(id, err, func(known string) string { return cmp.Or(known, text) })
}

func (w *told) forget(l *Log, id string) {
	err := l.Forget(context.Background(), id)
	w.mayHave(id, err, func(string) string { return "" })
}

// mayHave changes what may be noted on the ID; after an error it may also be as before.
func (w *told) mayHave(id string, err error, change func(string) string) {
	before := w.notes[id]
	if before == nil {
		before = []string{""}
	}
	var after []string
	for _, text := range before {
		after = append(after, change(text))
	}
	if err != nil {
		after = append(after, before...)
	}
	slices.Sort(after)
	w.notes[id] = slices.Compact(after)
}

// checkNotes expects what may be noted, and learns what is.
func (w *told) checkNotes(t *testing.T, l *Log) {
	t.Helper()
	got := map[string]string{}
	for n, err := range l.Noted(context.Background(), "") {
		if _, twice := got[n.ID]; err != nil || twice || n.Kind != txlog.Heuristic || n.Resource != "orders" || n.By != "test" || n.At.IsZero() {
			t.Fatalf("noted is %+v, %v; twice: %v", n, err, twice)
		}
		got[n.ID] = n.Text
	}
	for id := range got {
		if w.notes[id] == nil {
			t.Fatalf("noted on %s is %q, which nobody did", id, got[id])
		}
	}
	for id, may := range w.notes {
		if !slices.Contains(may, got[id]) {
			t.Fatalf("noted on %s is %q; told one of %q", id, got[id], may)
		}
		w.notes[id] = []string{got[id]}
	}
}

// ask asks for a decision that was made, by Lookup and by deciding it again. It is told the truth, or an error.
func (w *told) ask(l *Log, id string) {
	want, ok := w.outcome[id]
	if !ok || w.forgettable(id) {
		return
	}
	got, err := l.Lookup(context.Background(), id)
	again, err2 := l.Decide(context.Background(), txlog.Decision{ID: id, Outcome: 3 - want})
	if err == nil && got != want || err2 == nil && again != want {
		w.wrong = append(w.wrong, fmt.Sprintf("%s is %s, %v, decided again %s, %v; told %s", id, got, err, again, err2, want))
	}
}

// work is the workload: enough to roll and to compact several times. Time passes quickly, and sometimes leaps: archives are merged, and
// dropped.
func (w *told) work(l *Log, prefix string, n int) {
	ctx := context.Background()
	for i := range n {
		w.now = w.now.Add(100 * time.Millisecond)
		if i%24 == 23 {
			w.now = w.now.Add(w.retention.Abs() * 2 / 3)
		}
		id := fmt.Sprintf("%s-%03d", prefix, i)
		w.decide(l, id, []txlog.Outcome{txlog.Committed, txlog.Aborted}[i%2])
		if i%4 != 3 {
			w.settle(l, id)
		}
		if i == 30 { // the last has no new segment, only a settling
			_ = l.Compact(ctx)
			_ = l.Compact(ctx)
			w.settle(l, fmt.Sprintf("%s-%03d", prefix, 27))
			_ = l.Compact(ctx)
		}
		if i%3 == 0 {
			w.ask(l, fmt.Sprintf("%s-%03d", prefix, i/2))
		}
		switch i % 30 {
		case 1, 4, 16:
			w.note(l, id, "first")
		case 2, 17:
			w.note(l, fmt.Sprintf("%s-%03d", prefix, i-1), "again")
		case 5:
			w.forget(l, fmt.Sprintf("%s-%03d", prefix, i-4))
			w.forget(l, fmt.Sprintf("%s-%03d", prefix, i-1))
			w.note(l, fmt.Sprintf("%s-%03d", prefix, i-4), "anew")
		}
		if i%20 == 5 {
			name, identity := fmt.Sprint("db", i%40), prefix+id
			if l.Register(ctx, name, identity) == nil {
				w.identities[name] = identity
				delete(w.maybe, name)
			} else {
				w.maybe[name] = identity
			}
		}
	}
}

// check holds the log against what was told, and learns what was unknown.
func (w *told) check(t *testing.T, l *Log) {
	t.Helper()
	ctx := context.Background()
	if w.id == "" {
		w.id = l.ID()
	}
	if l.ID() != w.id && len(w.outcome) > 0 {
		t.Fatalf("ID is %s, was %s", l.ID(), w.id)
	}
	w.id = l.ID()
	if len(w.wrong) > 0 {
		t.Fatalf("wrong answers: %q", w.wrong)
	}
	open := map[string]txlog.Outcome{}
	for d, err := range l.Unsettled(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Resources) != 2 || d.Resources[0] != "orders" {
			t.Fatalf("%s has the resources %q", d.ID, d.Resources)
		}
		open[d.ID] = d.Outcome
	}
	entries := entriesOf(t, l)
	for id, want := range w.outcome {
		got, err := l.Lookup(ctx, id)
		if forgotten := got == txlog.Undecided && w.forgettable(id); err != nil || got != want && !forgotten {
			t.Fatalf("%s is %s, %v; told %s", id, got, err, want)
		}
		if entries[id].Outcome != got {
			t.Fatalf("%s is %s; its entry is %+v", id, got, entries[id])
		}
		if !w.settled[id] && open[id] != want {
			t.Fatalf("%s is not among the unsettled", id)
		}
	}
	for id := range w.never {
		if got, err := l.Lookup(ctx, id); got != txlog.Undecided || err != nil {
			t.Fatalf("%s is %s, %v; told that it is not decided", id, got, err)
		}
	}
	for id := range w.unknown {
		got, err := l.Lookup(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if got == txlog.Undecided {
			w.never[id] = true
		} else {
			w.outcome[id] = got
		}
		delete(w.unknown, id)
	}
	w.checkNotes(t, l)
	for name, want := range w.identities {
		got, err := l.Registered(ctx, name)
		if err != nil || got != want && (got != w.maybe[name] || got == "") {
			t.Fatalf("%s is registered as %q, %v; told %q", name, got, err, want)
		}
		w.identities[name] = got
	}
}

// reopen opens the log after what happened to it, as often as it takes while the disk fails once, and checks it.
func (w *told) reopen(t *testing.T, m *memFS) *Log {
	t.Helper()
	l, err := w.open(m)
	if err != nil {
		t.Fatalf("open again: %v", err)
	}
	w.check(t, l)
	v, err := verify(context.Background(), "mem", m)
	if err != nil || v.Damage != nil || v.Decisions != l.Info().Settled+l.Info().Unsettled || v.Unsettled != l.Info().Unsettled {
		t.Fatalf("verify: %v, %+v; %+v", err, v, l.Info())
	}
	for _, f := range v.Files {
		if f.Kind != "base" && f.Kind != "segment" && f.Kind != "archive" || f.Cut > 0 {
			t.Fatalf("opening leaves %+v", f)
		}
	}
	return l
}

// TestNothingAcknowledgedIsLost fails, or stops, at the n-th operation for every n. Afterwards the log is opened again by a process that sees all that was
// written, is appended to, loses power, is opened, appended to, loses power, and opened once more. Once settled decisions are
// dropped at once, and once they are archived.
func TestNothingAcknowledgedIsLost(t *testing.T) {
	for name, retention := range map[string]time.Duration{"dropped": -1, "archived": 80 * time.Second} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failAtEvery(t, retention)
		})
	}
}

func failAtEvery(t *testing.T, retention time.Duration) {
	const decisions = 60
	whole, w := newMemFS(), newTold(retention)
	l, err := w.open(whole)
	if err != nil {
		t.Fatal(err)
	}
	w.work(l, "a", decisions)
	made := whole.total("create") // segments, bases and archives
	if whole.total("rename") < 6 || whole.total("remove") < 2 || retention > 0 && (len(l.archives.list) < 1 || made < 16) {
		t.Fatalf("the workload makes %d files, renames %d and removes %d, and leaves %d archives: too few to show anything",
			made, whole.total("rename"), whole.total("remove"), len(l.archives.list))
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	for _, f := range []failure{failOnce, failShort, failFull, failLate, failStop} {
		seeds := uint64(1)
		if f == failStop && retention > 0 {
			seeds = 2 // killed, and without power
		}
		for n := 1; n <= whole.ops; n++ {
			for seed := range seeds {
				r := rand.New(rand.NewPCG(seed, uint64(n)))
				crashAt(t, newTold(retention), f, n, (uint64(n)+seed)%2 == 0, decisions, r)
				if t.Failed() {
					t.Fatalf("failure %d at operation %d, seed %d", f, n, seed)
				}
			}
		}
	}
}

func crashAt(t *testing.T, w *told, f failure, n int, power bool, decisions int, r *rand.Rand) {
	t.Helper()
	m := newMemFS()
	m.failAt, m.failure = n, f
	defer func() {
		if t.Failed() {
			t.Logf("failure %d at operation %d (%s), power %v", f, n, m.failed, power)
		}
	}()
	if l, err := w.open(m); err == nil {
		w.id = l.ID()
		w.work(l, "a", decisions)
		if r.IntN(2) == 0 {
			_ = l.Close()
		}
	}
	m = m.next(power, r)
	l := w.reopen(t, m)
	w.work(l, "b", 3)
	if r.IntN(2) == 0 {
		w.work(l, "c", 20)
	}
	// Stop anywhere in the next step, too.
	m.failAt, m.failure = m.ops+1+r.IntN(30), failStop
	w.work(l, "d", r.IntN(8))
	m = m.next(r.IntN(3) > 0, r)
	m.failAt, m.failure = 1+r.IntN(12), []failure{failOnce, failStop}[r.IntN(2)]
	if l, err := w.open(m); err == nil { // an opening that fails half-way loses nothing either
		m.failAt = 0
		w.check(t, l)
		m.failAt = m.ops + 1 + r.IntN(30)
		w.work(l, "e", 4)
		_ = l.Compact(context.Background())
	}
	m = m.next(r.IntN(3) > 0, r)
	l = w.reopen(t, m)
	w.work(l, "f", 4)
	if err := l.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	m = m.next(true, r)
	w.reopen(t, m)
}

func (m *memFS) next(power bool, r *rand.Rand) *memFS {
	if power {
		return m.crash(r)
	}
	return m.kill()
}

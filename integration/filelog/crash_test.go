package filelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
)

// truth is what the log's user was told, over all openings.
type truth struct {
	id      string
	stands  map[string]txlog.Outcome // told, or seen
	never   map[string]bool          // ErrNotDecided
	unknown map[string]bool
	settled map[string]bool // perhaps

	retention time.Duration
}

func newTruth(retention time.Duration) *truth {
	return &truth{retention: retention, stands: map[string]txlog.Outcome{}, never: map[string]bool{}, unknown: map[string]bool{}, settled: map[string]bool{}}
}

// openOn opens a log that begins a new segment every few decisions.
func (w *truth) openOn(d *disk) (*filelog.Log, error) {
	return filelog.OpenOn(d, dir, &filelog.Options{SegmentSize: 4096, Retention: w.retention, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))})
}

// work decides, and settles most.
func (w *truth) work(l *filelog.Log, prefix string, n int) {
	ctx := context.Background()
	resources := []string{"orders", strings.Repeat("r", 500)}
	for i := range n {
		d := txlog.Decision{ID: fmt.Sprintf("%s%d", prefix, i), Outcome: txlog.Committed + txlog.Outcome(i%2), Resources: resources}
		o, err := l.Decide(ctx, d)
		switch {
		case err == nil:
			w.stands[d.ID] = o
		case errors.Is(err, txlog.ErrNotDecided):
			w.never[d.ID] = true
		default:
			w.unknown[d.ID] = true
		}
		if err == nil && i%4 != 3 {
			w.settled[d.ID] = true
			_ = l.Settle(ctx, d.ID)
		}
		if i == n*3/4 {
			_ = l.Compact(ctx) // the log's own may come too late, or never
		}
	}
}

// check holds the log against what was told, and learns what was unknown.
func (w *truth) check(l *filelog.Log) error {
	ctx := context.Background()
	if w.id != "" && len(w.stands) > 0 && l.ID() != w.id {
		return fmt.Errorf("ID is %s, was %s", l.ID(), w.id)
	}
	w.id = l.ID()
	open := map[string]txlog.Decision{}
	for d, err := range l.Unsettled(ctx) {
		if err != nil {
			return err
		}
		if len(d.Resources) != 2 || d.Resources[0] != "orders" {
			return fmt.Errorf("%s has the resources %q", d.ID, d.Resources)
		}
		open[d.ID] = d
	}
	for id, want := range w.stands {
		got, err := l.Lookup(ctx, id)
		if forgotten := got == txlog.Undecided && w.settled[id] && w.retention < 0; err != nil || got != want && !forgotten {
			return fmt.Errorf("%s is %s, %v; told %s", id, got, err, want)
		}
		if !w.settled[id] && open[id].Outcome != want {
			return fmt.Errorf("%s is %s, and not among the unsettled", id, want)
		}
	}
	for id := range w.never {
		if got, err := l.Lookup(ctx, id); got != txlog.Undecided || err != nil {
			return fmt.Errorf("%s is %s, %v; told that it is not decided", id, got, err)
		}
	}
	for id := range w.unknown {
		got, err := l.Lookup(ctx, id)
		if err != nil {
			return err
		}
		if delete(w.unknown, id); got == txlog.Undecided {
			w.never[id] = true
		} else {
			w.stands[id] = got
		}
	}
	return nil
}

const decisions = 40

// TestASecondJudgeFindsNothingLost fails, or crashes, at the n-th operation for every n. Each time the log is opened again, held against what
// was told, appended to, crashes once more, and is read again.
func TestASecondJudgeFindsNothingLost(t *testing.T) {
	for what, retention := range map[string]time.Duration{"settled decisions are dropped": -1, "settled decisions go to archives": time.Hour} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			goWrongEverywhere(t, retention)
		})
	}
}

func goWrongEverywhere(t *testing.T, retention time.Duration) {
	whole, w := newDisk(vfs.NewCrashableMem(), 0, nil), newTruth(retention)
	l, err := w.openOn(whole)
	if err != nil {
		t.Fatal(err)
	}
	w.work(l, "a", decisions)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if whole.renames < 5 {
		t.Fatalf("%d renames: too few segments to show anything", whole.renames)
	}
	if retention > 0 && l.Info().Archives == 0 {
		t.Fatalf("no archive was made: %+v", l.Info())
	}
	numbers := make(chan int)
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for n := range numbers {
				for keep := range 4 {
					if err := goWrong(retention, n, keep); err != nil {
						t.Errorf("operation %d, %s: %v", n, []string{"crash, only what was synced", "crash, half of the rest", "killed", "fails once"}[keep], err)
					}
				}
			}
		})
	}
	for n := 1; n <= whole.ops && !t.Failed(); n++ {
		numbers <- n
	}
	close(numbers)
	wg.Wait()
	t.Logf("%d operations, each of which failed, or was the last, in 4 ways", whole.ops)
}

func goWrong(retention time.Duration, n, keep int) error {
	r := rand.New(rand.NewPCG(uint64(n), uint64(keep)))
	kept := percent([]int{0, 50, 100, 100}[keep], r)
	crash := &kept
	if keep == 3 {
		crash = nil
	}
	w := newTruth(retention)
	d := newDisk(vfs.NewCrashableMem(), n, crash)
	if l, err := w.openOn(d); err == nil {
		w.id = l.ID()
		w.work(l, "a", decisions)
		if r.IntN(2) == 0 {
			_ = l.Close()
		}
	}
	for i, unsynced := range []int{[]int{0, 50, 100}[r.IntN(3)], 0, 100} {
		if d = newDisk(d.left(kept), 0, nil); i == 1 { // an opening that is cut short, too
			d.at, d.crash = 1+r.IntN(40), &kept
		}
		l, err := w.openOn(d)
		if err != nil && d.after == nil {
			return fmt.Errorf("opening %d: %w", i+1, err)
		}
		if err == nil {
			if err := w.check(l); err != nil && d.after == nil {
				return fmt.Errorf("opening %d: %w", i+1, err)
			}
			w.work(l, string(rune('b'+i)), r.IntN(2)*6) // with nothing to do, what was seen must be durable all the same
		}
		kept = percent(unsynced, r)
	}
	l, err := w.openOn(newDisk(d.left(kept), 0, nil))
	if err != nil {
		return fmt.Errorf("last opening: %w", err)
	}
	if err := w.check(l); err != nil {
		return fmt.Errorf("last opening: %w", err)
	}
	return l.Close()
}

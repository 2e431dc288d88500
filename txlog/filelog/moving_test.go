package filelog

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// TestTheFirstDecisionStandsWhileItIsArchived: callers decide the same IDs against each other, in any order and at any time, while
// each few decisions are moved into archives, and archives merged. All are told the same of each.
func TestTheFirstDecisionStandsWhileItIsArchived(t *testing.T) {
	m, now := newMemFS(), goldenTime(0)
	opts := clocked(m, &now)
	opts.spawn = nil
	opts.now = time.Now
	l, err := Open("mem", opts)
	if err != nil {
		t.Fatal(err)
	}
	const ids, callers = 600, 6
	name := func(i int) string { return fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(fmt.Sprint(i)))) }
	var told [callers][ids]txlog.Outcome
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(c)))
			for n, i := range r.Perm(ids) {
				o, err := l.Decide(context.Background(), txlog.Decision{ID: name(i), Outcome: 1 + txlog.Outcome(c%2)})
				if err != nil {
					t.Errorf("Decide: %v", err)
				}
				told[c][i] = o
				if err := l.Settle(context.Background(), name(i)); err != nil {
					t.Error(err)
				}
				if got, err := l.Lookup(context.Background(), name(i)); got != o || err != nil {
					t.Errorf("Lookup = %s, %v; Decide said %s", got, err, o)
				}
				if n%100 == 99 {
					if err := l.Compact(context.Background()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	if err := l.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := l.Info(); n.Settled != ids || n.Unsettled != 0 || len(l.index.decisions) != 0 {
		t.Errorf("%+v, %d in memory", n, len(l.index.decisions))
	}
	all := entriesOf(t, l)
	for i := range ids {
		for c := range callers {
			if told[c][i] != all[name(i)].Outcome {
				t.Fatalf("%s is %s; caller %d was told %s", name(i), all[name(i)].Outcome, c, told[c][i])
			}
		}
	}
}

// TestNothingIsCountedTwiceOrMissedWhileItMoves lists and counts while a compaction takes decisions out of memory.
func TestNothingIsCountedTwiceOrMissedWhileItMoves(t *testing.T) {
	m, now := newMemFS(), goldenTime(0)
	opts := clocked(m, &now)
	opts.SegmentSize = 64 << 20
	l, err := Open("mem", opts)
	if err != nil {
		t.Fatal(err)
	}
	const decisions = 5000
	for round := range 8 {
		for i := range decisions {
			id := fmt.Sprintf("t%d-%05d", round, i)
			mustDecide(t, l, id)
			mustSettle(t, l, id)
		}
		stop, done := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(done)
			for looks := 0; ; {
				if n := l.Info().Settled; n != (round+1)*decisions {
					t.Errorf("Info counts %d decisions of %d", n, (round+1)*decisions)
					return
				}
				if looks++; looks%1000 == 0 {
					entriesOf(t, l) // reports what comes twice
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		mustCompact(t, l)
		close(stop)
		<-done
	}
}

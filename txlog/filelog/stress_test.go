package filelog

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/txlog"
)

// slowFS takes syncTime for each sync, by the clock of a synctest bubble: how long a Decide takes there tells how many batches it waited
// for. A caller whom nobody wakes is a deadlock of the bubble, which fails the test.
type slowFS struct {
	fileSystem
	pause func()
	syncs atomic.Int64
}

const syncTime = time.Millisecond

func newSlowFS(m *memFS) *slowFS {
	return &slowFS{fileSystem: m, pause: func() { time.Sleep(syncTime) }}
}

type slowFile struct {
	file
	fs *slowFS
}

func (s *slowFS) Open(name string, write bool) (file, error) {
	f, err := s.fileSystem.Open(name, write)
	return slowFile{f, s}, err
}

func (s *slowFS) Create(name string) (file, error) {
	f, err := s.fileSystem.Create(name)
	return slowFile{f, s}, err
}

func (f slowFile) Sync() error {
	f.fs.syncs.Add(1)
	f.fs.pause()
	return f.file.Sync()
}

func openSlow(t *testing.T, s *slowFS) *Log {
	t.Helper()
	l, err := Open("mem", &Options{Logger: quiet(), fs: s})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func commit(l *Log, id string) error {
	_, err := l.Decide(context.Background(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"a"}})
	return err
}

// TestEachCallerIsInTheNextBatch has many callers come at random moments: nobody waits for more than the batch that is being written and
// his own, however many there are, and in the long run nobody decides less often than others.
func TestEachCallerIsInTheNextBatch(t *testing.T) {
	t.Parallel()
	for _, callers := range []int{2, 7, 40, 200} {
		for seed := range uint64(4) {
			synctest.Test(t, func(t *testing.T) {
				s := newSlowFS(newMemFS())
				l := openSlow(t, s)
				begun := time.Now()
				counts := make([]int, callers)
				var wg sync.WaitGroup
				for g := range callers {
					wg.Go(func() {
						r := rand.New(rand.NewPCG(seed, uint64(g)))
						for time.Since(begun) < 60*syncTime {
							if r.IntN(3) == 0 {
								time.Sleep(time.Duration(r.Int64N(int64(2 * syncTime))))
							}
							asked := time.Now()
							if err := commit(l, fmt.Sprint(g, "-", counts[g])); err != nil {
								t.Error(err)
							}
							if took := time.Since(asked); took > 2*syncTime {
								t.Errorf("one of %d callers waited for %s, which is more than two batches", callers, took)
							}
							counts[g]++
						}
					})
				}
				wg.Wait()
				lowest, highest, total := counts[0], counts[0], 0
				for _, n := range counts {
					lowest, highest, total = min(lowest, n), max(highest, n), total+n
				}
				if lowest*3 < highest {
					t.Errorf("of %d callers one decided %d times, another %d times", callers, lowest, highest)
				}
				if syncs := s.syncs.Load(); callers >= 40 && syncs*8 > int64(total) {
					t.Errorf("%d callers shared %d syncs for %d decisions", callers, syncs, total)
				}
				closeLog(t, l)
			})
		}
	}
}

func TestALoneCallerAfterABurstPaysOneSync(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlowFS(newMemFS())
		l := openSlow(t, s)
		r := rand.New(rand.NewPCG(1, 2))
		for round := range 50 {
			var wg sync.WaitGroup
			for g := range r.IntN(30) {
				wait := time.Duration(r.Int64N(int64(3 * syncTime)))
				wg.Go(func() {
					time.Sleep(wait)
					if err := commit(l, fmt.Sprint(round, "-", g)); err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			for i := range 2 {
				before, asked := s.syncs.Load(), time.Now()
				if err := commit(l, fmt.Sprint(round, " alone ", i)); err != nil {
					t.Fatal(err)
				}
				if syncs, took := s.syncs.Load()-before, time.Since(asked); syncs != 1 || took != syncTime {
					t.Fatalf("a lone caller costs %d syncs, and waits for %s", syncs, took)
				}
			}
		}
		closeLog(t, l)
	})
}

// TestABurstThatIsCutShortLeavesNobodyWaiting ends a burst by Close, or by a failure of the disk, at many moments. Everybody is told something, and the log
// bears it out.
func TestABurstThatIsCutShortLeavesNobodyWaiting(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"closed", "a failed operation", "a failed write that left something", "a full disk"} {
		for seed := range uint64(40) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 7))
				m := newMemFS()
				l := openSlow(t, newSlowFS(m))
				if how != "closed" {
					m.failAt = m.ops + 1 + r.IntN(40)
					m.failure = map[string]failure{"a failed operation": failOnce, "a failed write that left something": failShort, "a full disk": failFull}[how]
				}
				w := cutShort(l, r, how == "closed")
				_ = l.Close()
				after := openSlow(t, newSlowFS(m.kill()))
				w.check(t, after)
				closeLog(t, after)
				if t.Failed() {
					t.Fatalf("%s, seed %d", how, seed)
				}
			})
		}
	}
}

// burst is what the callers of one burst were told.
type burst struct {
	mu      sync.Mutex // guards answers
	answers map[string][]error
	won     map[string]map[txlog.Outcome]bool
}

// cutShort has 50 callers decide, some of them about the same IDs, and closes the log meanwhile or not.
func cutShort(l *Log, r *rand.Rand, closes bool) *burst {
	w := &burst{answers: map[string][]error{}, won: map[string]map[txlog.Outcome]bool{}}
	var wg sync.WaitGroup
	for g := range 50 {
		r := rand.New(rand.NewPCG(r.Uint64(), 0))
		wg.Go(func() {
			for i := range 4 {
				time.Sleep(time.Duration(r.Int64N(int64(3 * syncTime))))
				id := fmt.Sprint(g, "-", i)
				if r.IntN(3) == 0 {
					id = fmt.Sprint("shared", r.IntN(6))
				}
				o, err := l.Decide(context.Background(), txlog.Decision{ID: id, Outcome: txlog.Committed + txlog.Outcome(g%2)})
				w.mu.Lock()
				w.answers[id] = append(w.answers[id], err)
				if w.won[id] == nil {
					w.won[id] = map[txlog.Outcome]bool{}
				}
				if err == nil {
					w.won[id][o] = true
				}
				w.mu.Unlock()
			}
		})
	}
	if closes {
		time.Sleep(time.Duration(r.Int64N(int64(8 * syncTime))))
		_ = l.Close()
	}
	wg.Wait()
	return w
}

func (w *burst) check(t *testing.T, l *Log) {
	t.Helper()
	for id, answers := range w.answers {
		got, err := l.Lookup(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		never := true
		for _, err := range answers {
			never = never && errors.Is(err, txlog.ErrNotDecided)
		}
		if never != (got == txlog.Undecided) && (never || len(w.won[id]) > 0) || len(w.won[id]) > 1 || len(w.won[id]) == 1 && !w.won[id][got] {
			t.Errorf("%q is %s; its callers were told %v and %v", id, got, w.won[id], answers)
		}
	}
}

// TestABurstOnSeveralProcessorsEnds does without the bubble, for the race detector: there goroutines meet in ways that no schedule of ours
// foresees.
func TestABurstOnSeveralProcessorsEnds(t *testing.T) {
	t.Parallel()
	m := newMemFS()
	s := newSlowFS(m)
	s.pause = func() {
		for range rand.IntN(20) {
			runtime.Gosched()
		}
	}
	l, err := Open("mem", &Options{Logger: quiet(), fs: s, SegmentSize: 64 << 10, extent: 4 << 10, Retention: -1})
	if err != nil {
		t.Fatal(err)
	}
	const callers, each = 64, 60
	var wg sync.WaitGroup
	for g := range callers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprint(g, "-", i)
				if err := commit(l, id); err != nil {
					t.Error(err)
				}
				if o, err := l.Lookup(t.Context(), id); err != nil || o != txlog.Committed {
					t.Errorf("Lookup = %s, %v", o, err)
				}
				if i%2 == 0 {
					_ = l.Settle(t.Context(), id)
				}
				for range rand.IntN(4) {
					runtime.Gosched()
				}
			}
		})
	}
	wg.Wait()
	closeLog(t, l)
	l = openSlow(t, newSlowFS(m.kill()))
	for g := range callers {
		if o, err := l.Lookup(t.Context(), fmt.Sprint(g, "-", each-1)); err != nil || o != txlog.Committed {
			t.Errorf("Lookup after opening again = %s, %v", o, err)
		}
	}
	if open := l.Info().Unsettled; open != callers*each/2 {
		t.Errorf("%d decisions are unsettled, want %d", open, callers*each/2)
	}
	closeLog(t, l)
}

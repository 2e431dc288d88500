package simulation

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// placements are the schedules that run for one shape: without an event, with every single one, and with every pair of which pair keeps the first
// and the second.
type placements struct {
	shape shape
	pair  func(e placed, second bool) bool // nil: no pairs
}

// count says how many schedules ran, by the number of their events.
type count [3]int

func (c count) String() string {
	return fmt.Sprintf("%d without, %d with one, %d with two events", c[0], c[1], c[2])
}

// explore runs the placements, on all processors, and fails the test for the first few that break a promise.
func explore(t *testing.T, all []placements) count {
	var total [3]atomic.Int64
	var failed atomic.Int64
	counts := make([][3]atomic.Int64, len(all))
	type job struct {
		i     int
		first schedule
	}
	jobs := make(chan job)
	try := func(t *testing.T, i int, s schedule) (result, bool) {
		r := bubble(t, s)
		n := len(s.events)
		counts[i][n].Add(1)
		if total[n].Add(1)%everySoOften == 0 && !slices.Equal(r.reached, bubble(t, s).reached) {
			r.violations = append(r.violations, "schedule: it ran another way when it ran again")
		}
		if len(r.violations) > 0 && failed.Add(1) <= maxFailures {
			t.Errorf("%s", failure(s, r))
		}
		return r, failed.Load() < maxFailures
	}
	t.Run("workers", func(t *testing.T) {
		for k := range runtime.GOMAXPROCS(0) {
			t.Run(fmt.Sprint(k), func(t *testing.T) {
				t.Parallel()
				for j := range jobs {
					r, goOn := try(t, j.i, j.first)
					if !goOn || all[j.i].pair == nil || len(r.fired) == 0 || !all[j.i].pair(j.first.events[0], false) {
						continue
					}
					for _, second := range following(j.first.shape, r.reached[r.fired[0]+1:], r.brief) {
						if !all[j.i].pair(second, true) {
							continue
						}
						if _, goOn := try(t, j.i, schedule{j.first.shape, []placed{j.first.events[0], second}}); !goOn {
							break
						}
					}
				}
			})
		}
		go func() {
			defer close(jobs)
			for i, pl := range all {
				base, goOn := try(t, i, schedule{shape: pl.shape})
				if !goOn {
					return
				}
				for _, first := range following(pl.shape, base.reached, base.brief) {
					jobs <- job{i, schedule{pl.shape, []placed{first}}}
				}
			}
		}()
	})
	for i, pl := range all {
		c := count{int(counts[i][0].Load()), int(counts[i][1].Load()), int(counts[i][2].Load())}
		if c[0] > 0 {
			t.Logf("%-24s %v", pl.shape.name, c)
		}
	}
	return count{int(total[0].Load()), int(total[1].Load()), int(total[2].Load())}
}

// everySoOften one schedule runs twice, which must go the same way.
const everySoOften = 50

// maxFailures is how many schedules are told that fail.
const maxFailures = 3

// following are the events that can happen at these points.
func following(s shape, points []point, brief map[point]bool) []placed {
	var out []placed
	for _, p := range points {
		if p.process == "last" {
			continue
		}
		for _, e := range s.events(p) {
			if brief[p] && slices.Contains([]event{hangBefore, hangAfter, pauseShort, pauseLong}, e) {
				continue
			}
			out = append(out, placed{p, e})
		}
	}
	return out
}

// failure tells of a schedule that breaks a promise, and how to see it again.
func failure(s schedule, r result) string {
	text := fmt.Sprintf("go test ./internal/simulation -run TestReplay -v -schedule '%s'", s)
	for _, v := range r.violations {
		text += "\n\t" + v
	}
	return text
}

// bubble runs a schedule in a bubble. A goroutine that is left over makes the bubble panic; a mutex that is waited for while
// the clock should move stops it for ever: the watchdog tells which schedule did.
func bubble(t *testing.T, s schedule) (r result) {
	return inBubble(t, s.String(), func() result { return run(s) })
}

func inBubble(t *testing.T, name string, f func() result) (r result) {
	done := make(chan struct{})
	defer close(done)
	go watch(name, done)
	defer func() {
		if p := recover(); p != nil {
			r.violations = append(r.violations, fmt.Sprintf("lost goroutine: %v", p))
		}
	}()
	// The label is in the stack traces of a panic of the code under test.
	pprof.Do(t.Context(), pprof.Labels("schedule", name), func(context.Context) {
		synctest.Test(t, func(*testing.T) { r = f() })
	})
	return r
}

// watch ends the program when a run takes so many seconds, of which it needs about a thousandth. While the machine stands still
// no more than one of them passes.
func watch(name string, done <-chan struct{}) {
	const seconds = 30
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for range seconds {
		select {
		case <-done:
			return
		case <-tick.C:
		}
	}
	fmt.Fprintf(os.Stderr, "stuck: %s\n", name)
	buf := make([]byte, 1<<20)
	os.Stderr.Write(buf[:runtime.Stack(buf, true)])
	os.Exit(2)
}

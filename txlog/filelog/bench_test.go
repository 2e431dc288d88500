package filelog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

func benchID(i int64) string { return fmt.Sprintf("%s.01JD%022d", goldenID, i) }

func BenchmarkDecide(b *testing.B) {
	l := mustOpen(b, b.TempDir(), &Options{Logger: quiet()})
	logtest.Benchmark(b, l)
}

// bareLoop is what the disk can do: one caller, write and datasync, of as many bytes as a decision has.
type bareLoop struct {
	f      *os.File
	record []byte
	off    int64
}

func newBareLoop(b *testing.B) *bareLoop {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	if _, err := f.WriteAt(make([]byte, 16<<20), 0); err != nil {
		b.Fatal(err)
	}
	if err := datasync(f); err != nil {
		b.Fatal(err)
	}
	// A decision, and the settling of the one before, as a lone caller's batch has them.
	return &bareLoop{f: f, record: newSeeder(goldenID, 1).appendBatch(nil, 0, []record{{kind: kindSettle, id: benchID(0), at: goldenTime(0)},
		{kindCommit, benchID(0), []string{"orders", "ledger"}, goldenTime(0)}})}
}

func (l *bareLoop) sync(b *testing.B) {
	if _, err := l.f.WriteAt(l.record, l.off); err != nil {
		b.Fatal(err)
	}
	if err := datasync(l.f); err != nil {
		b.Fatal(err)
	}
	l.off = (l.off + int64(len(l.record))) % (15 << 20)
}

// BenchmarkAgainstBareLoop takes turns, some 20 milliseconds each, so that all see the same disk and the same noise: a bare loop of
// writing and syncing, a lone caller, and 32 callers. callers=1/bare and callers=32/1 are the ratios of what they did in a second.
func BenchmarkAgainstBareLoop(b *testing.B) {
	const slice = 20 * time.Millisecond
	bare, l := newBareLoop(b), mustOpen(b, b.TempDir(), &Options{Logger: quiet()})
	var made atomic.Int64
	resources := []string{"orders", "ledger"}
	decide := func() {
		id := benchID(made.Add(1))
		if o, err := l.Decide(context.Background(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: resources}); err != nil || o != txlog.Committed {
			b.Errorf("Decide = %s, %v", o, err)
		}
		if err := l.Settle(context.Background(), id); err != nil {
			b.Error(err)
		}
	}
	var rate [3]struct {
		n    int64
		took time.Duration
	}
	measure := func(i, callers int, step func()) {
		var n atomic.Int64
		var wg sync.WaitGroup
		begin := time.Now()
		for range callers {
			wg.Go(func() {
				for time.Since(begin) < slice {
					step()
					n.Add(1)
				}
			})
		}
		wg.Wait()
		rate[i].n += n.Load()
		rate[i].took += time.Since(begin)
	}
	for b.Loop() {
		measure(0, 1, func() { bare.sync(b) })
		measure(1, 1, decide)
		measure(2, 32, decide)
	}
	perSecond := func(i int) float64 { return float64(rate[i].n) / rate[i].took.Seconds() }
	b.ReportMetric(perSecond(0), "bare/s")
	b.ReportMetric(perSecond(1), "callers=1/s")
	b.ReportMetric(perSecond(2), "callers=32/s")
	b.ReportMetric(perSecond(1)/perSecond(0), "callers=1/bare")
	b.ReportMetric(perSecond(2)/perSecond(1), "callers=32/1")
}

// BenchmarkOpen opens logs of a million decisions and more. heap is what the open log holds.
func BenchmarkOpen(b *testing.B) {
	for _, c := range []struct{ settled, unsettled int64 }{{1_000_000, 10_000}, {10_000_000, 10_000}, {0, 1_000_000}} {
		c.settled, c.unsettled = c.settled/scale(), c.unsettled/scale()
		b.Run(fmt.Sprintf("settled=%d/unsettled=%d", c.settled, c.unsettled), func(b *testing.B) {
			dir := b.TempDir()
			fill(b, dir, c.settled, c.unsettled)
			var l *Log
			var err error
			heap := -heapInUse()
			for b.Loop() {
				if l != nil {
					l.Close()
				}
				if l, err = Open(dir, &Options{Logger: quiet()}); err != nil {
					b.Fatal(err)
				}
			}
			heap += heapInUse()
			info := l.Info()
			if info.Settled != int(c.settled) || info.Unsettled != int(c.unsettled) {
				b.Fatalf("%+v", info)
			}
			b.ReportMetric(float64(heap)/(1<<20), "heap-MiB")
			b.ReportMetric(float64(info.Bytes)/(1<<20), "disk-MiB")
			b.ReportMetric(float64(info.Archives), "archives")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// scale divides the sizes where the benchmarks only shall not rot: -short.
func scale() int64 {
	if testing.Short() {
		return 100
	}
	return 1
}

func heapInUse() int64 {
	runtime.GC()
	runtime.GC() // what pools held goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// fill makes a log as an application leaves it that was killed: the unsettled decisions are the oldest.
func fill(b *testing.B, dir string, settled, unsettled int64) {
	l, err := Open(dir, &Options{Logger: quiet()})
	if err != nil {
		b.Fatal(err)
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	for range 2000 {
		wg.Go(func() {
			for i := next.Add(1); i <= settled+unsettled; i = next.Add(1) {
				id := benchID(i)
				if _, err := l.Decide(context.Background(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"orders", "ledger"}}); err != nil {
					b.Error(err)
				}
				if i > unsettled {
					_ = l.Settle(context.Background(), id)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Compact(context.Background()); err != nil { // deciding so fast outruns the compaction beside it
		b.Fatal(err)
	}
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkLookup looks for settled decisions in the archives of ten million, and for one that is in none although it could be.
func BenchmarkLookup(b *testing.B) {
	settled := 10_000_000 / scale()
	dir := b.TempDir()
	fill(b, dir, settled, 0)
	l := mustOpen(b, dir, &Options{Logger: quiet()})
	for name, suffix := range map[string]string{"archived": "", "unknown": "x"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := int64(0); b.Loop(); i++ {
				o, err := l.Lookup(b.Context(), benchID(1+i*7919%(settled*9/10))+suffix)
				if err != nil || (o == txlog.Committed) != (suffix == "") {
					b.Fatalf("%s, %v", o, err)
				}
			}
		})
	}
}

package filelog

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// BenchmarkBareSync is what the disk can do: one caller, write and datasync, of as many bytes as a decision has.
func BenchmarkBareSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	record := newSeeder(goldenID, 1).appendBatch(nil, 0, []record{{kindCommit, benchID(0), []string{"orders", "ledger"}, goldenTime(0)}})
	if _, err := f.WriteAt(make([]byte, 16<<20), 0); err != nil {
		b.Fatal(err)
	}
	if err := datasync(f); err != nil {
		b.Fatal(err)
	}
	var off int64
	for b.Loop() {
		if _, err := f.WriteAt(record, off); err != nil {
			b.Fatal(err)
		}
		if err := datasync(f); err != nil {
			b.Fatal(err)
		}
		off = (off + int64(len(record))) % (15 << 20)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "syncs/s")
}

func benchID(i int64) string { return fmt.Sprintf("%s.01JD%022d", goldenID, i) }

func BenchmarkDecide(b *testing.B) {
	for _, callers := range []int{1, 8, 32, 128, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			l, err := Open(b.TempDir(), &Options{Logger: quiet()})
			if err != nil {
				b.Fatal(err)
			}
			resources := []string{"orders", "ledger"}
			took := make([]time.Duration, b.N)
			var next atomic.Int64
			var wg sync.WaitGroup
			b.ReportAllocs()
			b.ResetTimer()
			for range callers {
				wg.Go(func() {
					for i := next.Add(1) - 1; i < int64(b.N); i = next.Add(1) - 1 {
						id, begin := benchID(i), time.Now()
						if o, err := l.Decide(context.Background(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: resources}); err != nil || o != txlog.Committed {
							b.Errorf("Decide = %s, %v", o, err)
						}
						took[i] = time.Since(begin)
						if err := l.Settle(context.Background(), id); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "decisions/s")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
			if err := l.Close(); err != nil {
				b.Fatal(err)
			}
		})
	}
}

// BenchmarkLoneCaller takes turns with the bare loop, so that both see the same disk: ratio is the bare loop's median over the log's.
func BenchmarkLoneCaller(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "bare"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 16<<20), 0); err != nil {
		b.Fatal(err)
	}
	l := mustOpen(b, b.TempDir(), &Options{Logger: quiet()})
	record := newSeeder(goldenID, 1).appendBatch(nil, 0, []record{{kindCommit, benchID(0), []string{"orders", "ledger"}, goldenTime(0)}})
	var bare, log []time.Duration
	var off int64
	for i := int64(0); b.Loop(); i++ {
		start := time.Now()
		if _, err := f.WriteAt(record, off); err != nil {
			b.Fatal(err)
		}
		if err := datasync(f); err != nil {
			b.Fatal(err)
		}
		middle := time.Now()
		mustDecide(b, l, benchID(i))
		bare, log = append(bare, middle.Sub(start)), append(log, time.Since(middle))
		off = (off + int64(len(record))) % (15 << 20)
	}
	slices.Sort(bare)
	slices.Sort(log)
	b.ReportMetric(float64(bare[len(bare)/2])/float64(log[len(log)/2]), "ratio")
	b.ReportMetric(float64(log[len(log)/2].Microseconds()), "p50-µs")
}

// BenchmarkOpen opens a log of a million settled and ten thousand unsettled decisions.
func BenchmarkOpen(b *testing.B) {
	const settled, unsettled = 1_000_000, 10_000
	dir := b.TempDir()
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
				if i <= settled {
					_ = l.Settle(context.Background(), id)
				}
			}
		})
	}
	wg.Wait()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	size := l.Info().Bytes
	l = nil
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for b.Loop() {
		if l, err = Open(dir, &Options{Logger: quiet()}); err != nil {
			b.Fatal(err)
		}
		if info := l.Info(); info.Settled != settled || info.Unsettled != unsettled {
			b.Fatalf("%+v", info)
		}
		if err := l.Close(); err != nil {
			b.Fatal(err)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/(1<<20), "heap-MiB")
	b.ReportMetric(float64(size)/(1<<20), "disk-MiB")
	runtime.KeepAlive(l)
}

package logtest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// Benchmark measures Decide with 1, 8, 32, 128 and 512 callers at once, as sub-benchmarks named callers=N: decisions a second, and the median
// and the 99th percentile of what a Decide takes. Every ID is new; each decision is settled, as a manager does it, which is
// part of the decisions a second but not of the percentiles. The log may hold decisions already; the caller closes it.
func Benchmark(b *testing.B, log txlog.Log) {
	var made atomic.Int64
	for _, callers := range []int{1, 8, 32, 128, 512} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			ids := make([]string, b.N)
			for i := range ids {
				ids[i] = fmt.Sprintf("%s.01K%023d", log.ID(), made.Add(1))
			}
			benchmark(b, log, callers, ids)
		})
	}
}

func benchmark(b *testing.B, log txlog.Log, callers int, ids []string) {
	resources := []string{"orders", "ledger"}
	ctx := b.Context()
	took := make([]time.Duration, len(ids))
	var next atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(ids)); i = next.Add(1) - 1 {
				begin := time.Now()
				o, err := log.Decide(ctx, txlog.Decision{ID: ids[i], Outcome: txlog.Committed, Resources: resources})
				took[i] = time.Since(begin)
				if err != nil || o != txlog.Committed {
					b.Errorf("Decide = %s, %v", o, err)
				}
				if err := log.Settle(ctx, ids[i]); err != nil {
					b.Errorf("Settle: %v", err)
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	for _, id := range []string{ids[0], ids[len(ids)-1]} {
		if o, err := log.Lookup(ctx, id); err != nil || o != txlog.Committed {
			b.Errorf("Lookup = %s, %v", o, err)
		}
	}
	slices.Sort(took)
	b.ReportMetric(float64(len(ids))/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

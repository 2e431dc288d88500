package xa_test

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/xa"
)

// A database that is down is asked less and less often, and told of no more often than that; what it holds is settled soon after it is back.
func TestDatabaseThatIsDownIsAskedLessAndLessOften(t *testing.T) {
	run(t, func(w *world) {
		var mu sync.Mutex
		var told bytes.Buffer
		var at []time.Time
		w.cfg.RecoveryInterval = 30 * time.Second
		w.cfg.Logger = slog.New(slog.NewTextHandler(&told, nil))
		w.cfg.Trace = &xa.Trace{Recovered: func(xa.RecoveryEvent) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
		}}
		w.open()
		w.crashed()
		w.stock.Down(true)
		time.Sleep(time.Hour)
		synctest.Wait()
		mu.Lock()
		asked, lines := at[1:], strings.Count(told.String(), "\n") // the first was Open's
		mu.Unlock()
		pause := time.Duration(0)
		for i := range asked[1:] {
			next := asked[i+1].Sub(asked[i])
			if i > 0 && next != min(2*pause, w.cfg.RecoveryInterval) {
				t.Errorf("after a pause of %v one of %v", pause, next)
			}
			pause = next
		}
		if first := asked[1].Sub(asked[0]); first > time.Second || pause != w.cfg.RecoveryInterval {
			t.Errorf("the first pause was %v, the last %v", first, pause)
		}
		if lines > len(asked)+10 {
			t.Errorf("%d lines for %d recoveries", lines, len(asked))
		}
		w.stock.Down(false)
		time.Sleep(w.cfg.RecoveryInterval)
		synctest.Wait()
		if n := w.orders.Stats().Prepared + w.stock.Stats().Prepared; n != 0 {
			t.Errorf("%d branches are still in doubt", n)
		}
	})
}

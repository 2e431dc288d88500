package recovery_test

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// late lets a coordinator prepare, decide and die while stock is being listed, when orders has been listed.
func (b *bench) late(o txlog.Outcome) (id string) {
	id = b.id()
	b.dbs["stock"].Fail(memdb.OpList, memdb.Fault{Hook: func() {
		time.Sleep(time.Second) // of synctest's clock: by then orders has been listed
		for _, name := range []string{"orders", "stock"} {
			discard(b.prepared(name, id, name))
		}
		b.decide(id, o, "orders", "stock")
	}})
	return id
}

// What is decided while recovery is at work is settled by the same run, in databases too that it had listed before.
func TestWhatIsDecidedMeanwhileIsSettledByTheSameRun(t *testing.T) {
	for _, o := range []txlog.Outcome{txlog.Committed, txlog.Aborted} {
		run(t, func(b *bench) {
			before := b.id()
			discard(b.prepared("orders", before, "orders"))
			b.decide(before, txlog.Committed, "orders")
			b.late(o)
			report := b.resolve()
			if n := len(b.dbs["orders"].Prepared()) + len(b.dbs["stock"].Prepared()); n != 0 || len(b.unsettled()) != 0 || !report.Clean() {
				b.Errorf("%v: %d branches are left, %d decisions: %+v", o, n, len(b.unsettled()), report)
			}
			want := 1
			if o == txlog.Committed {
				want = 3
			}
			if counted(report, recovery.Committed) != want || counted(report, recovery.RolledBack) != 3-want || len(report.Decisions) != 2 {
				b.Errorf("%v: what was done is not told: %+v", o, report)
			}
			for _, d := range report.Decisions {
				if len(d.Unverified) > 0 {
					b.Errorf("%v: told as unverified although this very run has finished it: %+v", o, d)
				}
			}
		})
	}
}

// Recovery does not run after new decisions for ever: the last that it met it tells, and is not done.
func TestRunThatDecisionsOvertakeEndsAndTellsTheLast(t *testing.T) {
	run(t, func(b *bench) {
		var last string
		for range 3 {
			last = b.late(txlog.Committed)
			time.Sleep(time.Millisecond) // for another ID
		}
		report := b.resolve()
		if d := report.Decisions[len(report.Decisions)-1]; report.Clean() || d.ID != last || d.Settled || d.Reason == "" {
			b.Errorf("got %+v, want %s to be left", report.Decisions, last)
		}
		if n := len(b.dbs["orders"].Prepared()); n != 1 {
			b.Errorf("%d branches are left, want the last one's", n)
		}
		if report := b.resolve(); !report.Clean() || len(b.unsettled()) != 0 {
			b.Errorf("the next run: %+v", report)
		}
	})
}

// Decisions whose branches nobody can prove are told to the operator, of thousands in few lines.
func TestUnverifiedBranchesAreWarnedOf(t *testing.T) {
	run(t, func(b *bench) {
		var told bytes.Buffer
		b.r.Logger = slog.New(slog.NewTextHandler(&told, &slog.HandlerOptions{Level: slog.LevelWarn}))
		for range 30 {
			b.decide(b.id(), txlog.Committed, "stock")
		}
		b.scan()
		if told.Len() > 0 {
			b.Errorf("told by one who only looked:\n%s", told.String())
		}
		b.resolve()
		if lines := strings.Count(told.String(), "unverified"); lines != 11 || !strings.Contains(told.String(), "count=20") || !strings.Contains(told.String(), "resource=stock") {
			b.Errorf("%d lines:\n%s", lines, told.String())
		}
	})
}

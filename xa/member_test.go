package xa_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

const lease = 10 * time.Second

// shared gives the world a shared log, on which its manager and another one are members of.
func (w *world) shared() (log *logtest.SharedMemory, openOther func(...*xa.Trace) *xa.Manager) {
	log = logtest.NewSharedMemory(lease)
	w.log, w.cfg.Log = log.Memory, log
	return log, func(trace ...*xa.Trace) *xa.Manager {
		w.Helper()
		cfg := w.cfg
		cfg.Log, cfg.Trace = log.Another(), nil
		if len(trace) > 0 {
			cfg.Trace = trace[0]
		}
		m, err := xa.Open(w.Context(), cfg)
		if err != nil {
			w.Fatal(err)
		}
		return m
	}
}

func (w *world) recoveredBy(m *xa.Manager) recovery.Report {
	w.Helper()
	report, err := m.Recover(w.Context())
	if err != nil {
		w.Error(err)
	}
	return report
}

func TestIDsCarryTheMembersMark(t *testing.T) {
	run(t, func(w *world) {
		log, _ := w.shared()
		w.open()
		tx, err := w.m.Begin(w.Context(), nil)
		if err != nil {
			w.Fatal(err)
		}
		defer tx.Rollback(w.Context())
		holders, err := log.Holders(w.Context(), []string{tx.ID()})
		if h := holders[tx.ID()]; err != nil || !h.Alive || h.Mark != txlog.Mark(tx.ID()) {
			w.Errorf("%s is held by %+v, %v", tx.ID(), h, err)
		}
	})
}

// P13: whatever another member's recovery sees at whatever point of a commit, it does no harm.
func TestRecoveryOfAnotherMemberLeavesLiveTransactionsAlone(t *testing.T) {
	run(t, func(w *world) {
		_, openOther := w.shared()
		var other *xa.Manager
		seen := 0
		look := func() {
			report := w.recoveredBy(other)
			seen += len(report.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Live && b.Holder != "" }))
			if n := len(report.Branches(func(b recovery.Branch) bool { return b.Action != recovery.Live })); n > 0 {
				w.Errorf("recovery acted: %+v", report)
			}
		}
		w.cfg.Trace = &xa.Trace{
			DecideStart: func(xa.TxEvent) { look() },
			DecideDone:  func(xa.TxEvent) { look() },
			Settled:     func(xa.TxEvent) { look() },
		}
		w.open()
		other = openOther()
		defer other.Close()
		if err := w.transfer(); err != nil {
			w.Errorf("got %v", err)
		}
		if seen != 4 {
			w.Errorf("the other member saw %d branches in our hands", seen)
		}
	})
}

// P13: a coordinator that was suspended for longer than its lease finds that another one has finished its branches: no heuristic outcome.
func TestBranchThatAnotherMemberHasCommittedIsNotHeuristic(t *testing.T) {
	run(t, func(w *world) {
		log, openOther := w.shared()
		var logged strings.Builder
		w.cfg.Logger = slog.New(slog.NewTextHandler(&logged, nil))
		var other *xa.Manager
		w.cfg.Trace = &xa.Trace{DecideDone: func(xa.TxEvent) {
			resume := log.Pause()
			time.Sleep(lease + time.Second)
			report := w.recoveredBy(other)
			if n := len(report.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Committed })); n != 2 {
				w.Errorf("the other member committed %d branches: %+v", n, report)
			}
			resume()
		}}
		w.open()
		w.cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
		other = openOther()
		defer other.Close()
		if err := w.transfer(); err != nil {
			w.Errorf("got %v", err)
		}
		if !strings.Contains(logged.String(), "in the hands of another member") || strings.Contains(logged.String(), "heuristic") {
			w.Errorf("the log tells:\n%s", logged.String())
		}
	})
}

// L1, P13: and one that has not decided yet finds Aborted.
func TestMemberThatWakesUpLateFindsAborted(t *testing.T) {
	run(t, func(w *world) {
		log, openOther := w.shared()
		var other *xa.Manager
		w.cfg.Trace = &xa.Trace{DecideStart: func(xa.TxEvent) {
			resume := log.Pause()
			time.Sleep(lease + time.Second)
			w.recoveredBy(other)
			resume()
		}}
		w.cfg.Timeout = time.Minute
		w.open()
		other = openOther()
		defer other.Close()
		if err := w.transfer(); !errors.Is(err, xa.ErrRolledBack) {
			w.Errorf("got %v", err)
		}
	})
}

func TestUnknownBranchOnASharedLogThatNobodyElseHadIsHeuristic(t *testing.T) {
	run(t, func(w *world) {
		w.oneSided = true
		w.shared()
		w.cfg.Trace = &xa.Trace{DecideDone: func(xa.TxEvent) {
			for _, xid := range w.orders.Prepared() {
				w.orders.Finish(xid, false)
			}
		}}
		w.open()
		if err := w.transfer(); !errors.Is(err, xa.ErrHeuristic) {
			w.Errorf("got %v", err)
		}
	})
}

func TestCloseGivesWhatIsInDoubtToTheOthers(t *testing.T) {
	run(t, func(w *world) {
		_, openOther := w.shared()
		w.open()
		other := openOther()
		defer other.Close()
		w.stock.Fail(memdb.OpCommit, memdb.Fault{Lost: true})
		w.stock.Fail(memdb.OpCommitPrepared, memdb.Fault{Err: errors.New("not now")})
		if err := w.transfer(); err != nil {
			w.Errorf("got %v", err)
		}
		w.m.Close()
		if left := w.stock.Prepared(); len(left) != 1 {
			w.Fatalf("prepared: %v", left)
		}
		w.stock.Heal()
		if report := w.recoveredBy(other); !report.Clean() {
			w.Errorf("got %+v", report)
		}
	})
}

func TestMemberFinishesItsOwnLeftovers(t *testing.T) {
	run(t, func(w *world) {
		w.shared()
		w.open()
		w.stock.Fail(memdb.OpCommit, memdb.Fault{Lost: true})
		if err := w.transfer(); err != nil {
			w.Errorf("got %v", err)
		}
		if report := w.recoveredBy(w.m); !report.Clean() {
			w.Errorf("got %+v", report)
		}
	})
}

func TestShutdownDoesNotWaitForOtherMembers(t *testing.T) {
	run(t, func(w *world) {
		_, openOther := w.shared()
		w.open()
		other := openOther(&xa.Trace{DecideDone: func(xa.TxEvent) {
			if err := w.m.Shutdown(w.Context()); err != nil {
				w.Errorf("shutdown: %v", err)
			}
		}})
		defer other.Close()
		err := other.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "orders", "k", "v")
			w.put(tx, "stock", "k", "v")
			return nil
		})
		if err != nil {
			w.Errorf("got %v", err)
		}
	})
}

package xa_test

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

func TestUseAfterTheEndIsTxDone(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		tx, _ := m.Begin(w.Context(), nil)
		w.put(tx, "orders", "k", "v")
		w.put(tx, "stock", "k", "v")
		b, _ := tx.Branch(w.Context(), "orders")
		rows, err := b.QueryContext(w.Context(), "GET k")
		if err != nil {
			w.Fatal(err)
		}
		if err := tx.Commit(w.Context()); err != nil {
			w.Fatal(err)
		}
		if rows.Next() {
			w.Error("rows that were open at commit still yield")
		}
		_, execErr := b.ExecContext(w.Context(), "PUT k w")
		_, branchErr := tx.Branch(w.Context(), "orders")
		for name, err := range map[string]error{"ExecContext": execErr, "Branch": branchErr, "Commit": tx.Commit(w.Context()),
			"QueryRowContext": b.QueryRowContext(w.Context(), "GET k").Scan(new(string))} {
			if !errors.Is(err, sql.ErrTxDone) {
				w.Errorf("%s after commit: %v", name, err)
			}
		}
		if err := tx.Rollback(w.Context()); err != nil {
			w.Errorf("a deferred Rollback after Commit: %v", err)
		}
	})
}

func TestContextThatEndsBeforeTheDecisionRollsBack(t *testing.T) {
	run(t, func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		w.cfg.Trace = &xa.Trace{PrepareDone: func(e xa.BranchEvent) { cancel() }}
		m := w.open()
		err := m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "orders", "k", "v")
			w.put(tx, "stock", "k", "v")
			return nil
		})
		if !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, context.Canceled) {
			w.Errorf("got %v", err)
		}
		if _, ok := w.orders.Get("k"); ok {
			w.Error("it committed")
		}
	})
}

func TestContextThatEndsAfterTheDecisionCommits(t *testing.T) {
	run(t, func(w *world) {
		ctx, cancel := context.WithCancel(w.Context())
		w.cfg.Trace = &xa.Trace{DecideStart: func(xa.TxEvent) { cancel() }}
		m := w.open()
		err := m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "orders", "k", "v")
			w.put(tx, "stock", "k", "v")
			return nil
		})
		if err != nil {
			w.Errorf("got %v", err)
		}
		if _, ok := w.orders.Get("k"); !ok {
			w.Error("it did not commit")
		}
	})
}

// P7: the timeout loses against a commit that has been decided, and wins before.
func TestTimeoutAndCommitRaceForOneWord(t *testing.T) {
	late := func(sleep func(tr *xa.Trace, nap func())) (err error, committed bool) {
		run(t, func(w *world) {
			w.cfg.Trace = &xa.Trace{}
			sleep(w.cfg.Trace, func() { time.Sleep(2 * time.Second) })
			m := w.open()
			tx, beginErr := m.Begin(w.Context(), &xa.TxOptions{Timeout: time.Second})
			if beginErr != nil {
				w.Fatal(beginErr)
			}
			w.put(tx, "orders", "k", "v")
			w.put(tx, "stock", "k", "v")
			err = tx.Commit(w.Context())
			synctest.Wait()
			_, committed = w.orders.Get("k")
		})
		return err, committed
	}
	err, committed := late(func(tr *xa.Trace, nap func()) { tr.PrepareDone = func(xa.BranchEvent) { nap() } })
	if !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, xa.ErrTimeout) || committed {
		t.Errorf("timeout before the decision: %v, committed: %v", err, committed)
	}
	err, committed = late(func(tr *xa.Trace, nap func()) { tr.DecideStart = func(xa.TxEvent) { nap() } })
	if err != nil || !committed {
		t.Errorf("timeout while deciding: %v, committed: %v", err, committed)
	}
}

func TestTimeoutEndsARunningStatement(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		tx, _ := m.Begin(w.Context(), &xa.TxOptions{Timeout: time.Second})
		w.put(tx, "orders", "k", "v")
		w.orders.Fail(memdb.OpStatement, memdb.Fault{Hang: true})
		b, _ := tx.Branch(w.Context(), "orders")
		if _, err := b.ExecContext(context.Background(), "PUT k w"); err == nil {
			w.Error("a hanging statement returned nil")
		}
		if err := tx.Commit(w.Context()); !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, context.DeadlineExceeded) {
			w.Errorf("Commit after the timeout: %v", err)
		}
	})
}

// P10: a statement that cost the branch its connection can't be forgotten, and its outcome is not unknown.
func TestSwallowedCancellationRollsBack(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "orders", "k", "v")
			b, err := tx.Branch(ctx, "orders")
			if err != nil {
				return err
			}
			w.orders.Fail(memdb.OpStatement, memdb.Fault{Hang: true})
			brief, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			b.ExecContext(brief, "PUT k w") // the error is ignored
			return nil
		})
		if !errors.Is(err, xa.ErrRolledBack) || errors.Is(err, xa.ErrOutcomeUnknown) {
			w.Errorf("got %v", err)
		}
	})
}

// An application that sends COMMIT as SQL decides alone.
func TestBranchThatIsCommittedAtRollbackIsHeuristic(t *testing.T) {
	run(t, func(w *world) {
		w.open()
		w.orders.Fail(memdb.OpRollback, memdb.Fault{After: true, Err: drivers.ErrCommitted})
		err := w.fail(errors.New("not enough money"))
		if !errors.Is(err, xa.ErrHeuristic) || errors.Is(err, xa.ErrRolledBack) {
			w.Errorf("got %v", err)
		}
	})
}

func TestPanicRollsBackAndGoesOn(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		defer func() {
			if r := recover(); r != "boom" {
				w.Errorf("recovered %v", r)
			}
			if st := w.orders.Stats(); st.Active+st.Prepared != 0 {
				w.Errorf("left %+v", st)
			}
		}()
		m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "orders", "k", "v")
			panic("boom")
		})
	})
}

func TestGoexitRollsBack(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		var wg sync.WaitGroup
		wg.Go(func() {
			m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
				w.put(tx, "orders", "k", "v")
				runtime.Goexit()
				return nil
			})
		})
		wg.Wait()
	})
}

func TestDoReturnsTheFunctionsError(t *testing.T) {
	run(t, func(w *world) {
		w.open()
		broke := errors.New("not enough money")
		err := w.fail(broke)
		if !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, broke) {
			w.Errorf("got %v", err)
		}
		for name, c := range map[string]struct {
			end  func(tx *xa.Tx) error
			want error
		}{
			"rolled back by itself": {func(tx *xa.Tx) error { return tx.Rollback(w.Context()) }, xa.ErrRolledBack},
			"committed by itself":   {func(tx *xa.Tx) error { return tx.Commit(w.Context()) }, nil},
		} {
			err := w.m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
				w.put(tx, "orders", "k", name)
				w.put(tx, "stock", "k", name)
				return c.end(tx)
			})
			if !errors.Is(err, c.want) {
				w.Errorf("%s: %v", name, err)
			}
		}
	})
}

// What Do returns is one of the outcomes also where it can't even begin: nothing is applied then.
func TestDoThatCannotBeginIsRolledBack(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		stop := errors.New("the server shuts down")
		ended, end := context.WithCancelCause(w.Context())
		end(stop)
		called := func(context.Context, *xa.Tx) error {
			w.Error("the function was called")
			return nil
		}
		if err := m.Do(ended, nil, called); !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, stop) {
			w.Errorf("under a context that has ended: %v", err)
		}
		if err := m.Close(); err != nil {
			w.Fatal(err)
		}
		if err := m.Do(w.Context(), nil, called); !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, xa.ErrClosed) {
			w.Errorf("of a closed manager: %v", err)
		}
	})
}

// What the function's own Commit returned is not lost behind the error that the function returns.
func TestUnknownOutcomeIsNotLostBehindTheFunctionsError(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		w.log.FailDecide(logtest.LostUnrecorded)
		broke := errors.New("could not be confirmed")
		var committed error
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "orders", "k", "v")
			w.put(tx, "stock", "k", "v")
			committed = tx.Commit(ctx)
			return broke
		})
		if !errors.Is(err, xa.ErrOutcomeUnknown) || !errors.Is(err, broke) || errors.Is(err, xa.ErrRolledBack) {
			w.Errorf("got %v after %v", err, committed)
		}
	})
}

func TestRollbackOnlyCannotCommit(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		why := errors.New("a repository said no")
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "orders", "k", "v")
			tx.SetRollbackOnly(why)
			return nil
		})
		if !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, why) {
			w.Errorf("got %v", err)
		}
	})
}

func TestTwoGoroutinesOnOneBranch(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for _, r := range []string{"orders", "stock"} {
						b, err := tx.Branch(ctx, r)
						if err != nil {
							w.Error(err)
							return
						}
						rows, err := b.QueryContext(ctx, "COUNT")
						if err != nil {
							w.Error(err)
							return
						}
						if _, err := b.ExecContext(ctx, "PUT k v"); err != nil {
							w.Error(err)
						}
						rows.Close()
					}
				})
			}
			wg.Wait()
			return nil
		})
		if err != nil {
			w.Error(err)
		}
	})
}

func TestOppositeOrderEndsByTimeoutAndOneOrderDoesNotWait(t *testing.T) {
	run(t, func(w *world) {
		for _, r := range w.cfg.Resources {
			r.DB.SetMaxOpenConns(1)
		}
		w.cfg.Timeout = time.Second
		m := w.open()
		both := func(enlist func(tx *xa.Tx, i int) error) (errs [2]error) {
			var wg sync.WaitGroup
			for i := range errs {
				wg.Go(func() {
					errs[i] = m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error { return enlist(tx, i) })
				})
			}
			wg.Wait()
			return errs
		}
		order := [][]string{{"orders", "stock"}, {"stock", "orders"}}
		errs := both(func(tx *xa.Tx, i int) error {
			if _, err := tx.Branch(w.Context(), order[i][0]); err != nil {
				return err
			}
			time.Sleep(time.Millisecond)
			_, err := tx.Branch(w.Context(), order[i][1])
			return err
		})
		if errs[0] == nil && errs[1] == nil {
			w.Error("opposite order: nobody timed out: the test shows nothing")
		}
		for _, err := range errs {
			if err != nil && !errors.Is(err, xa.ErrTimeout) {
				w.Errorf("opposite order: %v", err)
			}
		}
		for i, err := range both(func(tx *xa.Tx, i int) error {
			branches, err := tx.Branches(w.Context(), order[i]...)
			if err == nil && branches[0].XID().BQual != order[i][0] {
				w.Errorf("Branches returned %v first", branches[0].XID())
			}
			return err
		}) {
			if err != nil {
				w.Errorf("one call: %d: %v", i, err)
			}
		}
	})
}

func TestABranchThatDidNotStartCannotBeForgotten(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		w.stock.Fail(memdb.OpBegin, memdb.Fault{Err: errors.New("no")})
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "orders", "k", "v")
			tx.Branch(ctx, "stock") // the error is ignored
			return nil
		})
		var branch *xa.BranchError
		if !errors.Is(err, xa.ErrRolledBack) || !errors.As(err, &branch) || branch.XID.BQual != "stock" {
			w.Errorf("got %v", err)
		}
	})
}

// P4: recovery leaves a transaction alone that may still be decided.
func TestRecoveryLeavesLiveTransactionsAlone(t *testing.T) {
	run(t, func(w *world) {
		var report recovery.Report
		w.cfg.Trace = &xa.Trace{DecideStart: func(xa.TxEvent) {
			var err error
			if report, err = w.m.Recover(w.Context()); err != nil {
				w.Error(err)
			}
		}}
		w.open()
		if err := w.transfer(); err != nil {
			w.Errorf("got %v", err)
		}
		if live := report.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Live }); len(live) != 2 {
			w.Errorf("recovery saw %+v", report)
		}
	})
}

// The log decides: a coordinator that wakes up late finds Aborted, and rolls back too.
func TestLateCoordinatorFindsAborted(t *testing.T) {
	run(t, func(w *world) {
		w.cfg.Trace = &xa.Trace{DecideStart: func(e xa.TxEvent) {
			w.log.Decide(w.Context(), txlog.Decision{ID: e.ID, Outcome: txlog.Aborted, Resources: []string{"orders", "stock"}})
		}}
		w.open()
		if err := w.transfer(); !errors.Is(err, xa.ErrRolledBack) {
			w.Errorf("got %v", err)
		}
	})
}

// P3: a connection whose branch is not known to be finished never goes back to the pool.
func TestUnfinishedConnectionIsDiscarded(t *testing.T) {
	refused := memdb.Fault{Err: errors.New("no")}
	for name, fail := range map[string]func(w *world){
		"commit":          func(w *world) { w.orders.Fail(memdb.OpCommit, refused) },
		"commit, unknown": func(w *world) { w.orders.Fail(memdb.OpCommitOnePhase, refused) },
		"rollback": func(w *world) {
			w.stock.Fail(memdb.OpPrepare, refused)
			w.orders.Fail(memdb.OpRollback, refused)
		},
		"begin": func(w *world) { w.orders.Fail(memdb.OpBegin, memdb.Fault{After: true, Err: errors.New("no")}) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				m := w.open()
				fail(w)
				m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
					b, err := tx.Branch(ctx, "orders")
					if err != nil || name == "commit, unknown" {
						return err
					}
					b.ExecContext(ctx, "PUT k v")
					w.put(tx, "stock", "k", "v")
					return nil
				})
			}) // the invariant finds what a pool was given
		})
	}
}

// Rollback does not wait for a branch that waits for a connection.
func TestRollbackCutsAStartingBranchOff(t *testing.T) {
	run(t, func(w *world) {
		w.cfg.Resources[0].DB.SetMaxOpenConns(1)
		m := w.open()
		hog, err := w.cfg.Resources[0].DB.Conn(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		defer hog.Close()
		tx, _ := m.Begin(w.Context(), nil)
		var wg sync.WaitGroup
		wg.Go(func() {
			if _, err := tx.Branch(w.Context(), "orders"); !errors.Is(err, sql.ErrTxDone) {
				w.Errorf("Branch: %v", err)
			}
		})
		synctest.Wait()
		began := time.Now()
		tx.Rollback(w.Context())
		if took := time.Since(began); took != 0 {
			w.Errorf("Rollback waited for %v", took)
		}
		wg.Wait()
	})
}

func TestUnknownResourceNamesTheConfiguredOnes(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			_, err := tx.Branch(ctx, "order")
			return err
		})
		if err == nil || !strings.Contains(err.Error(), `no resource is named "order": the configured ones are orders, stock`) {
			w.Errorf("got %v", err)
		}
	})
}

package xa_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

// A hook is called once, with what Commit returns, however the transaction ends.
func TestHooksLearnTheOutcomeOnce(t *testing.T) {
	broke := errors.New("not enough money")
	for name, c := range map[string]struct {
		end  func(w *world, tx *xa.Tx) error
		want error
	}{
		"commit": {func(w *world, tx *xa.Tx) error { return tx.Commit(w.Context()) }, nil},
		"rollback": {func(w *world, tx *xa.Tx) error {
			return errors.Join(tx.Rollback(w.Context()), tx.Rollback(w.Context()))
		}, xa.ErrRolledBack},
		"timeout": {func(*world, *xa.Tx) error { time.Sleep(2 * time.Minute); return nil }, xa.ErrTimeout},
		"close":   {func(w *world, _ *xa.Tx) error { return w.m.Close() }, xa.ErrClosed},
		"cause": {func(w *world, tx *xa.Tx) error {
			tx.SetRollbackOnly(broke)
			tx.Commit(w.Context())
			return nil
		}, broke},
		"unknown": {func(w *world, tx *xa.Tx) error {
			w.log.FailDecide(logtest.LostUnrecorded)
			tx.Commit(w.Context())
			return nil
		}, xa.ErrOutcomeUnknown},
		"heuristic": {func(w *world, tx *xa.Tx) error {
			w.orders.Fail(memdb.OpRollback, memdb.Fault{After: true, Err: drivers.ErrCommitted})
			return tx.Rollback(w.Context())
		}, xa.ErrHeuristic},
	} {
		run(t, func(w *world) {
			m := w.open()
			tx, _ := m.Begin(w.Context(), nil)
			var told []error
			tx.AfterCompletion(func(err error) { told = append(told, err) })
			w.put(tx, "orders", "k", "v")
			w.put(tx, "stock", "k", "v")
			if err := c.end(w, tx); err != nil {
				w.Errorf("%s: %v", name, err)
			}
			synctest.Wait()
			tx.AfterCompletion(func(err error) { told = append(told, err) }) // after the end: at once
			if len(told) != 2 || !errors.Is(told[0], c.want) || told[0] != told[1] {
				w.Errorf("%s: told %v, want twice %v", name, told, c.want)
			}
		})
	}
}

func TestHooksOfDo(t *testing.T) {
	broke := errors.New("not enough money")
	run(t, func(w *world) {
		w.open()
		for name, f := range map[string]func() error{
			"error": func() error { return broke },
			"panic": func() error { panic(broke) },
		} {
			var told []error
			func() {
				defer func() { recover() }()
				w.inDo(func(_ context.Context, tx *xa.Tx, _ *sql.DB) error {
					tx.AfterCompletion(func(err error) { told = append(told, err) })
					return f()
				})
			}()
			if len(told) != 1 || !errors.Is(told[0], xa.ErrRolledBack) {
				w.Errorf("%s: told %v", name, told)
			}
		}
	})
}

// Hooks run in their order, may begin other transactions, and can't change the outcome, not even by a panic.
func TestHooksCannotChangeTheOutcome(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		var called []string
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			for n := range 3 {
				tx.AfterCompletion(func(err error) {
					called = append(called, fmt.Sprintf("%d%v", n, err))
					if n == 1 {
						panic("boom")
					}
					if _, ok := w.orders.Get("k"); !ok {
						w.Error("the outcome is not in the database yet")
					}
					tx.AfterCompletion(func(error) { called = append(called, "late") })
					if n == 2 {
						m.Do(w.Context(), nil, func(context.Context, *xa.Tx) error { return nil })
					}
				})
			}
			w.put(tx, "orders", "k", "v")
			w.put(tx, "stock", "k", "v")
			return nil
		})
		if want := []string{"0<nil>", "late", "1<nil>", "2<nil>", "late"}; err != nil || !slices.Equal(called, want) {
			w.Errorf("%v; called %q, want %q", err, called, want)
		}
	})
}

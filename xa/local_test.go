package xa_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/xa"
)

func TestLocalTransactionsOfABranch(t *testing.T) {
	run(t, func(w *world) {
		w.open()
		err := w.inDo(func(ctx context.Context, _ *xa.Tx, db *sql.DB) error {
			outer, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			_, err = db.BeginTx(ctx, nil)
			w.refused(err, "a local transaction is open already, begun at xa_test.TestLocalTransactionsOfABranch")
			if err := outer.Commit(); err != nil {
				return err
			}
			second, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			if _, err := second.ExecContext(ctx, "PUT k v"); err != nil {
				return err
			}
			return second.Commit()
		})
		if err != nil {
			w.Error(err)
		}
		for own, asked := range map[sql.IsolationLevel]sql.IsolationLevel{
			sql.LevelDefault: sql.LevelRepeatableRead, sql.LevelReadCommitted: sql.LevelRepeatableRead, sql.LevelRepeatableRead: sql.LevelSerializable,
		} {
			_, err := w.m.DB("orders").BeginTx(w.within(&xa.TxOptions{Isolation: own}), &sql.TxOptions{Isolation: asked})
			w.refused(err, "set it in TxOptions of Do or Begin")
		}
		for _, level := range []sql.IsolationLevel{sql.LevelDefault, sql.LevelReadCommitted, sql.LevelSerializable} {
			tx, err := w.m.DB("orders").BeginTx(w.within(&xa.TxOptions{Isolation: level}), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
			if err != nil {
				w.Errorf("a level that is the same or weaker, in %v: %v", level, err)
			} else {
				tx.Commit()
			}
		}
	})
}

func TestLocalRollbackSaysWhere(t *testing.T) {
	for want, end := range map[string]func(tx *sql.Tx, cancel func()){
		"orders: its local transaction was rolled back at xa_test.TestLocalRollbackSaysWhere.func1 (local_test.go:": func(tx *sql.Tx, _ func()) { tx.Rollback() },
		"orders: its local transaction was rolled back when its context ended":                                      func(_ *sql.Tx, cancel func()) { cancel(); synctest.Wait() },
		"was neither committed nor rolled back":                                                                     func(*sql.Tx, func()) {},
	} {
		run(t, func(w *world) {
			w.open()
			err := w.inDo(func(ctx context.Context, _ *xa.Tx, db *sql.DB) error {
				ctx, cancel := context.WithCancel(ctx)
				w.Cleanup(cancel)
				tx, err := db.BeginTx(ctx, nil)
				if err == nil {
					_, err = tx.ExecContext(ctx, "PUT k v")
				}
				if err == nil {
					end(tx, cancel)
				}
				return err
			})
			if !errors.Is(err, xa.ErrRolledBack) {
				w.Error(err)
			}
			w.refused(err, want)
		})
	}
}

// A local Commit never says more than is true.
func TestLocalCommitFailsWhereTheTransactionCannotCommit(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		why := errors.New("a repository said no")
		for name, c := range map[string]struct {
			spoil func(tx *xa.Tx)
			want  error
		}{
			"rollback-only": {func(tx *xa.Tx) { tx.SetRollbackOnly(why) }, why},
			"ended":         {func(tx *xa.Tx) { tx.Rollback(w.Context()) }, sql.ErrTxDone},
			"timeout":       {func(tx *xa.Tx) { time.Sleep(2 * time.Minute) }, context.DeadlineExceeded},
		} {
			tx, _ := m.Begin(w.Context(), nil)
			local, err := m.DB("orders").BeginTx(xa.NewContext(w.Context(), tx), nil)
			if err != nil {
				w.Fatal(err)
			}
			c.spoil(tx)
			if err := local.Commit(); !errors.Is(err, c.want) {
				w.Errorf("%s: %v", name, err)
			}
			tx.Rollback(w.Context())
		}
	})
}

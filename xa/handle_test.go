package xa_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/xa"
)

// P3 and P11: a connection that breaks is never pooled, and its statement never runs again.
func TestLostStatementIsNotRunAgain(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		var ran int
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			w.put(tx, "stock", "k", "v")
			w.put(tx, "orders", "k", "v")
			for range 3 {
				w.orders.Fail(memdb.OpStatement, memdb.Fault{Err: driver.ErrBadConn, After: true, Hook: func() { ran++ }})
			}
			_, err := m.DB("orders").ExecContext(ctx, "PUT k2 v")
			return err
		})
		if !errors.Is(err, xa.ErrRolledBack) || ran != 1 {
			w.Errorf("ran %d times; %v", ran, err)
		}
	})
}

func TestRowsOfTheHandleEndWithTheTransaction(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		tx, _ := m.Begin(w.Context(), nil)
		w.put(tx, "orders", "k", "v")
		w.put(tx, "stock", "k", "v")
		rows, err := m.DB("orders").QueryContext(xa.NewContext(w.Context(), tx), "GET k")
		if err != nil {
			w.Fatal(err)
		}
		defer rows.Close()
		if err := tx.Commit(w.Context()); err != nil {
			w.Fatal(err)
		}
		if rows.Next() || !errors.Is(rows.Err(), sql.ErrTxDone) {
			w.Errorf("rows after the end: %v", rows.Err())
		}
	})
}

// A *sql.Conn of the handle that is kept past the end must not reach the connection, which is somebody else's by then.
func TestHandleKeptPastTheEndReachesNothing(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		tx, _ := m.Begin(w.Context(), nil)
		conn, err := m.DB("orders").Conn(xa.NewContext(w.Context(), tx))
		if err != nil {
			w.Fatal(err)
		}
		stmt, err := conn.PrepareContext(w.Context(), "PUT k ?")
		if err != nil {
			w.Fatal(err)
		}
		if _, err := stmt.ExecContext(w.Context(), "v"); err != nil {
			w.Fatal(err)
		}
		w.put(tx, "stock", "k", "v")
		if err := tx.Commit(w.Context()); err != nil {
			w.Fatal(err)
		}
		_, stmtErr := stmt.ExecContext(w.Context(), "late")
		_, connErr := conn.ExecContext(w.Context(), "PUT k late")
		for _, err := range []error{stmtErr, connErr} {
			if !errors.Is(err, sql.ErrTxDone) {
				w.Errorf("after the end: %v", err)
			}
		}
		if err := errors.Join(stmt.Close(), conn.Close()); err != nil {
			w.Error(err)
		}
	})
}

func TestHandleJoinsTheTransaction(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		save := func(ctx context.Context, db *sql.DB, v string) error { // a repository that knows only *sql.DB
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, "PUT k ?", v); err != nil {
				return err
			}
			return tx.Commit()
		}
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			if err := save(ctx, m.DB("orders"), "v"); err != nil {
				return err
			}
			if _, ok := w.orders.Get("k"); ok {
				w.Error("the local commit was a real one")
			}
			return save(ctx, m.DB("stock"), "v")
		})
		if err != nil {
			w.Error(err)
		}
		err = m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			local, err := m.DB("orders").BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			return local.Rollback()
		})
		if !errors.Is(err, xa.ErrRolledBack) {
			w.Errorf("after a local rollback: %v", err)
		}
		for _, r := range []string{"orders", "stock"} {
			if err := save(w.Context(), m.DB(r), "plain"); err != nil { // outside of a transaction: an ordinary handle
				w.Error(err)
			}
		}
		if m.DB("nobody") != nil {
			w.Error("a handle for an unknown resource")
		}
	})
}

// inDo runs f in a transaction that has written k to stock; f gets the handle of orders.
func (w *world) inDo(f func(ctx context.Context, tx *xa.Tx, db *sql.DB) error) error {
	w.Helper()
	return w.m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
		w.put(tx, "stock", "k", "v")
		return f(ctx, tx, w.m.DB("orders"))
	})
}

// P8: whatever is called under the transaction's context is in its branch, and undone with it.
func TestEverythingUnderTheContextIsInTheBranch(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, db *sql.DB, before *sql.Stmt) error{
		"Exec": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			_, err := db.ExecContext(ctx, "PUT k v")
			return err
		},
		"Query": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			rows, err := db.QueryContext(ctx, "PUT k ?", "v")
			return errors.Join(err, rows.Close())
		},
		"QueryRow": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			if err := db.QueryRowContext(ctx, "PUT k v").Scan(); !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			return nil
		},
		"a statement prepared before": func(ctx context.Context, _ *sql.DB, before *sql.Stmt) error {
			_, err := before.ExecContext(ctx, "v")
			return err
		},
		"a statement prepared inside": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			stmt, err := db.PrepareContext(ctx, "PUT k ?")
			if err != nil {
				return err
			}
			defer stmt.Close()
			_, err = stmt.ExecContext(ctx, "v")
			return err
		},
		"Conn": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.ExecContext(context.Background(), "PUT k v") // it is where it was taken
			return err
		},
		"BeginTx": func(ctx context.Context, db *sql.DB, before *sql.Stmt) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.Stmt(before).Exec("v"); err != nil {
				return err
			}
			return tx.Commit()
		},
		"BeginTx of a Conn": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelReadUncommitted})
			if err != nil {
				return err
			}
			_, err = tx.Exec("PUT k v")
			return errors.Join(err, tx.Commit())
		},
		"Ping": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			if err := db.PingContext(ctx); err != nil {
				return err
			}
			_, err := db.ExecContext(context.WithoutCancel(ctx), "PUT k v")
			return err
		},
	} {
		for _, limit := range []int{0, 1} {
			run(t, func(w *world) {
				m := w.open()
				m.DB("orders").SetMaxOpenConns(limit)
				before, err := m.DB("orders").PrepareContext(w.Context(), "PUT k ?")
				if err != nil {
					w.Fatal(err)
				}
				defer before.Close()
				for _, fail := range []error{errors.New("not enough money"), nil} {
					err := w.inDo(func(ctx context.Context, tx *xa.Tx, db *sql.DB) error {
						if err := call(ctx, db, before); err != nil {
							w.Errorf("%s: %v", name, err)
						}
						if _, ok := w.orders.Get("k"); ok {
							w.Errorf("%s: it was outside", name)
						}
						return fail
					})
					if !errors.Is(err, fail) {
						w.Errorf("%s: %v", name, err)
					}
				}
				if v, _ := w.orders.Get("k"); v != "v" {
					w.Errorf("%s: nothing was written", name)
				}
			})
		}
	}
}

// The pool's limit of one connection is enough for a branch and all that runs in it.
func TestOneConnectionIsEnough(t *testing.T) {
	run(t, func(w *world) {
		w.cfg.Resources[0].DB.SetMaxOpenConns(1)
		w.open()
		err := w.inDo(func(ctx context.Context, tx *xa.Tx, db *sql.DB) error {
			local, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					if _, err := db.ExecContext(ctx, "PUT k v"); err != nil {
						w.Error(err)
					}
				})
			}
			wg.Wait()
			brief, cancel := context.WithTimeout(w.Context(), time.Second)
			defer cancel()
			if _, err := db.ExecContext(brief, "PUT k v"); !errors.Is(err, context.DeadlineExceeded) {
				w.Errorf("another connection: %v", err)
			}
			return local.Commit()
		})
		if err != nil {
			w.Error(err)
		}
		st := w.m.DB("orders").Stats()
		if st.InUse != 0 {
			w.Errorf("%d uses of the handle did not end", st.InUse)
		}
		if st.Idle == 0 {
			w.Error("no shell is kept: database/sql's opener would make one for whoever waits")
		}
	})
}

// Closing the handle ends neither the pool nor a branch.
func TestClosedHandle(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		err := w.inDo(func(ctx context.Context, tx *xa.Tx, db *sql.DB) error {
			if err := db.Close(); err != nil {
				return err
			}
			_, err := db.ExecContext(ctx, "PUT k v")
			w.refused(err, "sql: database is closed")
			w.put(tx, "orders", "k", "v")
			return nil
		})
		if err != nil {
			w.Error(err)
		}
		if err := w.cfg.Resources[0].DB.PingContext(w.Context()); err != nil {
			w.Error(err)
		}
		m.Close()
		_, err = m.DB("stock").ExecContext(w.Context(), "PUT k v")
		w.refused(err, "sql: database is closed")
	})
}

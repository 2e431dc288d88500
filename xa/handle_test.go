package xa_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog/logtest"
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
				w.orders.Fail(memdb.OpStatement, memdb.Fault{Lost: true, After: true, Hook: func() { ran++ }})
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

// refused checks that an error came before anything reached a database.
func (w *world) refused(err error, want string) {
	w.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		w.Errorf("got %v, want %q", err, want)
	}
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
		for _, level := range []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelSerializable} {
			_, err := w.m.DB("orders").BeginTx(w.within(nil), &sql.TxOptions{Isolation: level})
			w.refused(err, "set it in TxOptions of Do or Begin")
			tx, err := w.m.DB("orders").BeginTx(w.within(&xa.TxOptions{Isolation: level}), &sql.TxOptions{Isolation: sql.LevelReadCommitted})
			if err != nil {
				w.Errorf("a level that is the same or weaker, in %v: %v", level, err)
			} else {
				tx.Commit()
			}
		}
	})
}

// within returns the context of a transaction that is rolled back at the test's end.
func (w *world) within(opts *xa.TxOptions) context.Context {
	w.Helper()
	tx, err := w.m.Begin(w.Context(), opts)
	if err != nil {
		w.Fatal(err)
	}
	return xa.NewContext(w.Context(), tx)
}

func TestLocalRollbackSaysWhere(t *testing.T) {
	for want, end := range map[string]func(tx *sql.Tx, cancel func()){
		"orders: its local transaction was rolled back at xa_test.TestLocalRollbackSaysWhere.func1 (handle_test.go:": func(tx *sql.Tx, _ func()) { tx.Rollback() },
		"orders: its local transaction was rolled back when its context ended":                                       func(_ *sql.Tx, cancel func()) { cancel(); synctest.Wait() },
		"was neither committed nor rolled back":                                                                      func(*sql.Tx, func()) {},
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

// What was taken outside refuses a transaction's context, and so does what belongs to another; nothing is executed.
func TestContextOfAnotherTransactionIsRefused(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		db := m.DB("orders")
		conn, err := db.Conn(w.Context())
		if err != nil {
			w.Fatal(err)
		}
		defer conn.Close()
		stmt, err := conn.PrepareContext(w.Context(), "PUT k ?")
		if err != nil {
			w.Fatal(err)
		}
		outside, err := db.BeginTx(w.Context(), nil)
		if err != nil {
			w.Fatal(err)
		}
		defer outside.Rollback()
		inside, err := db.Conn(w.within(nil))
		if err != nil {
			w.Fatal(err)
		}
		defer inside.Close()
		finished, _ := m.Begin(w.Context(), nil)
		finished.Rollback(w.Context())

		for _, ctx := range []context.Context{w.within(nil), xa.NewContext(w.Context(), finished)} {
			_, connErr := conn.ExecContext(ctx, "PUT k v")
			_, queryErr := conn.QueryContext(ctx, "PUT k v")
			_, prepareErr := conn.PrepareContext(ctx, "PUT k v")
			_, beginErr := conn.BeginTx(ctx, nil)
			_, stmtErr := stmt.ExecContext(ctx, "v")
			_, stmtQueryErr := stmt.QueryContext(ctx, "v")
			_, txErr := outside.ExecContext(ctx, "PUT k v")
			for _, err := range []error{connErr, queryErr, prepareErr, beginErr, stmtErr, stmtQueryErr, txErr, conn.PingContext(ctx)} {
				w.refused(err, "was taken outside of global transaction")
			}
			_, err := inside.ExecContext(ctx, "PUT k v")
			w.refused(err, "belongs to global transaction")
		}
		if _, err := db.ExecContext(xa.NewContext(w.Context(), finished), "PUT k v"); !errors.Is(err, xa.ErrTxDone) {
			w.Errorf("the context of a finished transaction: %v", err)
		}
		if n := len(w.orders.Rows()); n != 0 {
			w.Errorf("%d rows were written", n)
		}
	})
}

func TestContextOfAnotherManagerIsRefused(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		cfg := w.cfg
		cfg.Log = logtest.NewMemory()
		other, err := xa.Open(w.Context(), cfg)
		if err != nil {
			w.Fatal(err)
		}
		defer other.Close()
		ctx := w.within(nil)
		_, err = other.DB("orders").ExecContext(ctx, "PUT k v")
		w.refused(err, "of another manager")
		if _, err := other.DB("orders").ExecContext(xa.NewContext(ctx, nil), "PUT k out"); err != nil {
			w.Errorf("after stepping out: %v", err)
		}
		m.DB("stock").ExecContext(w.Context(), "PUT k out")
	})
}

// Who waits for the handle's limit gets a connection that leads where its own context belongs, whoever used it before, and also when it
// is made anew because the last one broke.
func TestConnectionsThatChangeHandsKeepToTheContext(t *testing.T) {
	for name, broken := range map[string]bool{"given back": false, "broken": true} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				m := w.open()
				db := m.DB("orders")
				db.SetMaxOpenConns(1)
				tx, _ := m.Begin(w.Context(), nil)
				inside := xa.NewContext(w.Context(), tx)
				w.put(tx, "stock", "k", "v")
				next := func(wait func()) {
					first, err := db.Conn(w.Context())
					if err != nil {
						w.Fatal(err)
					}
					var wg sync.WaitGroup
					wg.Go(wait)
					synctest.Wait() // it waits
					if broken {
						w.orders.Fail(memdb.OpStatement, memdb.Fault{Lost: true})
						if _, err := first.ExecContext(w.Context(), "GET k"); !errors.Is(err, driver.ErrBadConn) {
							w.Errorf("the test shows nothing: %v", err)
						}
					}
					first.Close()
					wg.Wait()
				}
				next(func() {
					if _, err := db.ExecContext(inside, "PUT k ?", "v"); err != nil {
						w.Error(err)
					}
				})
				if n := len(w.orders.Rows()); n != 0 {
					w.Error("a statement slipped out of its transaction")
				}
				next(func() {
					if _, err := db.ExecContext(w.Context(), "PUT other ?", "v"); err != nil {
						w.Error(err)
					}
				})
				next(func() {
					conn, err := db.Conn(inside)
					if err != nil {
						w.Fatal(err)
					}
					defer conn.Close()
					_, err = conn.ExecContext(w.Context(), "PUT k w")
					switch {
					case !broken && err != nil:
						w.Errorf("conn: %v", err)
					case broken:
						w.refused(err, "take it again")
						w.refused(xa.Raw(conn, func(any) error { return nil }), "take it again")
					}
				})
				if rows := w.orders.Rows(); len(rows) != 1 || rows["other"] != "v" {
					w.Errorf("before the commit: %v", rows)
				}
				if err := tx.Commit(w.Context()); err != nil {
					w.Error(err)
				}
				db.ExecContext(w.Context(), "DEL other")
				m.DB("stock").ExecContext(w.Context(), "PUT k ?", w.orders.Rows()["k"])
			})
		})
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
		if n := w.m.DB("orders").Stats().InUse; n != 0 {
			w.Errorf("%d uses of the handle did not end", n)
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

// A context that had ended before a statement was sent costs the transaction nothing; one that ends meanwhile does.
func TestContextOfAStatementThatEnds(t *testing.T) {
	run(t, func(w *world) {
		w.open()
		for name, c := range map[string]struct {
			end  func(cancel func())
			want error
		}{
			"before": {func(cancel func()) { cancel() }, nil},
			"meanwhile": {func(cancel func()) {
				w.orders.Fail(memdb.OpStatement, memdb.Fault{Hang: true, Hook: func() { time.AfterFunc(time.Second, cancel) }})
			}, xa.ErrRolledBack},
		} {
			err := w.inDo(func(ctx context.Context, tx *xa.Tx, db *sql.DB) error {
				conn, err := db.Conn(ctx)
				if err != nil {
					return err
				}
				defer conn.Close()
				brief, cancel := context.WithCancel(ctx)
				defer cancel()
				c.end(cancel)
				if _, err := conn.ExecContext(brief, "PUT k ?", "w"); !errors.Is(err, context.Canceled) {
					w.Errorf("%s: %v", name, err)
				}
				db.ExecContext(ctx, "PUT k v")
				return nil
			})
			if !errors.Is(err, c.want) {
				w.Errorf("%s: %v", name, err)
			}
		}
	})
}

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

// within returns the context of a transaction that is rolled back at the test's end.
func (w *world) within(opts *xa.TxOptions) context.Context {
	w.Helper()
	tx, err := w.m.Begin(w.Context(), opts)
	if err != nil {
		w.Fatal(err)
	}
	return xa.NewContext(w.Context(), tx)
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

// refused checks that an error came before anything reached a database.
func (w *world) refused(err error, want string) {
	w.Helper()
	if err == nil || !strings.Contains(err.Error(), want) {
		w.Errorf("got %v, want %q", err, want)
	}
}

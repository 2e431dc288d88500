package xa_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/xa"
)

// breakableConn can be broken by whoever holds it, and tells so.
type breakableConn struct {
	directConn
	broken *bool
}

func (c breakableConn) IsValid() bool { return !*c.broken }

// askedConn is one that has to be asked.
type askedConn struct {
	directConn
	broken *bool
}

func (c askedConn) Ping(context.Context) error {
	if *c.broken {
		return driver.ErrBadConn
	}
	return nil
}

// runOld runs f in a transaction of a manager over connections of that kind.
func runOld(t *testing.T, kind driver.Conn, f func(ctx context.Context, tx *xa.Tx, db, pool *sql.DB) error) (err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		_, m, pool := openOld(t, kind)
		err = m.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error { return f(ctx, tx, m.DB("old"), pool) })
		if n := pool.Stats().InUse; n != 0 {
			t.Errorf("%d connections were not given back", n)
		}
	})
	return err
}

func TestRawGivesTheDriversOwnConnection(t *testing.T) {
	err := runOld(t, directConn{}, func(ctx context.Context, tx *xa.Tx, db, pool *sql.DB) error {
		own := func(name string, raw func(f func(any) error) error) {
			var got any
			why := errors.New("f's own")
			if err := raw(func(c any) error { got = c; return why }); !errors.Is(err, why) {
				t.Errorf("%s: %v", name, err)
			}
			if _, ok := got.(directConn); !ok {
				t.Errorf("%s: got a %T", name, got)
			}
		}
		branch, err := tx.Branch(ctx, "old")
		if err != nil {
			return err
		}
		own("branch", branch.Raw)
		for name, ctx := range map[string]context.Context{"inside": ctx, "outside": xa.NewContext(ctx, nil)} {
			for kind, db := range map[string]*sql.DB{"handle": db, "pool": pool} {
				conn, err := db.Conn(ctx)
				if err != nil {
					return err
				}
				own(kind+" "+name, func(f func(any) error) error { return xa.Raw(conn, f) })
				conn.Close()
			}
		}
		err = tx.Commit(ctx)
		if after := branch.Raw(func(any) error { t.Error("f was called after the end"); return nil }); !errors.Is(after, xa.ErrTxDone) {
			t.Errorf("after the end: %v", after)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// What Raw's function has broken can't be committed, even if nobody cares.
func TestRawThatBreaksTheConnectionRollsBack(t *testing.T) {
	var broken bool
	for name, c := range map[string]struct {
		f    func(any) error
		only bool
	}{
		"an error of its own":        {func(any) error { return errUnique }, false},
		"nothing":                    {func(any) error { return nil }, false},
		"a context's end":            {func(any) error { return fmt.Errorf("copy: %w", context.Canceled) }, true},
		"a lost connection":          {func(any) error { return driver.ErrBadConn }, true},
		"a connection broken unseen": {func(any) error { broken = true; return nil }, true},
		"a panic":                    {func(any) error { panic("boom") }, true},
	} {
		for _, kind := range []driver.Conn{breakableConn{broken: &broken}, askedConn{broken: &broken}} {
			broken = false
			err := runOld(t, kind, func(ctx context.Context, tx *xa.Tx, _, _ *sql.DB) error {
				b, err := tx.Branch(ctx, "old")
				if err != nil {
					return err
				}
				func() {
					defer func() { recover() }()
					if err := b.Raw(c.f); errors.Is(err, driver.ErrBadConn) {
						t.Errorf("%s: %v", name, err)
					}
				}()
				return nil
			})
			if errors.Is(err, xa.ErrRolledBack) != c.only || !c.only && err != nil {
				t.Errorf("%s, %T: %v", name, kind, err)
			}
		}
	}
}

// Raw's function has the connection for itself; who waits for it does as long as their context lasts.
func TestRawKeepsOthersWaiting(t *testing.T) {
	err := runOld(t, directConn{}, func(ctx context.Context, tx *xa.Tx, db, _ *sql.DB) error {
		b, err := tx.Branch(ctx, "old")
		if err != nil {
			return err
		}
		began := time.Now()
		free := make(chan struct{})
		for name, call := range map[string]func(ctx context.Context) error{
			"branch": func(ctx context.Context) error { _, err := b.ExecContext(ctx, "exec"); return err },
			"handle": func(ctx context.Context) error { _, err := db.ExecContext(ctx, "exec"); return err },
		} {
			go func() {
				<-free
				brief, cancel := context.WithTimeout(ctx, time.Second)
				defer cancel()
				if err := call(brief); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != time.Second {
					t.Errorf("%s, with little time: %v after %v", name, err, time.Since(began))
				}
				if err := call(ctx); err != nil || time.Since(began) != time.Minute/2 {
					t.Errorf("%s, with time: %v after %v", name, err, time.Since(began))
				}
			}()
		}
		err = b.Raw(func(any) error {
			close(free)
			time.Sleep(time.Minute / 2)
			return nil
		})
		synctest.Wait()
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// A function that waits for itself is freed by the timeout, and so are the branch's locks.
func TestRawThatWaitsForItselfEndsByTimeout(t *testing.T) {
	for name, call := range map[string]func(ctx context.Context, b *xa.Branch, db *sql.DB, local *sql.Tx, stmt *sql.Stmt, rows *sql.Rows){
		"branch": func(_ context.Context, b *xa.Branch, _ *sql.DB, _ *sql.Tx, _ *sql.Stmt, _ *sql.Rows) {
			b.ExecContext(context.Background(), "exec ?", 1)
		},
		"Raw": func(_ context.Context, b *xa.Branch, _ *sql.DB, _ *sql.Tx, _ *sql.Stmt, _ *sql.Rows) {
			b.Raw(func(any) error { return nil })
		},
		"handle": func(ctx context.Context, _ *xa.Branch, db *sql.DB, _ *sql.Tx, _ *sql.Stmt, _ *sql.Rows) {
			db.ExecContext(context.WithoutCancel(ctx), "exec ?", 1)
		},
		"commit": func(_ context.Context, _ *xa.Branch, _ *sql.DB, local *sql.Tx, _ *sql.Stmt, _ *sql.Rows) {
			local.Commit()
		},
		"rollback": func(_ context.Context, _ *xa.Branch, _ *sql.DB, local *sql.Tx, _ *sql.Stmt, _ *sql.Rows) {
			local.Rollback()
		},
		"statement": func(_ context.Context, _ *xa.Branch, _ *sql.DB, _ *sql.Tx, stmt *sql.Stmt, _ *sql.Rows) { stmt.Close() },
		"rows": func(_ context.Context, _ *xa.Branch, _ *sql.DB, _ *sql.Tx, _ *sql.Stmt, rows *sql.Rows) {
			rows.Next()
			rows.Close()
		},
	} {
		err := runOld(t, directConn{}, func(ctx context.Context, tx *xa.Tx, db, _ *sql.DB) error {
			b, err := tx.Branch(ctx, "old")
			if err != nil {
				return err
			}
			local, err := db.BeginTx(context.WithoutCancel(ctx), nil)
			if err != nil {
				return err
			}
			defer local.Rollback()
			stmt, err := b.PrepareContext(ctx, "exec")
			if err != nil {
				return err
			}
			rows, err := db.QueryContext(context.WithoutCancel(ctx), "query")
			if err != nil {
				return err
			}
			return b.Raw(func(any) error {
				call(ctx, b, db, local, stmt, rows)
				return nil
			})
		})
		if !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, xa.ErrTimeout) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Outside, a connection that its user calls bad is not pooled again, as on the plain handle.
func TestBadConnectionIsNotPooledAgain(t *testing.T) {
	for name, use := range map[string]func(ctx context.Context, db *sql.DB){
		"Exec": func(ctx context.Context, db *sql.DB) { db.ExecContext(ctx, "break") },
		"Stmt": func(ctx context.Context, db *sql.DB) {
			stmt, err := db.PrepareContext(ctx, "break")
			if err == nil {
				stmt.ExecContext(ctx)
				stmt.Close()
			}
		},
		"Raw's error": func(ctx context.Context, db *sql.DB) {
			conn, _ := db.Conn(ctx)
			xa.Raw(conn, func(any) error { return driver.ErrBadConn })
		},
		"Raw's panic": func(ctx context.Context, db *sql.DB) {
			conn, _ := db.Conn(ctx)
			defer conn.Close()
			defer func() { recover() }()
			xa.Raw(conn, func(any) error { panic("boom") })
		},
		"a transaction whose context ended": func(ctx context.Context, db *sql.DB) {
			ctx, cancel := context.WithCancel(ctx)
			db.BeginTx(ctx, nil)
			cancel()
			synctest.Wait()
		},
		"nothing": func(ctx context.Context, db *sql.DB) {
			tx, _ := db.BeginTx(ctx, nil)
			tx.Exec("exec")
			tx.Rollback()
		},
	} {
		synctest.Test(t, func(t *testing.T) {
			plain, m, pool := openOld(t, directConn{})
			use(t.Context(), plain)
			use(t.Context(), m.DB("old"))
			if want, got := plain.Stats().OpenConnections, pool.Stats().OpenConnections; got != want {
				t.Errorf("%s: %d connections are open, and %d on the plain handle", name, got, want)
			}
		})
	}
}

package xa_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/xa"
)

func TestOpenRefusesABadConfig(t *testing.T) {
	for want, spoil := range map[string]func(c *xa.Config){
		"Config.Log is nil: open one":                                  func(c *xa.Config) { c.Log = nil },
		"Config.Resources is empty":                                    func(c *xa.Config) { c.Resources = nil },
		"Config.Resources[0].Name is empty":                            func(c *xa.Config) { c.Resources[0].Name = "" },
		"Config.Resources[1].Name: two resources are named \"orders\"": func(c *xa.Config) { c.Resources[1].Name = "orders" },
		"has 65 bytes":      func(c *xa.Config) { c.Resources[0].Name = strings.Repeat("x", 65) },
		"use ASCII letters": func(c *xa.Config) { c.Resources[0].Name = "tête" },
		"Config.Resources[0].DB of \"orders\" is nil":     func(c *xa.Config) { c.Resources[0].DB = nil },
		"Config.Resources[0].Driver of \"orders\" is nil": func(c *xa.Config) { c.Resources[0].Driver = nil },
		"Config.Timeout is negative":                      func(c *xa.Config) { c.Timeout = -1 },
	} {
		run(t, func(w *world) {
			cfg := w.cfg
			cfg.Resources = append([]xa.Resource(nil), w.cfg.Resources...)
			spoil(&cfg)
			m, err := xa.Open(w.Context(), cfg)
			if err == nil {
				m.Close()
			}
			if err == nil || !strings.Contains(err.Error(), want) {
				w.Errorf("got %v, want %q", err, want)
			}
		})
	}
}

func TestOpenRefusesAServerThatCannotWork(t *testing.T) {
	run(t, func(w *world) {
		w.stock.Style.Findings = []drivers.Finding{{Severity: drivers.Fatal, Problem: "max_prepared_transactions is 0 on this server", Hint: "set it"}}
		_, err := xa.Open(w.Context(), w.cfg)
		if err == nil || !strings.Contains(err.Error(), `resource "stock": max_prepared_transactions is 0 on this server: set it`) {
			w.Errorf("got %v", err)
		}
	})
}

// P9: a database that is down stops neither Open nor the others, and is checked before its first branch.
func TestResourceThatIsDownStopsNothing(t *testing.T) {
	run(t, func(w *world) {
		w.stock.Down(true)
		m := w.open()
		err := m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			_, err := tx.Branch(ctx, "stock")
			return err
		})
		if !errors.Is(err, xa.ErrRolledBack) {
			w.Errorf("a branch in a database that is down: %v", err)
		}
		err = m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			_, err := tx.Branch(ctx, "orders")
			return err
		})
		if err != nil {
			w.Errorf("a branch in the other: %v", err)
		}
		w.stock.Down(false)
		if err := w.transfer(); err != nil {
			w.Errorf("after it came back: %v", err)
		}
	})
}

// P9: recovery works when nobody calls it.
func TestIdleManagerRecovers(t *testing.T) {
	run(t, func(w *world) {
		w.open()
		w.crashed()
		time.Sleep(w.cfg.RecoveryInterval + time.Second)
		synctest.Wait()
		if n := w.orders.Stats().Prepared + w.stock.Stats().Prepared; n != 0 {
			w.Errorf("%d branches are still in doubt", n)
		}
	})
}

// P14: a name that now points to another database settles nothing, and takes no new branches.
func TestOtherDatabaseUnderTheSameName(t *testing.T) {
	run(t, func(w *world) {
		w.open()
		if err := w.transfer(); err != nil {
			w.Fatal(err)
		}
		w.m.Close()
		id := w.crashed()
		w.log.Decide(w.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"orders", "stock"}})

		other := memdb.New("other")
		pool := other.Pool()
		defer pool.Close()
		cfg := w.cfg
		cfg.Resources = []xa.Resource{w.cfg.Resources[0], {Name: "stock", DB: pool, Driver: other.Driver()}}
		m, err := xa.Open(w.Context(), cfg)
		if err != nil {
			w.Fatal(err)
		}
		err = m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			_, err := tx.Branch(ctx, "stock")
			return err
		})
		if err == nil || !strings.Contains(err.Error(), "--rebind stock") {
			w.Errorf("a branch in another database: %v", err)
		}
		m.Close()
		if out, _ := w.log.Lookup(w.Context(), id); out != txlog.Committed || !w.unsettled(id) {
			w.Error("the decision was settled by a database that never held its branch")
		}
	})
}

func (w *world) unsettled(id string) bool {
	for d := range w.log.Unsettled(w.Context()) {
		if d.ID == id {
			return true
		}
	}
	return false
}

func TestShutdownWaitsUntilNothingIsInDoubt(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		tx, _ := m.Begin(w.Context(), nil)
		w.put(tx, "orders", "k", "v")
		w.put(tx, "stock", "k", "v")
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		if err := m.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "1 transactions are still open") {
			w.Errorf("with an open transaction: %v", err)
		}
		if _, err := m.Begin(w.Context(), nil); !errors.Is(err, xa.ErrClosed) {
			w.Errorf("Begin while shutting down: %v", err)
		}
		w.orders.Fail(memdb.OpCommit, memdb.Fault{Lost: true})
		if err := tx.Commit(w.Context()); err != nil {
			w.Fatal(err)
		}
		if err := m.Shutdown(w.Context()); err != nil {
			w.Error(err)
		}
		if n := w.orders.Stats().Prepared; n != 0 {
			w.Errorf("%d branches are in doubt after Shutdown", n)
		}
	})
}

func TestCloseRollsBackWhatIsOpen(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		tx, _ := m.Begin(w.Context(), nil)
		w.put(tx, "orders", "k", "v")
		m.Close()
		if err := tx.Commit(w.Context()); !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, xa.ErrClosed) {
			w.Errorf("Commit after Close: %v", err)
		}
	})
}

// A server that was restarted leaves dead connections in the pool: they cost nobody a transaction.
func TestDeadConnectionsInThePoolCostNobodyATransaction(t *testing.T) {
	run(t, func(w *world) {
		w.open()
		pool := w.cfg.Resources[0].DB
		pool.SetMaxIdleConns(5)
		var conns []*sql.Conn
		for range 5 {
			conn, err := pool.Conn(w.Context())
			if err != nil {
				w.Fatal(err)
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			conn.Close()
		}
		if n := pool.Stats().Idle; n != 5 {
			w.Fatalf("%d connections are idle, want 5: the test shows nothing", n)
		}
		for range 5 { // go-sql-driver notices at the first statement, which is Begin's
			w.orders.Fail(memdb.OpBegin, memdb.Fault{Lost: true})
		}
		if err := w.transfer(); err != nil {
			w.Error(err)
		}
	})
}

// copiedLog is a log that may have missed decisions.
type copiedLog struct{ txlog.Log }

func (copiedLog) Witnessed() error { return errors.New("adopt it") }

func TestOpenRefusesACopiedLog(t *testing.T) {
	run(t, func(w *world) {
		w.cfg.Log = copiedLog{w.log}
		if _, err := xa.Open(w.Context(), w.cfg); err == nil || !strings.Contains(err.Error(), "adopt it") {
			w.Errorf("got %v", err)
		}
	})
}

// P14: between two lives of an application a name may mean another database, where nothing hangs on the old one; not while it lives.
func TestNameMayMeanAnotherDatabaseOnlyForTheNextManager(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		swapped := &w.cfg.Resources[1] // the manager looks at the same slice
		other := memdb.New("other")
		pool := other.Pool()
		w.Cleanup(func() { pool.Close() })
		*swapped = xa.Resource{Name: "stock", DB: pool, Driver: other.Driver()}
		if report, err := m.Recover(w.Context()); err != nil || !strings.Contains(report.Resources[1].Withheld, "start the process anew") {
			w.Errorf("%v: %+v", err, report.Resources)
		}
		m.Close()
		m = w.open()
		if report, err := m.Recover(w.Context()); err != nil || report.Resources[1].Withheld != "" {
			w.Errorf("%v: %+v", err, report.Resources)
		}
	})
}

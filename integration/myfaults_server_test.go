package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/recovery"
)

// A server that is made read-only, as a switch-over does it, refuses new work and one-phase commits, which are then surely rolled back. What is prepared
// is finished at last: MySQL finishes it at once, on MariaDB it waits, recovery tells by name what refuses, and the rest goes on.
func TestMySQLReadOnlyServerDelaysButHalvesNothing(t *testing.T) {
	forMyFaults(t, mySetUp{plain: true}, func(t *testing.T, f *myFaults) {
		for _, c := range []struct {
			step        string
			alone, fail bool
			want        ledger.Outcome
		}{
			{myBegun, false, false, ledger.RolledBack},
			{myWorked, false, false, ledger.Committed},
			{myPrepare, false, false, ledger.Committed},
			{myDecide, false, false, ledger.Committed},
			{myCommit, false, false, ledger.Committed},
			{myCommit, true, false, ledger.RolledBack},
			{myRollback, false, true, ledger.RolledBack},
		} {
			what := fmt.Sprintf("read-only at %s, alone %t", c.step, c.alone)
			_, err := f.transfer(myTransfer{alone: c.alone, fail: c.fail, at: func(step string, _ int64) error {
				if step == c.step {
					f.readOnly(true)
				}
				return nil
			}})
			wantMyOutcome(t, what, err, c.want)
			if c.want == ledger.RolledBack && !c.fail {
				f.wantMyError(what, err, 1290)
			}
			if c.want == ledger.Committed && f.server.Engine.Kind == engines.MariaDB {
				f.wantRefused(what)
			}
			f.readOnly(false)
			f.settle()
		}
	})
}

// readOnly makes the server refuse changes by others than administrators, or no more.
func (f *myFaults) readOnly(on bool) {
	if !on {
		mustExecMy(f, "set global read_only = 0")
		return
	}
	name := "super_read_only"
	if f.server.Engine.Kind == engines.MariaDB {
		name = "read_only"
	}
	f.t.Cleanup(func() {
		if _, err := f.admin.ExecContext(context.Background(), "set global read_only = 0"); err != nil {
			f.t.Error(err)
		}
	})
	mustExecMy(f, "set global %s = 1", name)
}

// wantRefused fails the test unless recovery leaves the server's branch, and tells which database refuses, and has committed the other.
func (f *myFaults) wantRefused(what string) {
	f.t.Helper()
	report, err := f.manager.Recover(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	left := report.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Left })
	if len(left) != 1 || left[0].Resource != f.bank.databases[0].name {
		f.t.Errorf("%s: left %+v, want the server's branch alone", what, left)
		return
	}
	f.wantMyError(what, left[0].Err, 1290)
	if len(report.Decisions) != 1 || report.Decisions[0].Settled {
		f.t.Errorf("%s: decisions %+v, want one that is not settled", what, report.Decisions)
	}
}

// A server without a connection to spare refuses new branches, and delays what is in doubt.
func TestMySQLWithoutConnectionsDelaysButHalvesNothing(t *testing.T) {
	forMyFaults(t, mySetUp{plain: true}, func(t *testing.T, f *myFaults) {
		f.db.SetMaxIdleConns(-1) // every branch, and recovery, wants a new one
		restore := f.exhaust()
		_, err := f.transfer(myTransfer{})
		wantMyOutcome(t, "at begin", err, ledger.RolledBack)
		f.wantMyError("at begin", err, 1040)
		restore()

		_, err = f.transfer(myTransfer{at: func(step string, session int64) error {
			if step == myDecided {
				restore = f.exhaust()
				f.kill(session)
				f.exhausted()
			}
			return nil
		}})
		wantMyOutcome(t, "at commit", err, ledger.Committed)
		report, err := f.manager.Recover(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if down := report.Unreached(); len(down) != 1 || down[0] != f.bank.databases[0].name {
			t.Errorf("at commit: recovery did not reach %q, want the server alone", down)
		}
		restore()
		f.settle()
	})
}

// exhaust leaves no connection to users without privileges.
func (f *myFaults) exhaust() (restore func()) {
	f.t.Helper()
	var before int
	if err := f.admin.QueryRowContext(f.t.Context(), "select @@global.max_connections").Scan(&before); err != nil {
		f.t.Fatal(err)
	}
	var held []interface{ Close() error }
	restore = func() {
		for _, conn := range held {
			conn.Close()
		}
		if _, err := f.admin.ExecContext(context.Background(), fmt.Sprintf("set global max_connections = %d", before)); err != nil {
			f.t.Error(err)
		}
	}
	f.t.Cleanup(restore)
	// MariaDB allows no fewer than 10: as many are taken, beside the administrator's own.
	for range 12 {
		conn, err := f.db.Conn(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		held = append(held, conn)
	}
	mustExecMy(f, "set global max_connections = 10")
	f.exhausted()
	return restore
}

// exhausted returns when the server refuses a new connection: one that has just ended may count for a moment.
func (f *myFaults) exhausted() {
	conn, err := f.db.Conn(f.t.Context())
	if err == nil {
		conn.Close()
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || e.Number != 1040 {
		f.t.Errorf("a new connection gives %v, want too many connections", err)
	}
}

// A session that the server drops because its application was idle for too long is as good as killed.
func TestMySQLIdleTimeoutsLeaveAllOrNothing(t *testing.T) {
	for _, c := range []struct{ engine, params string }{
		{"mysql:9.7", "wait_timeout=1&interactive_timeout=1"},
		{"mariadb:10.11", "wait_timeout=1&interactive_timeout=1"},
		{"mariadb:11.8", "idle_transaction_timeout=1&idle_write_transaction_timeout=1"},
	} {
		t.Run(c.engine, func(t *testing.T) {
			t.Parallel()
			f := newMyFaults(t, named(t, c.engine).Server(t), mySetUp{params: c.params})
			for _, step := range []struct {
				name  string
				alone bool
				want  ledger.Outcome
			}{{myWorked, false, ledger.RolledBack}, {myDecided, false, ledger.Committed}, {myCommit, true, ledger.RolledBack}} {
				reached := false
				_, err := f.transfer(myTransfer{alone: step.alone, at: func(at string, session int64) error {
					if at == step.name {
						reached = true
						f.awaitGone(session)
					}
					return nil
				}})
				if !reached { // so slow a machine that the session was dropped before
					step.want = ledger.RolledBack
				}
				wantMyOutcome(t, "at "+step.name, err, step.want)
				f.settle()
			}
			f.end()
		})
	}
}

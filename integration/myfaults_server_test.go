package integration

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/recovery"
)

// A server that is made read-only, as a switch-over does it, refuses new work and one-phase commits, which are then surely rolled back. What is prepared
// is finished at last: MySQL finishes it at once, on MariaDB it waits, recovery tells by name what refuses, and the rest goes on.
func TestMySQLReadOnlyServerDelaysButHalvesNothing(t *testing.T) {
	forMyFaults(t, faultSetUp{plain: true}, func(t *testing.T, w *faultWorld) {
		for _, c := range []struct {
			point      string
			only, fail bool
			want       faultFate
		}{
			{"begun", false, false, fateRolledBack},
			{"worked", false, false, fateCommitted},
			{"prepare-start", false, false, fateCommitted},
			{"decide-start", false, false, fateCommitted},
			{"commit-start", false, false, fateCommitted},
			{"commit-start", true, false, fateRolledBack},
			{"rollback-start", false, true, fateRolledBack},
		} {
			what := fmt.Sprintf("read-only at %s, only %t", c.point, c.only)
			work := faultWork{only: c.only}
			w.during(c.point, &work, func() { w.readOnly(true) })
			if c.fail {
				work = work.fail()
			}
			x := w.transfer(work)
			if c.want == fateRolledBack && !c.fail {
				wantMyError(t, what, x.err, 1290)
			}
			if c.want == fateCommitted && w.maria() {
				w.wantRefused(what)
			}
			w.readOnly(false)
			w.want(what, x, c.want)
		}
	})
}

// readOnly makes the server refuse changes by others than administrators, or no more.
func (w *faultWorld) readOnly(on bool) {
	if !on {
		w.exec("set global read_only = 0")
		return
	}
	name := "super_read_only"
	if w.maria() {
		name = "read_only"
	}
	w.t.Cleanup(func() {
		if _, err := w.admin.ExecContext(context.Background(), "set global read_only = 0"); err != nil {
			w.t.Error(err)
		}
	})
	w.exec("set global " + name + " = 1")
}

// wantRefused fails the test unless recovery leaves the server's branch, and tells which database refuses, and has committed the other.
func (w *faultWorld) wantRefused(what string) {
	w.t.Helper()
	report, err := w.m.Recover(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	left := report.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Left })
	if len(left) != 1 || left[0].Resource != w.databases[0].name {
		w.t.Errorf("%s: left %+v, want the server's branch alone", what, left)
		return
	}
	wantMyError(w.t, what, left[0].Err, 1290)
	if len(report.Decisions) != 1 || report.Decisions[0].Settled {
		w.t.Errorf("%s: decisions %+v, want one that is not settled", what, report.Decisions)
	}
}

// A server without a connection to spare refuses new branches, and delays what is in doubt.
func TestMySQLWithoutConnectionsDelaysButHalvesNothing(t *testing.T) {
	forMyFaults(t, faultSetUp{plain: true}, func(t *testing.T, w *faultWorld) {
		w.pools[w.databases[0].name].SetMaxIdleConns(-1) // every branch, and recovery, wants a new one
		restore := w.exhaust()
		x := w.transfer(faultWork{})
		wantMyError(t, "at begin", x.err, 1040)
		restore()
		w.want("at begin", x, fateRolledBack)

		w.at("decide-done", func(string) {
			restore = w.exhaust()
			w.kill()
			w.exhausted()
		})
		x = w.transfer(faultWork{})
		report, err := w.m.Recover(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if down := report.Unreached(); len(down) != 1 || down[0] != w.databases[0].name {
			t.Errorf("at commit: recovery did not reach %q, want the server alone", down)
		}
		restore()
		w.want("at commit", x, fateCommitted)
	})
}

// exhaust leaves no connection to users without privileges.
func (w *faultWorld) exhaust() (restore func()) {
	w.t.Helper()
	var before int
	w.ask(&before, "select @@global.max_connections")
	var held []interface{ Close() error }
	restore = func() {
		for _, conn := range held {
			conn.Close()
		}
		if _, err := w.admin.ExecContext(context.Background(), fmt.Sprintf("set global max_connections = %d", before)); err != nil {
			w.t.Error(err)
		}
	}
	w.t.Cleanup(restore)
	// MariaDB allows no fewer than 10: as many are taken, beside the administrator's own.
	for range 12 {
		conn, err := w.pools[w.databases[0].name].Conn(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		held = append(held, conn)
	}
	w.exec("set global max_connections = 10")
	w.exhausted()
	return restore
}

// exhausted returns when the server refuses a new connection: one that has just ended may count for a moment.
func (w *faultWorld) exhausted() {
	conn, err := w.pools[w.databases[0].name].Conn(w.t.Context())
	if err == nil {
		conn.Close()
	}
	if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || e.Number != 1040 {
		w.t.Errorf("a new connection gives %v, want too many connections", err)
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
			testIdleTimeouts(t, named(t, c.engine).Server(t), c.params)
		})
	}
}

// testIdleTimeouts makes transfers that wait for the end of their session, side by side, each in a world of its own.
func testIdleTimeouts(t *testing.T, s *engines.Server, params string) {
	cases := []*idleTimeout{
		{point: "worked", want: fateRolledBack},
		{point: "decide-done", want: fateCommitted},
		{point: "commit-start", only: true, want: fateRolledBack},
	}
	for _, c := range cases {
		b := newFaultBank(t, s)
		if c.only {
			b.databases = b.databases[:1]
		}
		c.faultWorld = newFaultWorld(t, b, faultSetUp{params: params})
	}
	for _, c := range cases {
		var work faultWork
		c.during(c.point, &work, func() {
			c.reached = true
			c.awaitGone()
		})
		c.ended = c.begin(work)
	}
	for _, c := range cases {
		x := <-c.ended
		if !c.reached { // so slow a machine that the session was dropped before
			c.want = fateRolledBack
			c.disarm()
		}
		c.wantFate("at "+c.point, x, c.want)
		c.end()
	}
}

// idleTimeout is one such transfer.
type idleTimeout struct {
	*faultWorld
	point   string
	only    bool
	want    faultFate
	reached bool
	ended   <-chan faultTransfer
}

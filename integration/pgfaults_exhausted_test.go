package integration

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/xa"
)

// A PostgreSQL as it comes, which prepares nothing, and one that has run out of slots for prepared transactions or of connections: whoever wants
// a transfer is told what is wrong, nothing is applied, what is decided already is committed, and all is well once there is room.
func TestPostgresThatHasRunOut(t *testing.T) {
	t.Parallel()
	s := named(t, "postgres:15").Own(t, engines.Own{})
	b := newFaultBank(t, s)
	for program, p := range map[string]*process{"an application": b.start(t, "-count", "1"), "doctor": b.startRecover(t, "doctor")} {
		if status := p.wait(t); status != 1 || !strings.Contains(p.stderr.String(), "max_prepared_transactions is 0") {
			t.Errorf("%s on a server without slots: status %d\n%s", program, status, p.stderr.String())
		}
	}
	db := b.databases[0].open(t)
	pgExec(t, db, "alter system set max_prepared_transactions = 1", "alter system set max_connections = 12", "create table filler ()")
	db.Close()
	s.Kill(t)
	s.Start(t)

	w := newFaultWorld(t, b, faultSetUp{})
	t.Run("slots", func(t *testing.T) { w.withoutSlots(t) })
	t.Run("connections", func(t *testing.T) { w.withoutConnections(t) })
	w.end()
}

func (w *faultWorld) withoutSlots(t *testing.T) {
	conn, err := w.admin.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := pgfExecAll(t.Context(), conn, "begin", "lock table filler", "prepare transaction 'filler'"); err != nil {
		t.Fatal(err)
	}
	x := w.transfer(faultWork{})
	if !strings.Contains(fmt.Sprint(x.err), "raise max_prepared_transactions") {
		t.Errorf("told %v", x.err)
	}
	if p := w.startRecover(t, "doctor"); p.wait(t) != 0 || !strings.Contains(p.stderr.String(), "1 of 1 max_prepared_transactions are taken") {
		t.Errorf("doctor:\n%s", p.stderr.String())
	}
	if there := w.there(x); there != 0 {
		t.Errorf("in %d databases", there)
	}
	if alone := w.transfer(faultWork{only: true}); alone.err != nil {
		t.Errorf("a transfer in one database needs no slot: %v", alone.err)
	}
	if err := pgfExecAll(t.Context(), conn, "rollback prepared 'filler'"); err != nil {
		t.Fatal(err)
	}
	w.want("without slots", x, fateRolledBack)
}

func (w *faultWorld) withoutConnections(t *testing.T) {
	var hogs []*sql.DB
	hog := func() {
		for range 100 {
			db := w.databases[0].open(t)
			hogs = append(hogs, db)
			if err := db.PingContext(t.Context()); err != nil {
				if !strings.Contains(err.Error(), "53300") {
					t.Errorf("another connection: %v", err)
				}
				return
			}
		}
		t.Error("the server has connections without end")
	}
	leave := func() {
		for _, db := range hogs {
			db.Close()
		}
		hogs = nil
	}
	// The branch's session is ended once the decision stands, and there is no other: recovery has to wait.
	pool := w.pools[w.databases[0].name]
	pool.SetMaxIdleConns(0)
	defer pool.SetMaxIdleConns(2)
	w.at("commit-start", func(string) {
		pgfHarms()[0].do(w)
		hog()
	})
	x := w.transfer(faultWork{})
	w.eventually("recovery says that it could not ask", func() bool {
		report, err := w.m.Recover(t.Context())
		if err != nil {
			t.Error(err)
		}
		if len(report.Unreached()) == 1 && report.Unreached()[0] == w.databases[0].name {
			return true
		}
		hog() // the background had a connection, and has given it back
		return false
	})
	var told faultTransfer
	if told = w.transfer(faultWork{}); !strings.Contains(fmt.Sprint(told.err), "53300") {
		t.Errorf("told %v", told.err)
	}
	leave()
	w.want("decided, without connections", x, fateCommitted)
	w.want("begun without connections", told, fateRolledBack)
}

// pgfTimeout is a limit of time of PostgreSQL's that a transfer meets.
type pgfTimeout struct {
	name    string
	since   int // the version that has it
	arrange func(ctx context.Context, w *faultWorld, b *xa.Branch) error
	want    []faultFate // either of them
}

// The server's own limits of time, met at every step: before PREPARE they roll the transfer back; afterwards they touch nothing.
func TestPostgresTimeoutsAtEveryStep(t *testing.T) {
	idle := func(setting string) func(context.Context, *faultWorld, *xa.Branch) error {
		return func(ctx context.Context, w *faultWorld, b *xa.Branch) error {
			err := pgfExecAll(ctx, b, "set local "+setting+" = '1ms'")
			w.eventually("the session ends", w.gone)
			return err
		}
	}
	sleep := func(setting string) func(context.Context, *faultWorld, *xa.Branch) error {
		return func(ctx context.Context, _ *faultWorld, b *xa.Branch) error {
			return pgfExecAll(ctx, b, "set local "+setting+" = '1ms'", "select pg_sleep(3600)")
		}
	}
	// The setting is made by PREPARE itself, and lasts in the session.
	prepared := func(setting string) func(context.Context, *faultWorld, *xa.Branch) error {
		return func(ctx context.Context, w *faultWorld, b *xa.Branch) error {
			return w.late(ctx, b, "select set_config('"+setting+"', '1ms', false)")
		}
	}
	no, yes := []faultFate{fateRolledBack}, []faultFate{fateCommitted}
	forEachPgfSession(t, func(t *testing.T, w *faultWorld) {
		var version int
		w.ask(&version, "select current_setting('server_version_num')::int / 10000")
		for _, c := range []pgfTimeout{
			{"idle in transaction", 15, idle("idle_in_transaction_session_timeout"), no},
			{"idle in transaction, prepared", 15, prepared("idle_in_transaction_session_timeout"), yes},
			{"idle session, prepared", 15, prepared("idle_session_timeout"), yes},
			{"statement", 15, sleep("statement_timeout"), no},
			{"statement, prepared", 15, prepared("statement_timeout"), yes},
			{"transaction, idle", 17, idle("transaction_timeout"), no},
			{"transaction, in a statement", 17, sleep("transaction_timeout"), no},
			{"transaction, in PREPARE or after", 17, prepared("transaction_timeout"), []faultFate{fateRolledBack, fateCommitted}},
		} {
			if c.since > version {
				continue
			}
			work := faultWork{after: func(ctx context.Context, b *xa.Branch) error { return c.arrange(ctx, w, b) }}
			x := w.transfer(work)
			want := c.want[0]
			if len(c.want) > 1 && x.err == nil {
				want = c.want[1]
			}
			// A setting that lasts must not harm what comes.
			w.exec(fmt.Sprintf("select pg_terminate_backend(pid, 30000) from pg_stat_activity where pid = %d", w.session))
			w.want(c.name, x, want)
		}
	})
}

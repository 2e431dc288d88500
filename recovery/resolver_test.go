package recovery_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

// bench is a log and two databases, in a synctest bubble.
type bench struct {
	*testing.T
	log *logtest.Memory
	dbs map[string]*memdb.DB
	r   recovery.Resolver
}

func run(t *testing.T, f func(b *bench)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bench{T: t, log: logtest.NewMemory(), dbs: map[string]*memdb.DB{}}
		b.r = recovery.Resolver{Log: b.log, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
		b.add("orders", memdb.New("orders"))
		b.add("stock", memdb.New("stock"))
		f(b)
		for name, db := range b.dbs {
			if v := db.Violations(); len(v) > 0 {
				t.Errorf("%s: %q", name, v)
			}
		}
		for _, r := range b.r.Resources {
			if n := r.DB.Stats().InUse; n != 0 {
				t.Errorf("%s: %d connections were not given back", r.Name, n)
			}
		}
	})
}

func (b *bench) add(name string, db *memdb.DB) {
	pool := db.Pool()
	b.Cleanup(func() { pool.Close() })
	b.dbs[name] = db
	b.r.Resources = append(b.r.Resources, drivers.Resource{Name: name, DB: pool, Driver: db.Driver()})
}

// refresh takes the drivers anew, after a test has changed a database's style.
func (b *bench) refresh() {
	for i, r := range b.r.Resources {
		b.r.Resources[i].Driver = b.dbs[r.Name].Driver()
	}
}

// prepared leaves a prepared branch in the named resource's database. It returns the session, still alive.
func (b *bench) prepared(in, id, bqual string) *sql.Conn {
	b.Helper()
	for _, r := range b.r.Resources {
		if r.Name != in {
			continue
		}
		conn, err := r.DB.Conn(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		br, err := r.Driver.Begin(b.Context(), conn, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: bqual}, nil)
		if err == nil {
			_, err = conn.ExecContext(b.Context(), "PUT ? v", id)
		}
		if err == nil {
			_, err = br.Prepare(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
		return conn
	}
	b.Fatalf("no resource %q", in)
	return nil
}

func discard(conn *sql.Conn) {
	conn.Raw(func(any) error { return driver.ErrBadConn })
	conn.Close()
}

func (b *bench) id() string { return txid.New(b.log.ID(), "", time.Now()) }

func (b *bench) decide(id string, o txlog.Outcome, resources ...string) {
	b.Helper()
	if _, err := b.log.Decide(b.Context(), txlog.Decision{ID: id, Outcome: o, Resources: resources}); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) resolve() recovery.Report {
	b.Helper()
	report, err := b.r.Resolve(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return report
}

func (b *bench) unsettled() (ids []string) {
	for d, err := range b.log.Unsettled(b.Context()) {
		if err != nil {
			b.Error(err)
		}
		ids = append(ids, d.ID)
	}
	return ids
}

func only(report recovery.Report, b *bench) recovery.Branch {
	b.Helper()
	all := report.Branches(func(recovery.Branch) bool { return true })
	if len(all) != 1 {
		b.Fatalf("branches: %+v", all)
	}
	return all[0]
}

func TestScanOnlyLooks(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		report, err := b.r.Scan(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if br := only(report, b); br.Action != recovery.WouldRollBack || !br.InDoubt() || report.Clean() {
			b.Errorf("got %+v", br)
		}
		if out, _ := b.log.Lookup(b.Context(), id); out != txlog.Undecided || len(b.dbs["orders"].Prepared()) != 1 {
			b.Error("Scan changed something")
		}
		b.resolve()
	})
}

func TestStrangersAreListedAndNeverTouched(t *testing.T) {
	run(t, func(b *bench) {
		strangers := []drivers.Prepared{
			{Raw: "bitronix-1"},
			{XID: drivers.XID{FormatID: 1, GTRID: b.id(), BQual: "orders"}},
			{XID: drivers.XID{FormatID: drivers.FormatID, GTRID: txid.New("anotherlog12", "", time.Now()), BQual: "orders"}},
			{XID: drivers.XID{FormatID: drivers.FormatID, GTRID: b.log.ID() + ".not-a-ulid", BQual: "orders"}},
		}
		for _, s := range strangers {
			b.dbs["orders"].Stranger(s, true)
		}
		report := b.resolve()
		foreign := report.Branches(func(br recovery.Branch) bool { return br.Action == recovery.Foreign })
		if len(foreign) != len(strangers) || !report.Clean() {
			b.Errorf("got %+v", report)
		}
		if n := b.dbs["orders"].Stats().Prepared; n != len(strangers) {
			b.Errorf("%d strangers are left of %d", n, len(strangers))
		}
	})
}

// P4: the database is read first, the latch is asked then; a live transaction is left alone, whatever the log says.
func TestLiveTransactionIsLeftAlone(t *testing.T) {
	run(t, func(b *bench) {
		live, dead := b.id(), b.id()
		discard(b.prepared("orders", live, "orders"))
		discard(b.prepared("orders", dead, "orders"))
		b.r.Claim = func(id string) (func(), bool) { return func() {}, id != live }
		b.resolve()
		if left := b.dbs["orders"].Prepared(); len(left) != 1 || left[0].GTRID != live {
			b.Errorf("left: %v", left)
		}
		b.r.Claim = nil
		b.resolve()
	})
}

// P4: Aborted is written before the branch is rolled back.
func TestAbortedIsWrittenBeforeTheRollback(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.dbs["orders"].Fail(memdb.OpRollbackPrepared, memdb.Fault{Hook: func() {
			if out, _ := b.log.Lookup(b.Context(), id); out != txlog.Aborted {
				b.Errorf("at the rollback the log says %v", out)
			}
		}})
		b.resolve()
	})
}

// P4, L1: a coordinator that decides between the look-up and the abort is right.
func TestWhoeverDecidesFirstIsRight(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		once := sync.Once{}
		b.log.OnEvent(func(e string) {
			if strings.HasPrefix(e, "log lookup") {
				once.Do(func() { b.decide(id, txlog.Committed, "orders") })
			}
		})
		if br := only(b.resolve(), b); br.Action != recovery.Committed {
			b.Errorf("got %+v", br)
		}
		b.log.OnEvent(nil)
		b.resolve()
	})
}

func TestUndecidedIsLeftWhenTheLogTakesNoAbort(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.r.Log = b.log.ReadOnly()
		if br := only(b.resolve(), b); br.Action != recovery.Left || !errors.Is(br.Err, txlog.ErrReadOnly) {
			b.Errorf("got %+v", br)
		}
		if len(b.dbs["orders"].Prepared()) != 1 {
			b.Error("it was rolled back without a decision")
		}
		b.r.Log = b.log
		b.resolve()
	})
}

// P6: a decision is settled only when every database that it names has answered and holds nothing more.
func TestDecisionIsSettledOnlyWhenEveryResourceHasConfirmed(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		discard(b.prepared("stock", id, "stock"))
		b.decide(id, txlog.Committed, "orders", "stock")

		b.dbs["stock"].Down(true)
		report := b.resolve()
		if len(b.unsettled()) != 1 || report.Clean() || len(report.Unreached()) != 1 {
			b.Errorf("while stock is down: %+v", report)
		}
		b.dbs["stock"].Down(false)
		b.dbs["stock"].Fail(memdb.OpCommitPrepared, memdb.Fault{Err: errors.New("lock timeout")})
		if report = b.resolve(); len(b.unsettled()) != 1 || report.InDoubt() != 1 {
			b.Errorf("while stock refuses: %+v", report)
		}
		all := b.r.Resources
		b.r.Resources = all[:1]
		if report = b.resolve(); len(b.unsettled()) != 1 || !strings.Contains(report.Decisions[0].Reason, `"stock", which is not configured`) {
			b.Errorf("without stock: %+v", report)
		}
		b.r.Resources = all
		if report = b.resolve(); len(b.unsettled()) != 0 || !report.Clean() {
			b.Errorf("at the end: %+v", report)
		}
	})
}

// P6: a decision that is written while recovery looks is not settled by what recovery saw before.
func TestDecisionWrittenMeanwhileIsNotSettled(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		b.dbs["orders"].Fail(memdb.OpList, memdb.Fault{After: true, Hook: func() {
			b.dbs["orders"].OnEvent(nil)
			discard(b.prepared("orders", id, "orders"))
			b.decide(id, txlog.Committed, "orders")
		}})
		b.resolve()
		if len(b.unsettled()) != 1 {
			b.Error("the decision was settled while its branch is in doubt")
		}
		b.resolve()
	})
}

// P9: a database that hangs stops neither the others nor the call.
func TestHangingDatabaseStopsNothing(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.decide(id, txlog.Committed, "orders")
		b.dbs["stock"].Fail(memdb.OpList, memdb.Fault{Hang: true})
		b.r.Timeout = time.Second
		report := b.resolve()
		if len(b.dbs["orders"].Prepared()) != 0 || len(report.Unreached()) != 1 {
			b.Errorf("got %+v", report)
		}
	})
}

// P12: a held branch is waited for; a session that does not end by itself is ended.
func TestHeldBranch(t *testing.T) {
	for name, leave := range map[string]func(conn *sql.Conn){
		"its session ends by itself": func(conn *sql.Conn) { time.Sleep(time.Second); discard(conn) },
		"its session stays":          func(conn *sql.Conn) { time.Sleep(time.Minute); discard(conn) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				b.dbs["orders"].Style.SessionBound = true
				b.refresh()
				id := b.id()
				conn := b.prepared("orders", id, "orders")
				b.decide(id, txlog.Committed, "orders")
				var wg sync.WaitGroup
				wg.Go(func() { leave(conn) })
				if br := only(b.resolve(), b); br.Action != recovery.Committed {
					b.Errorf("got %+v", br)
				}
				wg.Wait()
			})
		})
	}
}

// P1 and P12: a branch that is unknown at commit, but still listed, is not finished: it is tried again.
func TestUnknownButListedIsNotFinished(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.decide(id, txlog.Committed, "orders")
		for range 3 {
			b.dbs["orders"].Fail(memdb.OpCommitPrepared, memdb.Fault{Err: drivers.ErrUnknownXID})
		}
		if br := only(b.resolve(), b); br.Action != recovery.Committed || len(b.dbs["orders"].Prepared()) != 0 {
			b.Errorf("got %+v", br)
		}
	})
}

// P13: two recoveries at once do each other no harm, and call nothing heuristic.
func TestTwoRecoveriesAtOnce(t *testing.T) {
	run(t, func(b *bench) {
		for i := range 20 {
			id := b.id()
			discard(b.prepared("orders", id, "orders"))
			discard(b.prepared("stock", id, "stock"))
			if i%2 == 0 {
				b.decide(id, txlog.Committed, "orders", "stock")
			}
		}
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if report := b.resolve(); report.Heuristic() != 0 {
					b.Errorf("heuristic: %+v", report)
				}
			})
		}
		wg.Wait()
		if report := b.resolve(); !report.Clean() || len(b.unsettled()) != 0 {
			b.Errorf("left: %+v", report)
		}
		if o, s := len(b.dbs["orders"].Rows()), len(b.dbs["stock"].Rows()); o != 10 || s != 10 {
			b.Errorf("orders has %d rows, stock %d, want 10", o, s)
		}
	})
}

func TestHeuristicOutcomeIsReported(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.decide(id, txlog.Committed, "orders")
		b.dbs["orders"].Fail(memdb.OpCommitPrepared, memdb.Fault{Err: drivers.ErrRolledBack})
		report := b.resolve()
		if report.Heuristic() != 1 || report.Clean() || len(b.unsettled()) != 1 {
			b.Errorf("got %+v", report)
		}
		b.resolve()
	})
}

// P1: where the engine proves that somebody finished the branch against the decision, that is no "finished elsewhere".
func TestBranchFinishedAgainstTheDecisionIsHeuristic(t *testing.T) {
	run(t, func(b *bench) {
		b.dbs["orders"].Style.Proof = true
		b.refresh()
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.decide(id, txlog.Committed, "orders")
		xid := b.dbs["orders"].Prepared()[0]
		b.dbs["orders"].Fail(memdb.OpCommitPrepared, memdb.Fault{Hook: func() { b.dbs["orders"].Finish(xid, false) }})
		if br := only(b.resolve(), b); br.Action != recovery.Heuristic {
			b.Errorf("got %+v", br)
		}
	})
}

func TestBranchOfAnotherResource(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "stock")) // the URLs are mixed up
		if br := only(b.resolve(), b); br.Action != recovery.Left || !strings.Contains(br.Reason, "mixed up") {
			b.Errorf("got %+v", br)
		}
		// Two names for one server, which lists every branch under both.
		b.add("stock2", b.dbs["orders"])
		delete(b.dbs, "stock2")
		b.r.Resources[1], b.r.Resources[2] = b.r.Resources[2], b.r.Resources[1]
		b.r.Resources[1].Name, b.r.Resources[2].Name = "stock", "stock2"
		if report := b.resolve(); report.InDoubt() != 0 || len(b.dbs["orders"].Prepared()) != 0 {
			b.Errorf("got %+v", report)
		}
	})
}

// P14: another database under the name settles nothing until a person says that it is meant.
func TestAnotherDatabaseSettlesNothing(t *testing.T) {
	run(t, func(b *bench) {
		b.resolve() // the log learns the identities
		id := b.id()
		b.decide(id, txlog.Committed, "orders")
		other := memdb.New("restored")
		pool := other.Pool()
		defer pool.Close()
		b.r.Resources[0] = drivers.Resource{Name: "orders", DB: pool, Driver: other.Driver()}
		report := b.resolve()
		if len(b.unsettled()) != 1 || !strings.Contains(report.Resources[0].Withheld, "--rebind orders") {
			b.Errorf("got %+v", report)
		}
		b.r.Rebind = []string{"orders"}
		if report = b.resolve(); len(b.unsettled()) != 0 || !report.Clean() {
			b.Errorf("after rebind: %+v", report)
		}
	})
}

func TestCancelledContextLeavesTheRest(t *testing.T) {
	run(t, func(b *bench) {
		discard(b.prepared("orders", b.id(), "orders"))
		ctx, cancel := context.WithCancel(b.Context())
		cancel()
		if _, err := b.r.Resolve(ctx); !errors.Is(err, context.Canceled) {
			b.Errorf("got %v", err)
		}
		b.resolve()
	})
}

func TestManyBranchesAreSettledOverSeveralConnections(t *testing.T) {
	run(t, func(b *bench) {
		const n = 100
		for i := range n {
			id := b.id()
			discard(b.prepared("orders", id, "orders"))
			if i%2 == 0 {
				b.decide(id, txlog.Committed, "orders")
			}
		}
		var told, atOnce, most atomic.Int64
		b.r.Parallel = 4
		b.r.Progress = func(resource string, _, total int) {
			if resource == "orders" && total == n {
				told.Add(1)
			}
		}
		b.dbs["orders"].OnEvent(func(string) {
			if now := atOnce.Add(1); now > most.Load() {
				most.Store(now)
			}
			time.Sleep(time.Millisecond) // of synctest's clock: the others get there meanwhile
			atOnce.Add(-1)
		})
		report := b.resolve()
		b.dbs["orders"].OnEvent(nil)
		if !report.Clean() || len(b.unsettled()) != 0 {
			b.Errorf("%d branches in doubt, %d decisions unsettled", report.InDoubt(), len(b.unsettled()))
		}
		done := func(a recovery.Action) int {
			return len(report.Branches(func(br recovery.Branch) bool { return br.Action == a }))
		}
		if done(recovery.Committed) != n/2 || done(recovery.RolledBack) != n/2 {
			b.Errorf("committed %d, rolled back %d", done(recovery.Committed), done(recovery.RolledBack))
		}
		if told.Load() != n {
			b.Errorf("progress was told %d times", told.Load())
		}
		if m := most.Load(); m != 4 {
			b.Errorf("%d at once, want 4", m)
		}
	})
}

package recovery_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"iter"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// finishing is a driver that can finish what was listed. before is called before each branch.
type finishing struct {
	drivers.Driver
	db     *memdb.DB
	before func(ctx context.Context, conn *sql.Conn) error
	lists  atomic.Int64
}

func (f *finishing) Prepared(ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
	f.lists.Add(1)
	return f.Driver.Prepared(ctx, db)
}

func (f *finishing) FinishListed(ctx context.Context, conn *sql.Conn, xid drivers.XID, commit bool) error {
	if f.before != nil {
		if err := f.before(ctx, conn); err != nil {
			return err
		}
	}
	if !f.db.Finish(xid, commit) {
		return drivers.ErrUnknownXID
	}
	return nil
}

// finisher makes the first resource's driver one.
func (b *bench) finisher(before func(ctx context.Context, conn *sql.Conn) error) *finishing {
	f := &finishing{Driver: b.r.Resources[0].Driver, db: b.dbs["orders"], before: before}
	b.r.Resources[0].Driver = f
	return f
}

// backlog leaves n branches in orders whose transactions are decided, or not.
func (b *bench) backlog(n int, o txlog.Outcome) {
	b.Helper()
	for range n {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		if o != txlog.Undecided {
			b.decide(id, o, "orders")
		}
	}
}

func counted(r recovery.Report, a recovery.Action) int {
	return len(r.Branches(func(b recovery.Branch) bool { return b.Action == a }))
}

// What goes on is not cut short, however long it takes as a whole.
func TestTimeoutLimitsStandingStillAlone(t *testing.T) {
	run(t, func(b *bench) {
		b.backlog(100, txlog.Committed)
		b.r.Parallel, b.r.Timeout = 1, 10*time.Second
		b.finisher(func(context.Context, *sql.Conn) error { time.Sleep(time.Second); return nil })
		if report := b.resolve(); !report.Clean() || counted(report, recovery.Committed) != 100 {
			b.Errorf("%d committed, %d in doubt", counted(report, recovery.Committed), report.InDoubt())
		}
	})
}

// What goes on is read and settled, too, however slow the log and the databases' proofs are.
func TestSlowLogIsReadAndSettledForAsLongAsItMoves(t *testing.T) {
	run(t, func(b *bench) {
		b.dbs["stock"].Style.Proof = true
		b.refresh()
		b.backlog(20, txlog.Undecided)
		for range 20 { // committed, and finished before: the databases are asked what became of them
			b.decide(b.id(), txlog.Committed, "stock")
		}
		b.r.Parallel, b.r.Timeout = 1, 10*time.Second
		b.r.Log = slow{b.log, 4 * time.Second}
		for range 20 {
			b.dbs["stock"].Fail(memdb.OpOutcome, memdb.Fault{Hook: func() { time.Sleep(8 * time.Second) }})
		}
		if report, err := b.r.Scan(b.Context()); err != nil || counted(report, recovery.WouldRollBack) != 20 {
			b.Errorf("scan: %v, %d would be rolled back", err, counted(report, recovery.WouldRollBack))
		}
		if report := b.resolve(); !report.Clean() || counted(report, recovery.RolledBack) != 20 || len(report.Decisions) != 40 {
			b.Errorf("%d rolled back, %d in doubt: %+v", counted(report, recovery.RolledBack), report.InDoubt(), report.Decisions)
		}
	})
}

// slow is a log that takes its time for each call.
type slow struct {
	txlog.Log
	pause time.Duration
}

func (s slow) Lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	time.Sleep(s.pause)
	return s.Log.Lookup(ctx, id)
}

func (s slow) Settle(ctx context.Context, id string) error {
	time.Sleep(s.pause)
	return s.Log.Settle(ctx, id)
}

// Who gives no answer in time is not waited for once a decision.
func TestSilenceIsWaitedForOnce(t *testing.T) {
	for name, c := range map[string]struct {
		log  hanging
		db   bool
		want error
	}{"the log": {log: hanging{settle: true}, want: context.DeadlineExceeded}, "a database": {db: true}} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				b.dbs["stock"].Style.Proof = true
				b.refresh()
				for range 50 {
					b.decide(b.id(), txlog.Committed, "stock")
					if c.db {
						b.dbs["stock"].Fail(memdb.OpOutcome, memdb.Fault{Hang: true})
					}
				}
				c.log.Log = b.log
				b.r.Log = c.log
				begun := time.Now()
				report, err := b.r.Resolve(b.Context())
				if took := time.Since(begun); took != 30*time.Second || !errors.Is(err, c.want) || report.Clean() || len(report.Decisions) != 50 {
					b.Errorf("it took %v, want the limit of 30 s: %v, %d decisions", took, err, len(report.Decisions))
				}
				for _, d := range report.Decisions {
					if d.Settled || !strings.Contains(d.Reason, "no answer for 30s") {
						b.Fatalf("%+v", d)
					}
				}
				b.dbs["stock"].Heal()
				b.r.Log = b.log
				b.resolve()
			})
		})
	}
}

// A database that stops to answer in the middle: what is done is done, and the rest is left, and is finished by the next run.
func TestDatabaseThatStopsHalfWayIsLeftWithATrueReport(t *testing.T) {
	for _, o := range []txlog.Outcome{txlog.Committed, txlog.Undecided} {
		t.Run(o.String(), func(t *testing.T) {
			run(t, func(b *bench) {
				b.backlog(100, o)
				id := b.id()
				discard(b.prepared("stock", id, "stock"))
				var calls atomic.Int64
				f := b.finisher(func(ctx context.Context, _ *sql.Conn) error {
					if calls.Add(1) <= 40 {
						return nil
					}
					<-ctx.Done()
					return ctx.Err()
				})
				begun := time.Now()
				report := b.resolve()
				if took := time.Since(begun); took != 30*time.Second {
					b.Errorf("it took %v, want the limit of 30 s", took)
				}
				b.wantTrue(report, 40)
				for _, br := range report.Branches(func(br recovery.Branch) bool { return br.Action == recovery.Left }) {
					if !errors.Is(br.Err, context.DeadlineExceeded) {
						b.Fatalf("a branch was left for %v", br.Err)
					}
				}
				if len(b.dbs["stock"].Prepared()) != 0 {
					b.Error("the other database was not settled")
				}
				f.before = nil
				if report := b.resolve(); !report.Clean() {
					b.Errorf("the next run leaves %d", report.InDoubt())
				}
			})
		})
	}
}

// wantTrue compares the report with what orders holds: so many are done, and the rest of a hundred is left.
func (b *bench) wantTrue(report recovery.Report, done int) {
	b.Helper()
	left := map[drivers.XID]bool{}
	for _, x := range b.dbs["orders"].Prepared() {
		left[x] = true
	}
	if len(left) != 100-done {
		b.Errorf("the database holds %d branches, want %d", len(left), 100-done)
	}
	for _, br := range report.Resources[0].Branches {
		finished := br.Action == recovery.Committed || br.Action == recovery.RolledBack
		if finished == left[br.XID] || finished == br.InDoubt() {
			b.Fatalf("%s is reported as %s, and the database holds it: %v", br.XID, br.Action, left[br.XID])
		}
	}
	for _, d := range report.Decisions {
		if d.Settled && left[drivers.XID{FormatID: drivers.FormatID, GTRID: d.ID, BQual: "orders"}] {
			b.Fatalf("%s is settled, and the database holds its branch", d.ID)
		}
	}
	if report.Clean() {
		b.Error("the report says that all is settled")
	}
}

// Who calls off a recovery is told what it has done.
func TestInterruptedRecoveryTellsWhatItHasDone(t *testing.T) {
	for _, o := range []txlog.Outcome{txlog.Committed, txlog.Undecided} {
		t.Run(o.String(), func(t *testing.T) {
			run(t, func(b *bench) {
				b.backlog(100, o)
				ctx, cancel := context.WithCancel(b.Context())
				defer cancel()
				var calls atomic.Int64
				b.r.Parallel = 1
				f := b.finisher(func(ctx context.Context, _ *sql.Conn) error {
					if calls.Add(1) == 40 {
						cancel()
					}
					return ctx.Err()
				})
				report, err := b.r.Resolve(ctx)
				if !errors.Is(err, context.Canceled) {
					b.Errorf("Resolve: %v", err)
				}
				b.wantTrue(report, 39)
				if !slices.ContainsFunc(report.Resources[0].Branches, func(br recovery.Branch) bool { return br.Reason == "its turn did not come" }) {
					b.Error("the report does not tell why the rest was left")
				}
				f.before = nil
				b.resolve()
			})
		})
	}
}

// Branches that another recovery has just finished are asked about together: a list for each would cost the square of their number.
func TestUnknownBranchesAreAskedAboutOnce(t *testing.T) {
	run(t, func(b *bench) {
		b.backlog(200, txlog.Committed)
		var once sync.Once
		f := b.finisher(func(context.Context, *sql.Conn) error {
			once.Do(func() {
				for _, x := range b.dbs["orders"].Prepared() {
					b.dbs["orders"].Finish(x, true)
				}
			})
			return nil
		})
		report := b.resolve()
		if n := counted(report, recovery.FinishedElsewhere); n != 200 || f.lists.Load() != 2 {
			b.Errorf("%d finished elsewhere, and the database was listed %d times", n, f.lists.Load())
		}
	})
}

// The pool is the application's: recovery takes no more than half of it, and is content with a single connection.
func TestRecoveryLeavesHalfOfThePool(t *testing.T) {
	for limit, want := range map[int]int{1: 1, 2: 1, 8: 4, 0: 8} {
		run(t, func(b *bench) {
			b.backlog(400, txlog.Undecided)
			b.r.Resources[0].DB.SetMaxOpenConns(limit)
			var mu sync.Mutex
			most := 0
			b.finisher(func(ctx context.Context, _ *sql.Conn) error {
				mu.Lock()
				most = max(most, b.r.Resources[0].DB.Stats().InUse)
				mu.Unlock()
				time.Sleep(time.Millisecond)
				return nil
			})
			if report := b.resolve(); !report.Clean() {
				b.Errorf("of %d connections: %d branches are left", limit, report.InDoubt())
			}
			if most != want {
				b.Errorf("of %d connections %d were used, want %d", limit, most, want)
			}
		})
	}
}

// askedProver is a driver that needs a connection to prove what became of a branch.
type askedProver struct{ *finishing }

func (askedProver) Outcome(ctx context.Context, db *sql.DB, _ drivers.XID, _ string) (committed, proven bool, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return false, false, err
	}
	return true, true, conn.Close()
}

// What is kept for the next branch must not be what is needed to find out what to do with that.
func TestSingleConnectionIsNotKept(t *testing.T) {
	run(t, func(b *bench) {
		for range 3 {
			id := txid.New("lostlog", "", time.Now())
			discard(b.prepared("orders", id, "orders"))
		}
		b.r.Resources[0].Driver = askedProver{b.finisher(nil)}
		b.r.Resources[0].DB.SetMaxOpenConns(1)
		b.r.Adopted = []string{"lostlog"}
		begun := time.Now()
		if report := b.resolve(); counted(report, recovery.Committed) != 3 || time.Since(begun) != 0 {
			b.Errorf("%d of 3 were committed, after %v", counted(report, recovery.Committed), time.Since(begun))
		}
	})
}

// A connection that failed is not used for the next branch.
func TestFailedConnectionIsNotUsedAgain(t *testing.T) {
	run(t, func(b *bench) {
		b.backlog(10, txlog.Committed)
		failed := map[*sql.Conn]bool{}
		n := 0
		f := b.finisher(func(_ context.Context, conn *sql.Conn) error {
			if failed[conn] {
				b.Error("a connection was used after it had failed")
			}
			if n++; n%2 == 1 {
				failed[conn] = true
				return errors.New("the server refuses")
			}
			return nil
		})
		if report := b.resolve(); counted(report, recovery.Left) != 5 || counted(report, recovery.Committed) != 5 {
			b.Errorf("%d left, %d committed", counted(report, recovery.Left), counted(report, recovery.Committed))
		}
		f.before = nil
		b.resolve()
	})
}

// hanging is a log one of whose calls never returns before its context ends.
type hanging struct {
	txlog.Log
	decide, settle, unsettled bool
}

func (h hanging) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	if h.decide {
		<-ctx.Done()
		return txlog.Undecided, ctx.Err()
	}
	return h.Log.Decide(ctx, d)
}

func (h hanging) Settle(ctx context.Context, id string) error {
	if h.settle {
		<-ctx.Done()
		return ctx.Err()
	}
	return h.Log.Settle(ctx, id)
}

func (h hanging) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	if h.unsettled {
		return func(yield func(txlog.Decision, error) bool) {
			<-ctx.Done()
			yield(txlog.Decision{}, ctx.Err())
		}
	}
	return h.Log.Unsettled(ctx)
}

// A log that hangs does not hang recovery; and a branch whose abort may not be recorded is not rolled back.
func TestHangingLogIsGivenUp(t *testing.T) {
	for name, h := range map[string]hanging{"decide": {decide: true}, "settle": {settle: true}, "unsettled": {unsettled: true}} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				b.backlog(1, txlog.Undecided)
				h.Log = b.log
				b.r.Log = h
				begun := time.Now()
				report, err := b.r.Resolve(b.Context())
				b.r.Log = b.log
				if took := time.Since(begun); took != 30*time.Second {
					b.Errorf("it took %v, want the limit of 30 s", took)
				}
				if name == "decide" && (err != nil || only(report, b).Action != recovery.Left || !errors.Is(only(report, b).Err, context.DeadlineExceeded)) ||
					name != "decide" && !errors.Is(err, context.DeadlineExceeded) {
					b.Errorf("%v, %+v", err, report)
				}
				if name != "settle" && len(b.dbs["orders"].Prepared()) != 1 {
					b.Error("the branch was rolled back, though its abort may not be recorded")
				}
				if report.Clean() && name != "unsettled" {
					b.Error("the report says that all is settled")
				}
				b.resolve()
			})
		})
	}
}

// The operator's log is not flooded by thousands of branches that are left for one reason.
func TestManyBranchesLeftAreToldInFewLines(t *testing.T) {
	run(t, func(b *bench) {
		b.backlog(100, txlog.Committed)
		f := b.finisher(func(context.Context, *sql.Conn) error { return errors.New("permission denied") })
		var told bytes.Buffer
		b.r.Logger = slog.New(slog.NewTextHandler(&told, nil))
		b.resolve()
		if lines := strings.Count(told.String(), "\n"); lines != 11 || !strings.Contains(told.String(), "count=90") {
			b.Errorf("%d lines:\n%s", lines, told.String())
		}
		f.before = nil
		b.resolve()
	})
}

package recovery_test

import (
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// point makes the i-th name mean that database.
func (b *bench) point(i int, db *memdb.DB) {
	b.Helper()
	pool := db.Pool()
	b.Cleanup(func() { pool.Close() })
	b.r.Resources[i].DB, b.r.Resources[i].Driver = pool, db.Driver()
}

func (b *bench) scan() recovery.Report {
	b.Helper()
	report, err := b.r.Scan(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return report
}

func (b *bench) registered(name string) string {
	b.Helper()
	id, err := b.log.Registered(b.Context(), name)
	if err != nil {
		b.Fatal(err)
	}
	return id
}

// A name that nothing hangs on may mean another database: the Report tells both, once it is noted nothing more.
func TestNameThatMeansAnotherDatabaseIsTold(t *testing.T) {
	run(t, func(b *bench) {
		b.resolve()
		was := b.registered("orders")
		b.point(0, memdb.New("restored"))
		for _, look := range []func() recovery.Report{b.scan, b.resolve} {
			r := look().Resources[0]
			if r.Was != was || r.Withheld != "" || r.Identity == "" || r.Identity == was {
				b.Errorf("got %+v, want it to have been %q", r, was)
			}
		}
		r := b.resolve().Resources[0]
		if r.Was != "" || b.registered("orders") != r.Identity {
			b.Errorf("got %+v after it was noted", r)
		}
	})
}

// Beside transactions of this very process no name is given to another database: one of them may have a branch in the old one, and its decision, when
// it comes, must not be settled by the new one's silence.
func TestNameIsNotGivenToAnotherDatabaseBesideLiveTransactions(t *testing.T) {
	run(t, func(b *bench) {
		b.resolve()
		was := b.registered("orders")
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		live := true
		b.r.Claim = func(string) (func(), bool) { return func() {}, !live }
		old := b.r.Resources[0]
		b.point(0, memdb.New("restored"))
		if r := b.resolve().Resources[0]; !strings.Contains(r.Withheld, "start the process anew") {
			b.Errorf("got %+v", r)
		}
		b.decide(id, txlog.Committed, "orders")
		live = false
		if report := b.resolve(); report.Clean() || len(b.unsettled()) != 1 || b.registered("orders") != was {
			b.Errorf("the decision was settled by another database: %+v", report)
		}
		b.r.Resources[0] = old
		if report := b.resolve(); !report.Clean() || counted(report, recovery.Committed) != 1 {
			b.Errorf("back in its own: %+v", report)
		}
	})
}

// One database under two names: each branch is its own name's, both are finished once, and the Report tells.
func TestDatabaseUnderTwoNamesIsToldAndSettled(t *testing.T) {
	for _, o := range []txlog.Outcome{txlog.Committed, txlog.Aborted, txlog.Undecided} {
		run(t, func(b *bench) {
			b.point(1, b.dbs["orders"])
			id, half := b.id(), b.id()
			discard(b.prepared("orders", id, "orders"))
			for _, gtrid := range []string{id, half} { // with no rows of their own, whose locks would be in the way
				b.dbs["orders"].Stranger(drivers.Prepared{XID: drivers.XID{FormatID: drivers.FormatID, GTRID: gtrid, BQual: "stock"}}, true)
			}
			if o != txlog.Undecided {
				b.decide(id, o, "orders", "stock")
				b.decide(half, o, "orders", "stock")
			}
			for _, look := range []func() recovery.Report{b.scan, b.resolve} {
				r := look()
				if n := len(r.Branches(func(recovery.Branch) bool { return true })); n != 3 || r.Resources[1].SameAs != "orders" || r.Resources[0].SameAs != "" {
					b.Errorf("%d branches, %+v", n, r)
				}
			}
			if r := b.resolve(); !r.Clean() || len(b.dbs["orders"].Prepared()) != 0 || len(b.unsettled()) != 0 {
				b.Errorf("%v: %+v", o, r)
			}
			if _, committed := b.dbs["orders"].Get(id); committed != (o == txlog.Committed) {
				b.Errorf("a transaction that is %v is committed: %v", o, committed)
			}
		})
	}
}

// Two names that were two databases and are one now: what the log knows under the other name is told, as a sign that a URL is wrong, and nothing of
// the database that is missing is settled.
func TestNameThatMeansTheOtherNamesDatabaseSettlesNothing(t *testing.T) {
	run(t, func(b *bench) {
		b.resolve()
		id := b.id()
		for _, bqual := range []string{"orders", "stock"} {
			discard(b.prepared(bqual, id, bqual))
		}
		b.decide(id, txlog.Committed, "orders", "stock")
		stock := b.r.Resources[1]
		b.point(1, b.dbs["orders"])
		report := b.resolve()
		if r := report.Resources[1]; !strings.Contains(r.Withheld, `the log knows as "orders"`) || r.SameAs != "orders" || len(b.unsettled()) != 1 {
			b.Errorf("got %+v", report)
		}
		b.r.Resources[1] = stock
		if report := b.resolve(); !report.Clean() || counted(report, recovery.Committed) != 1 {
			b.Errorf("put right: %+v", report)
		}
	})
}

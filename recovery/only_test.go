package recovery_test

import (
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// What the run is not about is neither touched nor told, in the databases as in the log.
func TestOnlyTheNamedTransactionsAreSettled(t *testing.T) {
	run(t, func(b *bench) {
		var ids []string
		for n := range 6 {
			id := b.id()
			ids = append(ids, id)
			for _, db := range []string{"orders", "stock"} {
				discard(b.prepared(db, id, db))
			}
			if n%2 == 0 {
				b.decide(id, txlog.Committed, "orders", "stock")
			}
		}
		if err := b.log.Note(b.Context(), txlog.Note{ID: ids[4], Kind: txlog.Heuristic, Resource: "orders"}); err != nil {
			b.Fatal(err)
		}
		b.dbs["orders"].Stranger(drivers.Prepared{Raw: "a stranger's"}, true)
		b.r.Only = ids[:2] // one committed, one undecided
		if report, err := b.r.Scan(b.Context()); err != nil || report.InDoubt() != 4 || len(report.Decisions) != 1 || len(report.Notes) != 0 {
			b.Errorf("Scan tells %+v, %v", report, err)
		}
		report := b.resolve()
		if !report.Clean() || count(report, recovery.Committed) != 2 || count(report, recovery.RolledBack) != 2 || len(report.Branches(func(recovery.Branch) bool { return true })) != 4 {
			b.Errorf("got %+v", report)
		}
		if orders, stock := b.dbs["orders"].Stats().Prepared, b.dbs["stock"].Stats().Prepared; orders != 4+1 || stock != 4 {
			b.Errorf("orders holds %d branches and stock %d, want those of 4 transactions, and a stranger's", orders, stock)
		}
		if got := b.unsettled(); len(got) != 2 {
			b.Errorf("unsettled: %q", got)
		}
		for i, want := range []txlog.Outcome{txlog.Committed, txlog.Aborted, txlog.Committed, txlog.Undecided, txlog.Committed, txlog.Undecided} {
			if o, err := b.log.Lookup(b.Context(), ids[i]); o != want || err != nil {
				b.Errorf("transaction %d: the log says %v, %v, want %v", i, o, err, want)
			}
		}
		b.r.Only = nil
		if report := b.resolve(); !report.Clean() || b.holding() != 0 {
			b.Errorf("at the end: %+v", report)
		}
	})
}

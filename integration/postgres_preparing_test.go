package integration

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog/logtest"
)

// A client that is killed while its PREPARE is executed leaves a branch that is in doubt only later: recovery must not report that
// nothing is in doubt meanwhile (rule P2).
func TestPostgresPrepareThatIsUnderWayIsListedAndWaitedFor(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		f.exec(f.admin, `create function slow() returns trigger language plpgsql as
			'begin perform pg_advisory_lock(4711); perform pg_advisory_unlock(4711); return null; end';
			create constraint trigger slow after insert on item deferrable initially deferred for each row execute function slow()`)
		gate, err := f.admin.Conn(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		defer gate.Close()
		f.exec(gate, "select pg_advisory_lock(4711)")

		log := logtest.NewMemory()
		xid := drivers.XID{FormatID: drivers.FormatID, GTRID: txid.New(log.ID(), "", time.Now()), BQual: "orders"}
		conn, err := f.db.Conn(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		b, err := f.driver.Begin(f.Context(), conn, xid, nil)
		if err != nil {
			f.Fatal(err)
		}
		f.exec(conn, "insert into item values ('a')")
		prepared := make(chan error, 1)
		go func() {
			_, err := b.Prepare(f.Context())
			prepared <- err
		}()
		f.eventually("PREPARE is listed while it is executed", func() bool {
			list, err := f.driver.Prepared(f.Context(), f.admin)
			if err != nil {
				f.Fatal(err)
			}
			return len(list) == 1 && list[0].XID == xid && list[0].Held
		})

		resolver := recovery.Resolver{Log: log, HeldWait: 50 * time.Millisecond, Logger: slog.New(slog.DiscardHandler),
			Resources: []drivers.Resource{{Name: "orders", DB: f.admin, Driver: f.driver}}}
		report, err := resolver.Resolve(f.Context())
		if err != nil || report.InDoubt() != 1 || report.Clean() {
			f.Errorf("while it is under way: %+v, %v", report, err)
		}
		f.exec(gate, "select pg_advisory_unlock(4711)")
		if err := <-prepared; err != nil {
			f.Error(err)
		}
		report, err = resolver.Resolve(f.Context())
		if err != nil || !report.Clean() {
			f.Errorf("after it: %+v, %v", report, err)
		}
		if err := b.Commit(f.Context()); !errors.Is(err, drivers.ErrRolledBack) {
			f.Errorf("Commit of what recovery has rolled back: %v", err)
		}
		pgDiscard(conn)
	})
}

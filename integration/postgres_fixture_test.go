package integration

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/engines"
)

// pgFixture is a database with the driver under test on a pool of one of the client libraries.
type pgFixture struct {
	*testing.T
	server *engines.Server
	client pgClient
	url    string
	driver *postgres.Driver
	db     *sql.DB // the pool under test
	admin  *sql.DB // a superuser's, by pgx
}

// forEachPostgres runs a test on every version of the server, by every client, each in a database whose only table, item, is
// empty. A branch that it leaves prepared fails it.
func forEachPostgres(t *testing.T, test func(f *pgFixture)) {
	t.Helper()
	es := engines.Of(engines.Postgres)
	engines.Start(es...)
	for i, e := range es {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			databaseURL := s.NewDatabase(t)
			clients := pgClients()
			if i < len(es)-1 {
				clients = clients[:2] // pgx's other ways are the same on every version
			}
			for _, c := range clients {
				t.Run(c.name, func(t *testing.T) { test(newPGFixture(t, s, c, databaseURL)) })
			}
		})
	}
}

func newPGFixture(t *testing.T, s *engines.Server, c pgClient, databaseURL string) *pgFixture {
	t.Helper()
	f := &pgFixture{T: t, server: s, client: c, url: databaseURL, driver: postgres.New()}
	f.admin = s.Open(t, databaseURL)
	f.db = f.open(databaseURL)
	f.exec(f.admin, "set lock_timeout = '30 s'; drop schema public cascade; create schema public; reset lock_timeout; "+
		"create table item (k text primary key, v text)")
	return f
}

func (f *pgFixture) open(databaseURL string) *sql.DB {
	f.Helper()
	db, err := f.client.open(databaseURL)
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { db.Close() })
	return db
}

type pgExecer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

func (f *pgFixture) exec(x pgExecer, query string, args ...any) {
	f.Helper()
	if _, err := x.ExecContext(f.Context(), query, args...); err != nil {
		f.Fatalf("%s: %v", query, err)
	}
}

// pgTestBranch is a branch, with what the tests ask of it.
type pgTestBranch struct {
	drivers.Branch
	f    *pgFixture
	xid  drivers.XID
	conn *sql.Conn
	pid  int
}

// begin starts a branch, on a connection that is discarded when the test ends.
func (f *pgFixture) begin(opts *sql.TxOptions) *pgTestBranch {
	f.Helper()
	return f.beginOn(f.db, opts)
}

func (f *pgFixture) beginOn(db *sql.DB, opts *sql.TxOptions) *pgTestBranch {
	f.Helper()
	conn, err := db.Conn(f.Context())
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { pgDiscard(conn) })
	b := &pgTestBranch{f: f, conn: conn, xid: pgXID()}
	if err := conn.QueryRowContext(f.Context(), "select pg_backend_pid()").Scan(&b.pid); err != nil {
		f.Fatal(err)
	}
	if b.Branch, err = f.driver.Begin(f.Context(), conn, b.xid, opts); err != nil {
		f.Fatalf("Begin: %v", err)
	}
	return b
}

func pgXID() drivers.XID {
	return drivers.XID{FormatID: drivers.FormatID, GTRID: "pgtest." + rand.Text(), BQual: "orders"}
}

// write writes a row under the branch's own key.
func (b *pgTestBranch) write() {
	b.f.Helper()
	b.f.exec(b.conn, "insert into item values ($1, 'written')", b.xid.GTRID)
}

func (b *pgTestBranch) applied() bool {
	b.f.Helper()
	var there bool
	err := b.f.admin.QueryRowContext(b.f.Context(), "select exists (select from item where k = $1)", b.xid.GTRID).Scan(&there)
	if err != nil {
		b.f.Fatal(err)
	}
	return there
}

func (b *pgTestBranch) listed() bool {
	b.f.Helper()
	list, err := b.f.driver.Prepared(b.f.Context(), b.f.admin)
	if err != nil {
		b.f.Fatal(err)
	}
	for _, p := range list {
		if p.XID == b.xid {
			return true
		}
	}
	return false
}

// want fails the test unless Prepare votes this.
func (b *pgTestBranch) want(vote drivers.Vote) {
	b.f.Helper()
	if got, err := b.Prepare(b.f.Context()); got != vote || err != nil {
		b.f.Fatalf("Prepare: %s, %v; want %s", got, err, vote)
	}
}

// wantNothingLeft fails the test unless the branch is rolled back.
func (b *pgTestBranch) wantNothingLeft() {
	b.f.Helper()
	if b.listed() {
		b.f.Errorf("the branch is prepared")
	}
	if b.applied() {
		b.f.Errorf("the branch's change is visible")
	}
}

// wantClean fails the test unless the connection is fit for the pool.
func (b *pgTestBranch) wantClean() {
	b.f.Helper()
	var mark sql.NullString
	if err := b.conn.QueryRowContext(b.f.Context(), "select current_setting('xasql.branch', true)").Scan(&mark); err != nil || mark.String != "" {
		b.f.Errorf("the connection is not clean: it is marked %q, %v", mark.String, err)
	}
	_, err := b.conn.ExecContext(b.f.Context(), "savepoint outside")
	var e interface{ SQLState() string }
	if !errors.As(err, &e) || e.SQLState() != "25P01" {
		b.f.Errorf("the connection is in a transaction: a savepoint gives %v", err)
	}
}

// is checks an error against errors.Is of each target, and of every other error of package drivers for the contrary.
func (f *pgFixture) is(what string, err error, want ...error) {
	f.Helper()
	if err == nil {
		f.Errorf("%s: no error", what)
		return
	}
	for _, target := range []error{drivers.ErrUnknownXID, drivers.ErrHeld, drivers.ErrRolledBack, drivers.ErrCommitted,
		drivers.ErrNotSupported, driver.ErrBadConn} {
		wanted := false
		for _, w := range want {
			wanted = wanted || w == target
		}
		if errors.Is(err, target) != wanted {
			f.Errorf("%s: %v: is %q: %v, want %v", what, err, target, !wanted, wanted)
		}
	}
}

// finish ends a prepared branch from its XID.
func (f *pgFixture) finish(b *pgTestBranch) {
	f.Helper()
	if err := f.driver.RollbackPrepared(f.Context(), f.admin, b.xid); err != nil {
		f.Errorf("RollbackPrepared: %v", err)
	}
}

func pgDiscard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// waitsForStandby tells whether the session's commit, or prepare, waits for a standby: its record is on the disk.
func (b *pgTestBranch) waitsForStandby() bool {
	var waits bool
	err := b.f.admin.QueryRowContext(b.f.Context(), "select coalesce(wait_event = 'SyncRep', false) from pg_stat_activity where pid = $1", b.pid).Scan(&waits)
	return err == nil && waits
}

// eventually waits until done reports true.
func (f *pgFixture) eventually(what string, done func() bool) {
	f.Helper()
	if !f.eventuallyTrue(what, done) {
		f.FailNow()
	}
}

// eventuallyTrue is eventually for another goroutine than the test's: it does not end the test.
func (f *pgFixture) eventuallyTrue(what string, done func() bool) bool {
	f.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-limit:
			f.Errorf("%s: not within a minute", what)
			return false
		case <-tick.C:
		}
	}
	return true
}

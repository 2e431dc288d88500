package drivertest

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/xasql/xasql/drivers"
)

// Harness is a driver with one database to try it on, and what the suite must know of the engine. Driver, Open, Put, Insert and
// Get are required.
type Harness struct {
	// Driver is the driver under test.
	Driver drivers.Driver
	// Open returns a fresh pool to the database, always the same one, as another process would. The suite closes it.
	Open func() (*sql.DB, error)

	// Put writes a row of a table that is empty at first, whether or not there is one with that key. Its arguments
	// are the key and the value, both texts.
	Put string
	// Insert is like Put, and fails with a constraint's error where there is such a row.
	Insert string
	// Get returns the value of the key that is its argument, or no row.
	Get string
	// Settings is a query for one row of one text: those settings of the session that a branch may have
	// changed, such as its isolation level. Empty: they are not compared.
	Settings string

	// SessionBound declares that a prepared branch is held by its session, until that ends (rule D5).
	SessionBound bool
	// SingleWriter declares that there is one branch that may write, active or prepared, at a time.
	SingleWriter bool
	// Isolation are the levels that Begin takes, besides the default. Every other one must be refused.
	Isolation []sql.IsolationLevel
	// ReadOnlyTx declares that Begin takes sql.TxOptions.ReadOnly. It must be refused otherwise.
	ReadOnlyTx bool
	// NoIdentity declares that the server can't tell which database it is, though the driver is an Identifier.
	NoIdentity bool
	// Refused are statements that can't be part of a branch, such as the making of a temporary table: either the
	// statement fails, or Prepare does.
	Refused []string

	// Poison makes the engine abort the transaction that conn is in, of its own accord (rule B4), by whatever it takes: one
	// failing statement, a deadlock with another session. It returns an error only if that didn't work. nil: this
	// engine never does that.
	Poison func(ctx context.Context, conn *sql.Conn) error
	// Break ends the session of conn as if its client had gone. nil: the connection is discarded.
	Break func(ctx context.Context, conn *sql.Conn) error
	// Crash kills the server, and returns when it is back. nil: can't be done here.
	Crash func(ctx context.Context) error
	// Block makes the engine keep the two-phase calls waiting until release is called: SQLite's write
	// lock taken by another process, MySQL's FLUSH TABLES WITH READ LOCK. nil: can't be done here.
	Block func(ctx context.Context) (release func() error, err error)
	// Stranger makes another program's prepared branch. nil: no other program can have any here.
	Stranger func(ctx context.Context) (Stranger, error)
	// Lossy returns a pool whose replies can be lost; [NewLossy] makes one. nil: can't be done here.
	Lossy func() (Lossy, error)
	// Another returns a pool to another database, which Identify must tell from the first. The suite closes it. nil: there is none.
	Another func() (*sql.DB, error)
}

// Stranger is another program's prepared branch.
type Stranger struct {
	XID    drivers.XID // zero when Raw is set
	Raw    string
	Remove func(ctx context.Context) error
}

// Lossy is a pool whose replies can be lost (rule D11). The suite closes the pool.
type Lossy struct {
	DB *sql.DB
	// Lose calls f. The first two-phase statement that the pool's connections are given meanwhile is
	// executed, but answered with driver.ErrBadConn. It returns all that they were given.
	Lose func(f func()) (sent []string)
}

func (h Harness) check() string {
	switch {
	case h.Driver == nil:
		return "Driver is nil"
	case h.Open == nil:
		return "Open is nil"
	case h.Put == "" || h.Insert == "" || h.Get == "":
		return "Put, Insert and Get are required"
	}
	return ""
}

// discard closes a connection without its going back to the pool.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

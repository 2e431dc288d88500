package sqllog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
)

// faults decide what becomes of statements.
type faults struct {
	mu    sync.Mutex
	rules []*fault
	sent  []string // statements that reached the database
}

// fault is what happens to statements that contain a text.
type fault struct {
	text  string
	times int  // how often; negative: always
	after bool // the statement is executed first
	lost  bool // the connection is dead afterwards
	err   error
	then  func() // called before the statement returns
}

var errFault = errors.New("injected fault")

func (f *faults) add(rule fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if rule.err == nil {
		rule.err = errFault
	}
	if rule.times == 0 {
		rule.times = 1
	}
	f.rules = append(f.rules, &rule)
}

func (f *faults) clear() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

func (f *faults) match(query string) *fault {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range f.rules {
		if r.times != 0 && strings.Contains(query, r.text) {
			r.times--
			return r
		}
	}
	f.sent = append(f.sent, query)
	return nil
}

// count tells how many statements with this text reached the database.
func (f *faults) count(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for _, s := range f.sent {
		if strings.Contains(s, text) {
			n++
		}
	}
	return n
}

// connector opens SQLite through the faults.
type connector struct {
	dsn    string
	faults *faults
}

func (c connector) Driver() driver.Driver { return &sqlite3.SQLiteDriver{} }

func (c connector) Connect(context.Context) (driver.Conn, error) {
	if r := c.faults.match("connect"); r != nil {
		return nil, r.err
	}
	conn, err := (&sqlite3.SQLiteDriver{}).Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &faultyConn{SQLiteConn: conn.(*sqlite3.SQLiteConn), faults: c.faults}, nil
}

type faultyConn struct {
	*sqlite3.SQLiteConn
	faults *faults
	dead   bool
}

// run sends a statement, unless a fault has it otherwise.
func (c *faultyConn) run(query string, send func() error) error {
	if c.dead {
		return errors.New("the connection is dead")
	}
	r := c.faults.match(query)
	if r == nil {
		return send()
	}
	err := r.err
	if r.after {
		if failed := send(); failed != nil {
			err = failed
		}
	}
	if r.lost {
		c.dead = true
		// As a server does when it notices: what is not committed is rolled back.
		_, _ = c.SQLiteConn.Exec("ROLLBACK", nil)
	}
	if r.then != nil {
		r.then()
	}
	return err
}

// A member with the brief lease renews it as often as that wants, and has the long one in the database: no machine stands still for so long that
// a living member loses it.
const (
	briefLease = 300 * time.Millisecond
	longLease  = 10 * time.Minute
)

// prolong makes the brief lease the long one.
func prolong(query string, args []driver.NamedValue) {
	for i, a := range args {
		if a.Value == briefLease.Microseconds() && strings.Contains(query, "xasql_member") {
			args[i].Value = longLease.Microseconds()
		}
	}
}

func (c *faultyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	prolong(query, args)
	err = c.run(query, func() (err error) {
		result, err = c.SQLiteConn.ExecContext(ctx, query, args)
		return err
	})
	return result, err
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = c.run(query, func() (err error) {
		rows, err = c.SQLiteConn.QueryContext(ctx, query, args)
		return err
	})
	if err != nil && rows != nil {
		for dest := make([]driver.Value, len(rows.Columns())); rows.Next(dest) == nil; { // to the end, so that it takes effect
		}
		rows.Close()
	}
	return rows, err
}

// testLog is a log in a file of SQLite, and what can be done to it.
type testLog struct {
	*Log
	db     *sql.DB
	dsn    string
	faults *faults
}

func sqliteDSN(t interface{ TempDir() string }) string {
	return "file:" + t.TempDir() + "/log.db?_journal_mode=WAL"
}

// openFile opens the log in the file, with a pool of its own.
func openFile(t interface {
	Context() context.Context
	Cleanup(func())
	Fatalf(string, ...any)
}, dsn string, opts Options) *testLog {
	f := &faults{}
	db := sql.OpenDB(connector{dsn, f})
	t.Cleanup(func() { db.Close() })
	opts.Logger, opts.limit = quiet(), time.Minute // a machine may stand still for longer than the ten seconds that are the default
	l, err := Open(t.Context(), db, SQLite, &opts)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() { l.Close() })
	return &testLog{l, db, dsn, f}
}

func newLog(t *testing.T, opts Options) *testLog {
	t.Helper()
	return openFile(t, sqliteDSN(t), opts)
}

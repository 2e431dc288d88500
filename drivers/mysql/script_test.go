package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

// server answers statements by a script, and notes what it was sent. What it has no answer for succeeds.
type server struct {
	flavour   flavour
	isolation string
	unlogged  int64
	lock      any                // GET_LOCK's answer; -1: not asked for one
	recover   []drivers.XID      // what XA RECOVER lists
	snapshots []snapshot         // what InnoDB shows, in turn; the last one for ever; none: that this user lacks PROCESS
	answers   map[string][]error // by the statement's first words, in turn
	sent      []string
}

var xid = drivers.XID{FormatID: drivers.FormatID, GTRID: "log.1", BQual: "orders"}

// newServer returns a MySQL server as it is by default.
func newServer() *server {
	return &server{flavour: mySQL, isolation: "REPEATABLE-READ", lock: int64(-1)}
}

// newMariaDB returns a MariaDB server as it is by default.
func newMariaDB() *server {
	return &server{flavour: mariaDB, isolation: "REPEATABLE-READ", lock: int64(1)}
}

func (s *server) on(statement string, answers ...error) *server {
	if s.answers == nil {
		s.answers = map[string][]error{}
	}
	s.answers[statement] = answers
	return s
}

// plain rewrites a statement as the tests spell it: the XID is "X", the lock is "L", and what is guarded stands without its guard.
func plain(statement string) string {
	for _, verb := range []string{"XA COMMIT ", "XA ROLLBACK "} {
		if statement == guarded(verb, xid) {
			statement = verb + literal(xid)
		}
	}
	statement = strings.ReplaceAll(statement, literal(xid), "X")
	return strings.ReplaceAll(statement, "'"+lockName(xid)+"'", "L")
}

func (s *server) answer(statement string) error {
	statement = plain(statement)
	if strings.HasPrefix(statement, "SELECT @@log_bin") {
		statement = "INSPECT"
	}
	s.sent = append(s.sent, statement)
	for prefix, answers := range s.answers {
		if strings.HasPrefix(statement, prefix) && len(answers) > 0 {
			s.answers[prefix] = answers[1:]
			return answers[0]
		}
	}
	return nil
}

func (s *server) pool(t *testing.T) *sql.DB {
	db := sql.OpenDB(s)
	t.Cleanup(func() { db.Close() })
	return db
}

func (s *server) conn(t *testing.T) *sql.Conn {
	t.Helper()
	conn, err := s.pool(t).Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// begin starts a branch, and forgets what was sent for it.
func (s *server) begin(t *testing.T, opts *sql.TxOptions) drivers.Branch {
	t.Helper()
	b, err := New().Begin(t.Context(), s.conn(t), xid, opts)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	s.sent = nil
	return b
}

func (s *server) wantSent(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(s.sent, want) {
		t.Errorf("sent %q, want %q", s.sent, want)
	}
}

func (s *server) Connect(context.Context) (driver.Conn, error) { return &scriptConn{s}, nil }
func (s *server) Driver() driver.Driver                        { return nil }

type scriptConn struct{ *server }

func (c *scriptConn) Prepare(string) (driver.Stmt, error) { return nil, fmt.Errorf("must not prepare") }
func (c *scriptConn) Close() error                        { return nil }
func (c *scriptConn) Begin() (driver.Tx, error)           { return nil, fmt.Errorf("must not begin") }

func (c *scriptConn) ExecContext(_ context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(0), c.answer(query)
}

func (c *scriptConn) QueryContext(_ context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.answer(query); err != nil {
		return nil, err
	}
	switch {
	case strings.HasPrefix(query, "SELECT @@log_bin"):
		row := []driver.Value{c.unlogged, int64(c.flavour), c.isolation, c.lock}
		if c.flavour == 0 {
			row = row[:1]
		}
		return &scriptRows{[][]driver.Value{row}}, nil
	case query == "XA RECOVER":
		var rows scriptRows
		for _, x := range c.recover {
			rows.left = append(rows.left, []driver.Value{int64(x.FormatID), int64(len(x.GTRID)), int64(len(x.BQual)), []byte(x.GTRID + x.BQual)})
		}
		return &rows, nil
	case query == "SHOW FULL PROCESSLIST":
		return &scriptRows{}, nil
	case strings.HasPrefix(query, "SELECT CONCAT("):
		return &scriptRows{[][]driver.Value{{"0"}}}, nil
	case strings.HasPrefix(query, "SELECT IS_USED_LOCK"):
		return &scriptRows{[][]driver.Value{{nil}}}, nil
	case strings.HasPrefix(query, "SELECT 0 /*M!100502"):
		return &scriptRows{[][]driver.Value{{c.flavour == mariaDB, false}}}, nil
	case strings.HasPrefix(query, "SELECT t.trx_mysql_thread_id"):
		return c.snapshot()
	case strings.HasPrefix(query, "SELECT 0 /*M!"):
		return &scriptRows{[][]driver.Value{{c.flavour == mariaDB}}}, nil
	}
	return nil, fmt.Errorf("no answer to %q", query)
}

// snapshot is what InnoDB shows.
type snapshot struct {
	stale   bool
	leaving []int64 // the sessions that are at their end and have a transaction
	more    int     // transactions
}

func (s *server) snapshot() (driver.Rows, error) {
	if len(s.snapshots) == 0 {
		return nil, serverError(errAccessDenied)
	}
	now := s.snapshots[0]
	if len(s.snapshots) > 1 {
		s.snapshots = s.snapshots[1:]
	}
	rows := &scriptRows{[][]driver.Value{{int64(1), false, !now.stale}}}
	for _, id := range now.leaving {
		rows.left = append(rows.left, []driver.Value{id, true, false})
	}
	for range now.more {
		rows.left = append(rows.left, []driver.Value{int64(0), false, false})
	}
	return rows, nil
}

type scriptRows struct{ left [][]driver.Value }

func (r *scriptRows) Columns() []string {
	if len(r.left) == 0 {
		return make([]string, 4)
	}
	return make([]string, len(r.left[0]))
}
func (r *scriptRows) Close() error { return nil }
func (r *scriptRows) Next(to []driver.Value) error {
	if len(r.left) == 0 {
		return io.EOF
	}
	copy(to, r.left[0])
	r.left = r.left[1:]
	return nil
}

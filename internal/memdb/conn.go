package memdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// conn is the client's end of a connection, as database/sql sees it.
type conn struct {
	db      *DB
	session *session
}

// broken reports whether the connection is of no more use.
func (c *conn) broken() bool {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	return c.session.cut
}

// breakOff ends the connection, and the server notices at once.
func (c *conn) breakOff() {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	c.db.endSession(c.session)
}

func (c *conn) Close() error {
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	if !c.session.cut {
		c.db.endSession(c.session)
	}
	return nil
}

// IsValid is called when the connection goes back to the pool.
func (c *conn) IsValid() bool {
	if c.broken() {
		return false
	}
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	if t := c.session.open(); t != nil {
		what := "local transaction"
		if !t.local() {
			what = "branch " + t.xid.String()
		}
		c.db.violations = append(c.db.violations, fmt.Sprintf("%s: connection pooled inside %s", c.db.name, what))
	}
	return true
}

// ResetSession is called when the connection is taken from the pool. It repairs nothing: like real drivers.
func (c *conn) ResetSession(context.Context) error {
	if c.broken() {
		return driver.ErrBadConn
	}
	return nil
}

func (c *conn) Ping(ctx context.Context) error { return c.ResetSession(ctx) }

func (c *conn) do(ctx context.Context, query string, args []driver.NamedValue) (r reply, err error) {
	if c.broken() {
		return reply{}, driver.ErrBadConn
	}
	err = c.db.run(ctx, OpStatement, c, func() (err error) {
		r, err = c.session.execute(ctx, query, args)
		return err
	})
	return r, err
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	r, err := c.do(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return driver.RowsAffected(r.affected), nil
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	r, err := c.do(ctx, query, args)
	if err != nil {
		return nil, err
	}
	return &rows{reply: r}, nil
}

func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if c.broken() {
		return nil, driver.ErrBadConn
	}
	c.db.mu.Lock()
	defer c.db.mu.Unlock()
	t, err := c.session.begin(drivers.XID{}, &sql.TxOptions{Isolation: sql.IsolationLevel(opts.Isolation), ReadOnly: opts.ReadOnly})
	if err != nil {
		return nil, err
	}
	return &localTx{c, t}, nil
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	if c.broken() {
		return nil, driver.ErrBadConn
	}
	return &stmt{c, query}, nil
}

// localTx is an ordinary transaction of database/sql.
type localTx struct {
	conn *conn
	txn  *txn
}

func (l *localTx) Commit() error   { return l.finish(true) }
func (l *localTx) Rollback() error { return l.finish(false) }

func (l *localTx) finish(commit bool) error {
	if l.conn.broken() {
		return driver.ErrBadConn
	}
	d := l.conn.db
	d.mu.Lock()
	defer d.mu.Unlock()
	if l.txn.state == finished {
		return driver.ErrBadConn
	}
	aborted := l.txn.aborted
	d.finish(l.txn, commit && aborted == nil)
	if commit && aborted != nil {
		return fmt.Errorf("memdb: the transaction was rolled back: %w", aborted)
	}
	return nil
}

// stmt is a prepared statement: its text.
type stmt struct {
	conn  *conn
	query string
}

func (s *stmt) Close() error { return nil }

func (s *stmt) NumInput() int {
	n := 0
	for _, w := range strings.Fields(s.query) {
		if w == "?" {
			n++
		}
	}
	return n
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}

func (s *stmt) Exec(args []driver.Value) (driver.Result, error) {
	return s.ExecContext(context.Background(), named(args))
}

func (s *stmt) Query(args []driver.Value) (driver.Rows, error) {
	return s.QueryContext(context.Background(), named(args))
}

func named(args []driver.Value) []driver.NamedValue {
	n := make([]driver.NamedValue, len(args))
	for i, v := range args {
		n[i] = driver.NamedValue{Ordinal: i + 1, Value: v}
	}
	return n
}

// rows gives a reply as rows.
type rows struct{ reply reply }

func (r *rows) Columns() []string {
	if r.reply.column == "" {
		return nil
	}
	return []string{r.reply.column}
}

func (r *rows) Close() error { return nil }

func (r *rows) Next(dest []driver.Value) error {
	if r.reply.value == nil {
		return io.EOF
	}
	dest[0], r.reply.value = *r.reply.value, nil
	return nil
}

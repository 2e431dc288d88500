package drivertest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"regexp"
	"sync"
)

// NewLossy returns a Lossy over any database/sql driver. Its two-phase statements are those whose text matches. It is of use only
// for a driver under test that sends them as text through database/sql: its connections are not the engine's own type
// to those who ask by sql.Conn.Raw.
func NewLossy(connector driver.Connector, match *regexp.Regexp) Lossy {
	l := &loss{match: match}
	return Lossy{DB: sql.OpenDB(lossyConnector{connector, l}), Lose: l.lose}
}

// loss is what the connections of a lossy pool have in common.
type loss struct {
	match *regexp.Regexp

	mu    sync.Mutex // guards what follows
	armed bool       // the next matching statement's reply is lost
	log   bool
	sent  []string
}

func (l *loss) lose(f func()) []string {
	l.mu.Lock()
	l.armed, l.log, l.sent = true, true, nil
	l.mu.Unlock()
	f()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.armed, l.log = false, false
	return l.sent
}

// lost notes a statement, and reports whether its reply is to be lost.
func (l *loss) lost(query string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.log || !l.match.MatchString(query) {
		return false
	}
	l.sent = append(l.sent, query)
	armed := l.armed
	l.armed = false
	return armed
}

type lossyConnector struct {
	driver.Connector
	loss *loss
}

func (c lossyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &lossyConn{Conn: conn, loss: c.loss}, nil
}

// Close closes the connector, if it wants that: sql.DB.Close calls it.
func (c lossyConnector) Close() error {
	if closer, ok := c.Connector.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

// lossyConn passes everything on. Where the engine's connection lacks one of database/sql's optional
// interfaces, it answers what database/sql takes for that.
type lossyConn struct {
	driver.Conn
	loss *loss
	dead bool // its reply was lost
}

func (c *lossyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	inner, ok := c.Conn.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	if c.dead {
		return nil, driver.ErrBadConn
	}
	lost := c.loss.lost(query)
	result, err := inner.ExecContext(ctx, query, args)
	if lost {
		c.dead = true
		return nil, driver.ErrBadConn
	}
	return result, err
}

func (c *lossyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	inner, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	if c.dead {
		return nil, driver.ErrBadConn
	}
	lost := c.loss.lost(query)
	rows, err := inner.QueryContext(ctx, query, args)
	if lost {
		if err == nil {
			rows.Close()
		}
		c.dead = true
		return nil, driver.ErrBadConn
	}
	return rows, err
}

func (c *lossyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if inner, ok := c.Conn.(driver.ConnPrepareContext); ok {
		return inner.PrepareContext(ctx, query)
	}
	return c.Conn.Prepare(query)
}

func (c *lossyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if inner, ok := c.Conn.(driver.ConnBeginTx); ok {
		return inner.BeginTx(ctx, opts)
	}
	return c.Conn.Begin() //nolint:staticcheck // what database/sql itself does
}

func (c *lossyConn) Ping(ctx context.Context) error {
	if inner, ok := c.Conn.(driver.Pinger); ok {
		return inner.Ping(ctx)
	}
	return nil
}

func (c *lossyConn) ResetSession(ctx context.Context) error {
	if c.dead {
		return driver.ErrBadConn
	}
	if inner, ok := c.Conn.(driver.SessionResetter); ok {
		return inner.ResetSession(ctx)
	}
	return nil
}

func (c *lossyConn) IsValid() bool {
	if inner, ok := c.Conn.(driver.Validator); ok && !inner.IsValid() {
		return false
	}
	return !c.dead
}

func (c *lossyConn) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := c.Conn.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

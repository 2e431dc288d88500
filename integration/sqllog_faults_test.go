package integration

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strings"
	"sync"
	"time"
)

// faultyConnector opens connections of which a test decides what becomes of their statements.
type faultyConnector struct {
	driver.Connector
	faults *faults
}

// faults are what a test wants to happen to statements that hold a text.
type faults struct {
	mu     sync.Mutex
	refuse map[string]bool   // they fail without being sent
	lose   map[string]bool   // the next is executed, but its answer and its connection are lost
	look   func(driver.Conn) // is called with the connection before each statement, while nobody else uses that
}

var errInjected = errors.New("injected fault")

func newFaults() *faults { return &faults{refuse: map[string]bool{}, lose: map[string]bool{}} }

// set makes statements with this text be refused from now on, or no more.
func (f *faults) set(text string, refuse bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse[text] = refuse
}

// before has the connection of each statement looked at from now on.
func (f *faults) before(look func(driver.Conn)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look = look
}

func (f *faults) looker() func(driver.Conn) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look
}

// loseNext loses the answer of the next statement with this text.
func (f *faults) loseNext(text string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lose[text] = true
}

func (f *faults) refuses(query string) (refused bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for text, on := range f.refuse {
		refused = refused || on && strings.Contains(query, text)
	}
	return refused
}

func (f *faults) loses(query string) (lost bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for text, on := range f.lose {
		if on && strings.Contains(query, text) {
			lost, f.lose[text] = true, false
		}
	}
	return lost
}

func (c faultyConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return &faultyConn{Conn: conn, faults: c.faults}, nil
}

// Close closes the connector, if it wants that: sql.DB.Close calls it.
func (c faultyConnector) Close() error {
	if closer, ok := c.Connector.(io.Closer); ok {
		return closer.Close()
	}
	return nil
}

type faultyConn struct {
	driver.Conn
	faults *faults
	dead   bool
}

func (c *faultyConn) run(query string, send func() error) error {
	switch {
	case c.dead:
		return driver.ErrBadConn
	case c.faults.refuses(query):
		return errInjected
	}
	if look := c.faults.looker(); look != nil {
		look(c.Conn)
	}
	err := send()
	if !errors.Is(err, driver.ErrSkip) && c.faults.loses(query) {
		c.dead = true
		return driver.ErrBadConn
	}
	return err
}

// A member with the brief lease renews it as often as that wants, and has the long one on the server: no machine stands still for so long that
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
	inner, ok := c.Conn.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	err = c.run(query, func() (err error) {
		result, err = inner.ExecContext(ctx, query, args)
		return err
	})
	return result, err
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (rows driver.Rows, err error) {
	inner, ok := c.Conn.(driver.QueryerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	err = c.run(query, func() (err error) {
		rows, err = inner.QueryContext(ctx, query, args)
		return err
	})
	if err != nil && rows != nil {
		rows.Close()
	}
	return rows, err
}

func (c *faultyConn) PrepareContext(ctx context.Context, query string) (stmt driver.Stmt, err error) {
	if inner, ok := c.Conn.(driver.ConnPrepareContext); ok {
		stmt, err = inner.PrepareContext(ctx, query)
	} else {
		stmt, err = c.Conn.Prepare(query)
	}
	if err != nil {
		return nil, err
	}
	return &faultyStmt{stmt, c, query}, nil
}

// faultyStmt is what go-sql-driver makes of a statement with parameters, which it skips at first.
type faultyStmt struct {
	driver.Stmt
	conn  *faultyConn
	query string
}

func (s *faultyStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	prolong(s.query, args)
	err = s.conn.run(s.query, func() (err error) {
		result, err = s.Stmt.(driver.StmtExecContext).ExecContext(ctx, args)
		return err
	})
	return result, err
}

func (s *faultyStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (rows driver.Rows, err error) {
	err = s.conn.run(s.query, func() (err error) {
		rows, err = s.Stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
		return err
	})
	if err != nil && rows != nil {
		rows.Close()
	}
	return rows, err
}

func (s *faultyStmt) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := s.Stmt.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return s.conn.CheckNamedValue(v)
}

func (c *faultyConn) CheckNamedValue(v *driver.NamedValue) error {
	if inner, ok := c.Conn.(driver.NamedValueChecker); ok {
		return inner.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

func (c *faultyConn) ResetSession(ctx context.Context) error {
	if inner, ok := c.Conn.(driver.SessionResetter); ok {
		return inner.ResetSession(ctx)
	}
	return nil
}

func (c *faultyConn) IsValid() bool {
	inner, ok := c.Conn.(driver.Validator)
	return !c.dead && (!ok || inner.IsValid())
}

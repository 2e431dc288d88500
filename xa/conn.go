package xa

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
)

// conn is what database/sql sees of a branch's pinned connection: the application's statements go
// through it to the driver's own connection, which the branch keeps. Closing it ends their use of the connection, no more. So
// the application has real *sql.Rows, *sql.Stmt and *sql.Tx, and the branch knows what is open.
type conn struct {
	b *Branch
	// joined: it was made for a statement of Manager.DB's handle; its local rollback marks the transaction.
	joined bool
}

// use takes the connection for one call of the driver, under a context that ends with the transaction's lifetime
// too. When it returns no error, done must be called after the call, and release when the context is needed no more.
func (b *Branch) use(ctx context.Context) (raw driver.Conn, joined context.Context, release func(), err error) {
	b.io.Lock()
	if b.raw == nil {
		b.io.Unlock()
		return nil, nil, nil, b.over()
	}
	joined, release = b.tx.join(ctx)
	return b.raw, joined, release, nil
}

func (b *Branch) over() error {
	b.tx.mu.Lock()
	defer b.tx.mu.Unlock()
	return b.tx.endedError()
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	raw, ctx, release, err := c.b.use(ctx)
	if err != nil {
		return nil, err
	}
	defer c.b.io.Unlock()
	defer release()
	x, ok := raw.(driver.ExecerContext)
	if !ok {
		return nil, driver.ErrSkip
	}
	res, err := x.ExecContext(ctx, query, args)
	return res, c.b.explain(ctx, err)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	raw, ctx, release, err := c.b.use(ctx)
	if err != nil {
		return nil, err
	}
	defer c.b.io.Unlock()
	x, ok := raw.(driver.QueryerContext)
	if !ok {
		release()
		return nil, driver.ErrSkip
	}
	r, err := x.QueryContext(ctx, query, args)
	return c.b.opened(ctx, r, err, release)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	raw, ctx, release, err := c.b.use(ctx)
	if err != nil {
		return nil, err
	}
	defer c.b.io.Unlock()
	defer release()
	var s driver.Stmt
	if p, ok := raw.(driver.ConnPrepareContext); ok {
		s, err = p.PrepareContext(ctx, query)
	} else {
		s, err = raw.Prepare(query)
	}
	if err != nil {
		return nil, c.b.explain(ctx, err)
	}
	own := &stmt{b: c.b, raw: s}
	c.b.stmts[own] = struct{}{}
	return own, nil
}

// Prepare is for the interface only: database/sql calls PrepareContext.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// CheckNamedValue hands the check to the driver, so that its own types work.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	c.b.io.Lock()
	defer c.b.io.Unlock()
	if check, ok := c.b.raw.(driver.NamedValueChecker); ok {
		return check.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

// Close ends nothing but database/sql's use of the connection.
func (c *conn) Close() error { return nil }

// Begin is for the interface only: database/sql calls BeginTx.
func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

// BeginTx starts nothing: the connection is inside the branch already.
func (c *conn) BeginTx(_ context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if own := c.b.tx.branchOptions(); opts.Isolation != 0 && opts.Isolation != driver.IsolationLevel(own.Isolation) {
		return nil, fmt.Errorf("branch %s: the global transaction's isolation level is %v: set it in TxOptions of Begin or Do", c.b.res.Name, own.Isolation)
	}
	return localTx{c}, nil
}

// localTx is the application's own *sql.Tx inside a branch.
type localTx struct{ c *conn }

// Commit ends the local use; the commit stays with the global transaction.
func (localTx) Commit() error { return nil }

// Rollback marks the global transaction: what was done locally can't be undone alone.
func (l localTx) Rollback() error {
	if l.c.joined {
		l.c.b.tx.SetRollbackOnly(fmt.Errorf("branch %s: its local transaction was rolled back", l.c.b.res.Name))
	}
	return nil
}

// stmt is a prepared statement of the driver's, run through the branch.
type stmt struct {
	b      *Branch
	raw    driver.Stmt
	closed bool // guarded by b.io
}

// end closes the driver's statement. b.io is held.
func (s *stmt) end() error {
	if s.closed {
		return nil
	}
	s.closed = true
	delete(s.b.stmts, s)
	return s.raw.Close()
}

func (s *stmt) Close() error {
	s.b.io.Lock()
	defer s.b.io.Unlock()
	return s.end()
}

func (s *stmt) NumInput() int { return s.raw.NumInput() }

// Exec and Query are for the interface only: database/sql calls the variants with a context.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errNoContext }
func (s *stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errNoContext }

var errNoContext = errors.New("call the variant with a context")

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	_, ctx, release, err := s.b.use(ctx)
	if err != nil {
		return nil, err
	}
	defer s.b.io.Unlock()
	defer release()
	var res driver.Result
	if x, ok := s.raw.(driver.StmtExecContext); ok {
		res, err = x.ExecContext(ctx, args)
	} else if v, plainErr := plainValues(args); plainErr != nil {
		err = plainErr
	} else {
		res, err = s.raw.Exec(v)
	}
	return res, s.b.explain(ctx, err)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	_, ctx, release, err := s.b.use(ctx)
	if err != nil {
		return nil, err
	}
	defer s.b.io.Unlock()
	var r driver.Rows
	if x, ok := s.raw.(driver.StmtQueryContext); ok {
		r, err = x.QueryContext(ctx, args)
	} else if v, plainErr := plainValues(args); plainErr != nil {
		err = plainErr
	} else {
		r, err = s.raw.Query(v)
	}
	return s.b.opened(ctx, r, err, release)
}

// CheckNamedValue does what database/sql would do with the driver's own statement: ask the statement, then the connection, then
// the statement's older interface.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	s.b.io.Lock()
	defer s.b.io.Unlock()
	err := driver.ErrSkip
	if check, ok := s.raw.(driver.NamedValueChecker); ok {
		err = check.CheckNamedValue(v)
	} else if check, ok := s.b.raw.(driver.NamedValueChecker); ok {
		err = check.CheckNamedValue(v)
	}
	if err != driver.ErrSkip {
		return err
	}
	if c, ok := s.raw.(driver.ColumnConverter); ok {
		v.Value, err = c.ColumnConverter(v.Ordinal - 1).ConvertValue(v.Value)
		return err
	}
	return driver.ErrSkip
}

// plainValues are the arguments for a driver that knows no named ones.
func plainValues(args []driver.NamedValue) ([]driver.Value, error) {
	values := make([]driver.Value, len(args))
	for i, a := range args {
		if a.Name != "" {
			return nil, errors.New("the driver does not support named parameters")
		}
		values[i] = a.Value
	}
	return values, nil
}

package xa

import (
	"context"
	"database/sql/driver"
	"errors"
)

// stmt is a prepared statement of the driver's, run where its connection leads.
type stmt struct {
	c      *conn
	b      *Branch // nil: outside of a branch
	raw    driver.Stmt
	closed bool // guarded by b.io
}

// convertingStmt is a statement of an older driver, which converts arguments by column.
type convertingStmt struct{ *stmt }

func (s convertingStmt) ColumnConverter(i int) driver.ValueConverter {
	return s.raw.(driver.ColumnConverter).ColumnConverter(i)
}

// newStmt takes over the driver's statement. b.io is held.
func newStmt(c *conn, raw driver.Stmt) driver.Stmt {
	s := &stmt{c: c, b: c.b, raw: raw}
	c.stmts++
	if s.b != nil {
		s.b.stmts[s] = struct{}{}
	}
	if _, ok := raw.(driver.ColumnConverter); ok {
		return convertingStmt{s}
	}
	return s
}

// end closes the driver's statement. b.io is held.
func (s *stmt) end() error {
	if s.closed {
		return nil
	}
	s.closed = true
	if s.b != nil {
		delete(s.b.stmts, s)
	}
	return s.raw.Close()
}

func (s *stmt) Close() error {
	s.c.stmts--
	if s.b == nil {
		return s.end()
	}
	if !s.b.lock() {
		return nil // the transaction's end closes it
	}
	defer s.b.io.Unlock()
	return s.end()
}

func (s *stmt) NumInput() int { return s.raw.NumInput() }

// Exec and Query are for the interface only: database/sql calls the variants with a context.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errNoContext }
func (s *stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errNoContext }

var errNoContext = errors.New("call the variant with a context")

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	u, err := s.c.use(ctx)
	if err != nil {
		return nil, err
	}
	defer u.end()
	defer u.release()
	var res driver.Result
	if x, ok := s.raw.(driver.StmtExecContext); ok {
		res, err = x.ExecContext(u.ctx, args)
	} else if v, plainErr := plainValues(u.ctx, args); plainErr != nil {
		err = plainErr
	} else {
		res, err = s.raw.Exec(v) //nolint:staticcheck // older drivers have no other
	}
	return res, u.explain(err)
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	u, err := s.c.use(ctx)
	if err != nil {
		return nil, err
	}
	defer u.end()
	var r driver.Rows
	if x, ok := s.raw.(driver.StmtQueryContext); ok {
		r, err = x.QueryContext(u.ctx, args)
	} else if v, plainErr := plainValues(u.ctx, args); plainErr != nil {
		err = plainErr
	} else {
		r, err = s.raw.Query(v) //nolint:staticcheck // older drivers have no other
	}
	return u.rows(r, err)
}

// CheckNamedValue asks the statement, then the connection, as database/sql does.
func (s *stmt) CheckNamedValue(v *driver.NamedValue) error {
	if s.b != nil {
		return s.b.check(v, s.raw)
	}
	return checkOn(v, s.raw, s.c.plain.raw)
}

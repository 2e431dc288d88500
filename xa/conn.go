package xa

import (
	"context"
	"database/sql/driver"
)

// conn is what database/sql sees of a connection: the application's statements go through it to the driver's own, which a branch or the
// resource's pool keeps. Closing it ends their use of that, no more. So the application has real *sql.Rows, *sql.Stmt
// and *sql.Tx, a branch knows what is open, and each statement is where its context belongs.
//
// database/sql calls one of its methods at a time.
type conn struct {
	r     *resource
	own   bool    // it is behind a Branch's own methods, and leads there for ever
	b     *Branch // where it leads: to a branch,
	plain *plain  // or to a connection of the pool, or to neither before its next use's context is known
	stray bool    // database/sql's opener made it, for somebody who waits
	stmts int     // open prepared statements

	unchecked bool // arguments were let through before it led anywhere
}

// use is one call of the driver's.
type use struct {
	c       *conn
	raw     driver.Conn
	ctx     context.Context // ends with the transaction's lifetime too
	release func()          // to be called when ctx is needed no more
}

// use takes the driver's connection for one call. When it returns no error, end must be called after the call, and release
// when the context is needed no more.
func (c *conn) use(ctx context.Context) (use, error) {
	if err := c.reach(ctx); err != nil {
		return use{}, err
	}
	if c.b == nil {
		return use{c: c, raw: c.plain.raw, ctx: ctx, release: func() {}}, nil
	}
	if err := c.b.acquire(ctx); err != nil { // nothing has been sent: the branch goes on, as a plain transaction does
		return use{}, err
	}
	joined, release := c.b.tx.join(ctx)
	return use{c: c, raw: c.b.raw, ctx: joined, release: release}, nil
}

func (u use) end() {
	if u.c.b != nil {
		u.c.b.io.Unlock()
	}
}

// explain returns the error that the application should see.
func (u use) explain(err error) error {
	if u.c.b != nil {
		return u.c.b.explain(u.ctx, err)
	}
	return u.c.plain.note(err)
}

// rows makes a branch know that a query's rows are open.
func (u use) rows(r driver.Rows, err error) (driver.Rows, error) {
	if u.c.b != nil {
		return u.c.b.opened(u.ctx, r, err, u.release)
	}
	return r, u.explain(err)
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	u, err := c.use(ctx)
	if err != nil {
		return nil, err
	}
	defer u.end()
	defer u.release()
	if args, err = c.check(u.raw, args); err != nil {
		return nil, err
	}
	res, err := execOn(u.ctx, u.raw, query, args)
	return res, u.explain(err)
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	u, err := c.use(ctx)
	if err != nil {
		return nil, err
	}
	defer u.end()
	if args, err = c.check(u.raw, args); err != nil {
		u.release()
		return nil, err
	}
	r, err := queryOn(u.ctx, u.raw, query, args)
	if err == driver.ErrSkip {
		u.release()
		return nil, err
	}
	return u.rows(r, err)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	u, err := c.use(ctx)
	if err != nil {
		return nil, err
	}
	defer u.end()
	defer u.release()
	raw, err := prepareOn(u.ctx, u.raw, query)
	if err != nil {
		return nil, u.explain(err)
	}
	return newStmt(c, raw), nil
}

// Prepare is for the interface only: database/sql calls PrepareContext.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// Ping asks the driver, where it can be asked.
func (c *conn) Ping(ctx context.Context) error {
	u, err := c.use(ctx)
	if err != nil {
		return err
	}
	defer u.end()
	defer u.release()
	if p, ok := u.raw.(driver.Pinger); ok {
		return u.explain(p.Ping(u.ctx))
	}
	return nil
}

// CheckNamedValue hands the check to the driver, so that its own types work.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	switch {
	case c.b == nil && c.plain == nil:
		c.unchecked = true
		return nil
	case c.b != nil:
		return c.b.check(v, nil)
	case prepares(c.plain.raw):
		return nil
	}
	return checkOn(v, c.plain.raw)
}

// check makes up for the checks that could not be made, as database/sql makes them.
func (c *conn) check(raw driver.Conn, args []driver.NamedValue) ([]driver.NamedValue, error) {
	late := c.unchecked
	c.unchecked = false
	if !late || prepares(raw) {
		return args, nil
	}
	kept := args[:0:0]
	for _, v := range args {
		v.Ordinal = len(kept) + 1
		err := checkOn(&v, raw)
		if err == driver.ErrSkip {
			v.Value, err = driver.DefaultParameterConverter.ConvertValue(v.Value)
		}
		switch err {
		case nil:
			kept = append(kept, v)
		case driver.ErrRemoveArgument:
		default:
			return nil, err
		}
	}
	return kept, nil
}

// ResetSession is called when the connection's shell is used again, and decides anew where it leads. What can't be had
// now database/sql asks for again, until it gets the cause from Connect.
func (c *conn) ResetSession(ctx context.Context) error {
	if c.own {
		return nil
	}
	c.stray = false
	if err := c.reach(ctx); err != nil {
		return driver.ErrBadConn
	}
	return nil
}

// IsValid is called when a use is over: what it led to is given back. The shell may be used again where nothing is
// left that belongs to that.
func (c *conn) IsValid() bool {
	if c.own || c.stmts > 0 || c.plain != nil && c.plain.bad {
		return false
	}
	c.Close()
	return true
}

// Close ends nothing but database/sql's use of the connection.
func (c *conn) Close() (err error) {
	if c.plain != nil {
		err = c.plain.giveBack()
	}
	c.b, c.plain, c.unchecked = nil, nil, false
	return err
}

// Begin is for the interface only: database/sql calls BeginTx.
func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

// BeginTx starts nothing in a branch: its connection is inside already.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	u, err := c.use(ctx)
	if err != nil {
		return nil, err
	}
	defer u.end()
	defer u.release()
	switch {
	case c.own:
		return ownTx{}, nil
	case c.b != nil:
		return c.b.beginLocal(opts)
	}
	raw, err := beginOn(u.ctx, u.raw, opts)
	if err != nil {
		return nil, u.explain(err)
	}
	return plainTx{raw: raw, ctx: ctx, p: c.plain}, nil
}

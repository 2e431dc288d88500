package xa

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// DB returns the drop-in handle of a resource, nil where no resource has that name: a real *sql.DB for code that knows
// no more than *sql.DB and *sql.Tx. Under the context that [Manager.Do] gave to its function, or one of [NewContext], its statements run inside that
// transaction's branch: a *sql.Tx begun there is real, its Commit ends the local use, its Rollback marks the global
// transaction rollback-only. Under any other context it is an ordinary handle over the resource's pool. The same handle is returned each time; it ends with the
// manager.
func (m *Manager) DB(resource string) *sql.DB {
	if r := m.resources[resource]; r != nil {
		return r.handle
	}
	return nil
}

// newHandle makes the handle. It pools nothing: connections are the branch's, or the resource's pool's.
func newHandle(r *resource) *sql.DB {
	db := sql.OpenDB(connector{r})
	db.SetMaxIdleConns(-1)
	return db
}

// branchKey is the key of the branch whose own connection is wanted.
type branchKey struct{}

// connector gives database/sql the connection that belongs to the context.
type connector struct{ r *resource }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	if b, ok := ctx.Value(branchKey{}).(*Branch); ok {
		return &conn{b: b}, nil
	}
	tx, ok := FromContext(ctx)
	if !ok {
		return c.plain(ctx)
	}
	if tx.m != c.r.m {
		return nil, errors.New("xa: the context carries a transaction of another manager")
	}
	b, err := tx.Branch(ctx, c.r.Name)
	if err != nil {
		return nil, err
	}
	return &conn{b: b, joined: true}, nil
}

// plain borrows a connection of the resource's pool.
func (c connector) plain(ctx context.Context) (driver.Conn, error) {
	pooled, err := c.r.DB.Conn(ctx)
	if err != nil {
		return nil, err
	}
	p := &plainConn{pooled: pooled}
	err = pooled.Raw(func(raw any) error {
		var ok bool
		if p.Conn, ok = raw.(driver.Conn); !ok {
			return fmt.Errorf("xa: its connection is a %T, which is no driver.Conn", raw)
		}
		return nil
	})
	if err != nil {
		pooled.Close()
		return nil, err
	}
	return p, nil
}

// Driver returns the driver of the resource's own pool.
func (c connector) Driver() driver.Driver { return c.r.DB.Driver() }

// plainConn is a borrowed connection outside of any global transaction: closing it gives it back to the
// pool. It is pinned to its one user meanwhile, so it may be used outside of Raw's function.
type plainConn struct {
	driver.Conn
	pooled *sql.Conn
}

func (p *plainConn) Close() error { return p.pooled.Close() }

func (p *plainConn) Ping(ctx context.Context) error {
	if x, ok := p.Conn.(driver.Pinger); ok {
		return x.Ping(ctx)
	}
	return nil
}

func (p *plainConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if x, ok := p.Conn.(driver.ExecerContext); ok {
		return x.ExecContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}

func (p *plainConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if x, ok := p.Conn.(driver.QueryerContext); ok {
		return x.QueryContext(ctx, query, args)
	}
	return nil, driver.ErrSkip
}

func (p *plainConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if x, ok := p.Conn.(driver.ConnPrepareContext); ok {
		return x.PrepareContext(ctx, query)
	}
	return p.Conn.Prepare(query)
}

func (p *plainConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if x, ok := p.Conn.(driver.ConnBeginTx); ok {
		return x.BeginTx(ctx, opts)
	}
	if opts.Isolation != 0 || opts.ReadOnly {
		return nil, errors.New("xa: the driver supports neither isolation levels nor read-only transactions")
	}
	return p.Conn.Begin() //nolint:staticcheck // the driver has no other
}

func (p *plainConn) CheckNamedValue(v *driver.NamedValue) error {
	if x, ok := p.Conn.(driver.NamedValueChecker); ok {
		return x.CheckNamedValue(v)
	}
	return driver.ErrSkip
}

package xa

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math"
)

// DB returns the drop-in handle of a resource, nil where no resource has that name: a real *sql.DB for code that knows
// no more than *sql.DB and *sql.Tx. The same handle is returned each time; it ends with the manager, and closing it closes
// neither the resource's pool nor any branch.
//
// Under the context that [Manager.Do] gave to its function, or one of [NewContext], everything that is asked of the handle runs
// inside that transaction's branch: statements, statements prepared on the handle before or meanwhile, Conn, and BeginTx. A *sql.Tx begun there
// is real. Its Commit ends the local use; it fails where the global transaction can't commit any more. Its Rollback marks
// the global transaction rollback-only, and so does one that is neither committed nor rolled back when the global transaction
// commits. While it is open a second BeginTx in the same branch is refused, from another goroutine too: the two would share one connection, and with
// it each other's changes and rollback. A savepoint is a statement, and may be used: ORMs nest their transactions so. An isolation level in BeginTx's options may be what
// [TxOptions] ask for (by default: read committed) or weaker; that the local transaction only reads is not enforced.
//
// Under any other context the handle is an ordinary one over the resource's pool, whose limits hold. A *sql.Conn or *sql.Tx that was
// taken outside of a transaction, or inside another, refuses that transaction's context: nothing slips out of it unseen.
// NewContext(ctx, nil) steps out on purpose.
//
// The handle pools nothing: limits belong on the resource's pool. Its own limits and Stats count its uses, and idle ones are empty. Statements
// prepared on it are prepared anew for each use. What database/sql passes to the function of Conn.Raw is the handle's: use [Raw] for
// the driver's own connection.
func (m *Manager) DB(resource string) *sql.DB {
	if r := m.resources[resource]; r != nil {
		return r.handle
	}
	return nil
}

// newHandle makes the handle. What it keeps idle are empty shells: without one at hand database/sql would have
// its opener make those that somebody waits for, under a context that tells nothing.
func newHandle(r *resource) *sql.DB {
	db := sql.OpenDB(connector{r})
	db.SetMaxIdleConns(math.MaxInt32)
	return db
}

// newBranches makes the handle behind every Branch's own methods. No limit of the application's concerns it.
func newBranches(r *resource) *sql.DB {
	db := sql.OpenDB(branchConnector{connector{r}})
	db.SetMaxIdleConns(-1)
	return db
}

// connector gives database/sql the connection that belongs to the context.
type connector struct{ r *resource }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	own := &conn{r: c.r}
	if _, ok := FromContext(ctx); !ok && c.r.handle.Stats().MaxOpenConnections > 0 && calledFrom("database/sql.(*DB).connectionOpener") {
		own.stray = true // somebody waits for it, and it is their context that counts
		return own, nil
	}
	if err := own.bind(ctx); err != nil {
		return nil, err
	}
	return own, nil
}

// Driver returns the driver of the resource's own pool.
func (c connector) Driver() driver.Driver { return c.r.DB.Driver() }

// branchKey is the key of the branch whose own connection is wanted.
type branchKey struct{}

// branchConnector gives a branch's own connection.
type branchConnector struct{ connector }

func (c branchConnector) Connect(ctx context.Context) (driver.Conn, error) {
	return &conn{r: c.r, b: ctx.Value(branchKey{}).(*Branch), own: true}, nil
}

// bind decides by the context where the connection leads.
func (c *conn) bind(ctx context.Context) error {
	tx, ok := FromContext(ctx)
	if !ok {
		p, err := borrow(ctx, c.r.DB)
		c.plain = p
		return err
	}
	if tx.m != c.r.m {
		return fmt.Errorf("xa: the context carries transaction %s of another manager: use that manager's DB(%q), or take NewContext(ctx, nil) to step out of it", tx.id, c.r.Name)
	}
	b, err := tx.Branch(ctx, c.r.Name)
	if err == nil {
		c.b = b
	}
	return err
}

// reach makes sure that the connection leads to where the context belongs. One that database/sql has pinned for the application
// keeps its place, and refuses the context of a transaction that it is not in.
func (c *conn) reach(ctx context.Context) error {
	if c.own {
		return nil
	}
	tx, ok := FromContext(ctx)
	switch {
	case c.b == nil && c.plain == nil:
		if c.stray && !ok && calledFrom("database/sql.(*Conn).") {
			return errStray
		}
		return c.bind(ctx)
	case !ok, c.b != nil && c.b.tx == tx:
		return nil
	case c.b != nil:
		return fmt.Errorf("xa: this *sql.Conn or *sql.Tx belongs to global transaction %s, and the context carries %s: take one under that context", c.b.tx.id, tx.id)
	}
	return fmt.Errorf("xa: this *sql.Conn or *sql.Tx was taken outside of global transaction %s, whose context is used: take it under that context, or use one without a transaction", tx.id)
}

// errStray is returned where nobody can tell under which context the application took the connection. It takes a limit on
// the handle that is reached, and a connection of the handle that broke at that moment.
var errStray = errors.New("xa: it is not known whether this *sql.Conn was taken inside of a global transaction: take it again")

// plain is a connection of the resource's pool, outside of any global transaction. It is pinned to its one user
// meanwhile, so it may be used outside of Raw's function.
type plain struct {
	pooled *sql.Conn
	raw    driver.Conn
	bad    bool // it must not be pooled again
}

func borrow(ctx context.Context, pool *sql.DB) (*plain, error) {
	pooled, err := pool.Conn(ctx)
	if err != nil {
		return nil, err
	}
	p := &plain{pooled: pooled}
	if p.raw, err = rawConn(pooled); err != nil {
		pooled.Close()
		return nil, err
	}
	return p, nil
}

// rawConn returns the driver's connection under a *sql.Conn.
func rawConn(pooled *sql.Conn) (raw driver.Conn, err error) {
	err = pooled.Raw(func(c any) error {
		var ok bool
		if raw, ok = c.(driver.Conn); !ok {
			return fmt.Errorf("its connection is a %T, which is no driver.Conn", c)
		}
		return nil
	})
	return raw, err
}

// giveBack returns the connection to its pool, which closes it when it is bad.
func (p *plain) giveBack() error {
	if p.bad {
		p.pooled.Raw(func(any) error { return driver.ErrBadConn }) // closes it
		return nil
	}
	return p.pooled.Close()
}

// note keeps what an error tells of the connection.
func (p *plain) note(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		p.bad = true
	}
	return err
}

package simulation

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"slices"
	"strings"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
)

// database is a server.
type database struct {
	*memdb.DB
	pool *sql.DB // only to make connections from
}

func newDatabase(name string, style memdb.Style) *database {
	db := memdb.New(name)
	db.Style = style
	return &database{db, db.Pool()}
}

func (d *database) open() (driver.Conn, error) { return d.pool.Driver().Open("") }

// gated is a process's driver: memdb's, with the process's gate before every call.
type gated struct {
	p     *process
	place int
	real  drivers.Driver
}

// driver returns the process's driver for a database, with the optional interfaces that memdb's has.
func (p *process) driver(place int) drivers.Driver {
	g := gated{p, place, p.dbs[place].Driver()}
	if _, ok := g.real.(drivers.SessionEnder); ok {
		return ender{g}
	}
	if p.dbs[place].Style.Evidence {
		return prover{g}
	}
	return g
}

// prover is gated, of an engine that proves outcomes.
type prover struct{ gated }

func (pr prover) Outcome(ctx context.Context, pool *sql.DB, xid drivers.XID, evidence string) (committed, proven bool, err error) {
	if evidence == "" {
		return pr.real.(drivers.Prover).Outcome(ctx, pool, xid, evidence) // it asks nobody
	}
	err = pr.p.call(ctx, pr.place, pr.of("outcome", xid), nil, func() (err error) {
		committed, proven, err = pr.real.(drivers.Prover).Outcome(ctx, pool, xid, evidence)
		return err
	})
	return committed && err == nil, proven && err == nil, err
}

func (g gated) Begin(ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
	var b drivers.Branch
	err := g.p.call(ctx, g.place, "begin", func() { cut(conn) }, func() (err error) {
		b, err = g.real.Begin(ctx, conn, xid, opts)
		return err
	})
	if err != nil {
		return nil, err
	}
	br := &gatedBranch{g, conn, b}
	if e, ok := b.(drivers.EvidentBranch); ok {
		return gatedEvident{br, e}, nil
	}
	if _, ok := b.(drivers.ReadOnlyBranch); ok {
		return gatedReadOnly{br}, nil
	}
	return br, nil
}

// Prepared lists in the order of the transactions, where memdb has none: a replayed schedule must go the same way.
func (g gated) Prepared(ctx context.Context, pool *sql.DB) (list []drivers.Prepared, err error) {
	err = g.p.call(ctx, g.place, "list", nil, func() (err error) {
		list, err = g.real.Prepared(ctx, pool)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b drivers.Prepared) int {
		return strings.Compare(g.p.w.nameOf(a.XID.GTRID), g.p.w.nameOf(b.XID.GTRID))
	})
	return list, nil
}

func (g gated) CommitPrepared(ctx context.Context, pool *sql.DB, xid drivers.XID) error {
	return g.p.call(ctx, g.place, g.of("commit-prepared", xid), nil, func() error { return g.real.CommitPrepared(ctx, pool, xid) })
}

func (g gated) RollbackPrepared(ctx context.Context, pool *sql.DB, xid drivers.XID) error {
	return g.p.call(ctx, g.place, g.of("rollback-prepared", xid), nil, func() error { return g.real.RollbackPrepared(ctx, pool, xid) })
}

func (g gated) of(op string, xid drivers.XID) string {
	return fmt.Sprintf("%s(%s)", op, g.p.w.nameOf(xid.GTRID))
}

func (g gated) Check(ctx context.Context, pool *sql.DB) (found []drivers.Finding, err error) {
	err = g.p.call(ctx, g.place, "check", nil, func() (err error) {
		found, err = g.real.(drivers.Checker).Check(ctx, pool)
		return err
	})
	return found, err
}

func (g gated) Classify(err error) drivers.Class { return g.real.(drivers.Classifier).Classify(err) }

func (g gated) Identify(ctx context.Context, pool *sql.DB) (id string, err error) {
	err = g.p.call(ctx, g.place, "identify", nil, func() (err error) {
		id, err = g.real.(drivers.Identifier).Identify(ctx, pool)
		return err
	})
	return id, err
}

// ender is gated, of an engine whose prepared branches belong to their sessions.
type ender struct{ gated }

func (e ender) EndSession(ctx context.Context, pool *sql.DB, xid drivers.XID) error {
	return e.p.call(ctx, e.place, e.of("end-session", xid), nil, func() error {
		return e.real.(drivers.SessionEnder).EndSession(ctx, pool, xid)
	})
}

// gatedBranch is a branch behind its process's gate.
type gatedBranch struct {
	gated
	conn *sql.Conn
	real drivers.Branch
}

func (b *gatedBranch) Prepare(ctx context.Context) (vote drivers.Vote, err error) {
	err = b.do(ctx, "prepare", func(ctx context.Context) (err error) {
		vote, err = b.real.Prepare(ctx)
		return err
	})
	if err != nil {
		return 0, err
	}
	return vote, nil
}

func (b *gatedBranch) Commit(ctx context.Context) error { return b.do(ctx, "commit", b.real.Commit) }

func (b *gatedBranch) CommitOnePhase(ctx context.Context) error {
	return b.do(ctx, "commit-one-phase", b.real.CommitOnePhase)
}

func (b *gatedBranch) Rollback(ctx context.Context) error {
	return b.do(ctx, "rollback", b.real.Rollback)
}

func (b *gatedBranch) do(ctx context.Context, op string, f func(context.Context) error) error {
	return b.p.call(ctx, b.place, op, func() { cut(b.conn) }, func() error { return f(ctx) })
}

// gatedEvident is gatedBranch, of an engine whose branches give evidence. That asks nobody.
type gatedEvident struct {
	*gatedBranch
	drivers.EvidentBranch
}

// gatedReadOnly is gatedBranch, of an engine with read-only votes.
type gatedReadOnly struct{ *gatedBranch }

func (b gatedReadOnly) ReadOnly(ctx context.Context) (is bool, err error) {
	err = b.do(ctx, "read-only", func(ctx context.Context) (err error) {
		is, err = b.real.(drivers.ReadOnlyBranch).ReadOnly(ctx)
		return err
	})
	return is && err == nil, err
}

// cut breaks a connection; the server notices.
func cut(conn *sql.Conn) {
	_ = conn.Raw(func(c any) error { return c.(driver.Conn).Close() })
}

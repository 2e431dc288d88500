package drivertest

import (
	"context"
	"crypto/rand"
	"database/sql"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
)

// wrap breaks a driver's own methods.
func wrap(w wrapper) func(*memdb.DB, *Harness) {
	return func(_ *memdb.DB, h *Harness) {
		w.Driver = h.Driver
		h.Driver = w
	}
}

// wrapBranch breaks its branches.
func wrapBranch(breakIt func(b *wrappedBranch)) func(*memdb.DB, *Harness) {
	return wrap(wrapper{begin: func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
		inner, err := next.Begin(ctx, conn, xid, opts)
		if err != nil {
			return nil, err
		}
		b := &wrappedBranch{Branch: inner, driver: next, conn: conn}
		breakIt(b)
		return b, nil
	}})
}

type beginFunc = func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error)
type finishFunc = func(next drivers.Driver, ctx context.Context, db *sql.DB, xid drivers.XID) error

// wrapper is a driver with some methods replaced.
type wrapper struct {
	drivers.Driver
	begin    beginFunc
	prepared func(next drivers.Driver, ctx context.Context, db *sql.DB) ([]drivers.Prepared, error)
	commit   finishFunc
	rollback finishFunc
}

func (w wrapper) Begin(ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
	if w.begin == nil {
		return w.Driver.Begin(ctx, conn, xid, opts)
	}
	return w.begin(w.Driver, ctx, conn, xid, opts)
}

func (w wrapper) Prepared(ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
	if w.prepared == nil {
		return w.Driver.Prepared(ctx, db)
	}
	return w.prepared(w.Driver, ctx, db)
}

func (w wrapper) CommitPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	if w.commit == nil {
		return w.Driver.CommitPrepared(ctx, db, xid)
	}
	return w.commit(w.Driver, ctx, db, xid)
}

func (w wrapper) RollbackPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	if w.rollback == nil {
		return w.Driver.RollbackPrepared(ctx, db, xid)
	}
	return w.rollback(w.Driver, ctx, db, xid)
}

// wrappedBranch is a branch with some methods replaced.
type wrappedBranch struct {
	drivers.Branch
	driver   drivers.Driver
	conn     *sql.Conn
	prepare  func(ctx context.Context) (drivers.Vote, error)
	commit   func(ctx context.Context) error
	onePhase func(ctx context.Context) error
	rollback func(ctx context.Context) error
}

func (b *wrappedBranch) Prepare(ctx context.Context) (drivers.Vote, error) {
	if b.prepare == nil {
		return b.Branch.Prepare(ctx)
	}
	return b.prepare(ctx)
}

func (b *wrappedBranch) Commit(ctx context.Context) error {
	if b.commit == nil {
		return b.Branch.Commit(ctx)
	}
	return b.commit(ctx)
}

func (b *wrappedBranch) CommitOnePhase(ctx context.Context) error {
	if b.onePhase == nil {
		return b.Branch.CommitOnePhase(ctx)
	}
	return b.onePhase(ctx)
}

func (b *wrappedBranch) Rollback(ctx context.Context) error {
	if b.rollback == nil {
		return b.Branch.Rollback(ctx)
	}
	return b.rollback(ctx)
}

// soil leaves the connection inside a transaction.
func (b *wrappedBranch) soil(ctx context.Context) {
	_, _ = b.driver.Begin(ctx, b.conn, drivers.XID{FormatID: 1, GTRID: rand.Text(), BQual: "left over"}, nil)
}

package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/xasql/xasql/drivers"
)

// Driver is the driver for PostgreSQL 13 and later. All its methods may be called concurrently. It is a [drivers.Driver], [drivers.Checker], [drivers.Classifier], [drivers.Identifier], [drivers.Prover],
// [drivers.Blocker] and [drivers.Locker], and its branches are [drivers.ReadOnlyBranch] and [drivers.EvidentBranch].
type Driver struct {
	// doubtful: a role was met that may not execute what evidence needs, so that each branch asks whether it may, at the cost of a round trip. A
	// statement that the server refuses would undo the branch.
	doubtful atomic.Bool
}

// New returns the driver. It works over any database/sql driver whose errors tell their SQLSTATE and which sends a
// statement without arguments as it is: pgx's stdlib and lib/pq do.
func New() *Driver { return &Driver{} }

// Begin starts a branch on conn: an ordinary transaction, until it is prepared. It is one round trip.
//
// It fails if conn is in a transaction that has run a query; the caller then discards conn. Isolation levels that
// PostgreSQL lacks are [drivers.ErrNotSupported]; read uncommitted is read committed, and snapshot is repeatable
// read, which give what the others promise. Without opts the session's own defaults hold.
func (d *Driver) Begin(ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
	gid, err := gidOf(xid)
	if err != nil {
		return nil, err
	}
	begin, err := beginSQL(gid, opts)
	if err != nil {
		return nil, err
	}
	if err := exec(ctx, conn, stepBegin, begin); err != nil {
		return nil, err
	}
	return &branch{driver: d, conn: conn, gid: gid}, nil
}

// Prepared lists the prepared transactions of the database that db is connected to, whoever prepared them.
// PostgreSQL lets every role see them all. Those of the server's other databases are not listed. A branch of ours whose PREPARE
// TRANSACTION a session is just executing is listed as held, if the role may see that session: its client may be dead, and
// the branch in doubt a moment later (rule P2). A standby, which has them and shows none, is an error.
func (*Driver) Prepared(ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
	conn, err := connect(ctx, db)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var standby bool
	if err := ask(ctx, conn, stepList, "SELECT pg_catalog.pg_is_in_recovery()", &standby); err != nil {
		return nil, err
	}
	if standby { // it has what its primary has prepared, and lists nothing: taken for an answer, that would settle what is in doubt
		return nil, &failure{step: stepList, text: "the server is a standby, which does not show them: " + toPrimary}
	}
	// First who is at it, then what is there: one that gets ready in between is found by the second look.
	preparing, err := list(ctx, conn, preparingSQL)
	if err != nil {
		return nil, err
	}
	prepared, err := list(ctx, conn, preparedSQL)
	if err != nil {
		return nil, err
	}
	for _, p := range preparing {
		if p.Raw == "" && !slices.ContainsFunc(prepared, func(q drivers.Prepared) bool { return q.XID == p.XID }) {
			p.Held = true
			prepared = append(prepared, p)
		}
	}
	return prepared, nil
}

// list reads rows of gid, time and owner.
func list(ctx context.Context, conn *sql.Conn, query string) ([]drivers.Prepared, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, mapError(stepList, err)
	}
	defer rows.Close()
	var list []drivers.Prepared
	for rows.Next() {
		var gid string
		var p drivers.Prepared
		if err := rows.Scan(&gid, &p.At, &p.Owner); err != nil {
			return nil, mapError(stepList, err)
		}
		var ok bool
		if p.XID, ok = parseGID(gid); !ok {
			p.Raw = gid
		}
		list = append(list, p)
	}
	if err := rows.Err(); err != nil {
		return nil, mapError(stepList, err)
	}
	return list, nil
}

// CommitPrepared commits a prepared transaction; nil means that it is durable. Only the role that prepared it, or a
// superuser, may do so.
//
// An error is [drivers.ErrUnknownXID] where this database holds no such transaction, and [drivers.ErrHeld] while
// another session is just finishing it. Any other error leaves it open whether it was committed: look at
// Prepared. It is never driver.ErrBadConn.
func (*Driver) CommitPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	return finish(ctx, db, stepCommitPrepared, xid)
}

// RollbackPrepared rolls a prepared transaction back. Errors are as of [Driver.CommitPrepared].
func (*Driver) RollbackPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	return finish(ctx, db, stepRollbackPrepared, xid)
}

// finish sends its one statement over a connection of its own: the pool would send it again after
// an ErrBadConn, and the second time the branch would be unknown though the first has committed it.
func finish(ctx context.Context, db *sql.DB, step step, xid drivers.XID) error {
	gid, err := gidOf(xid)
	if err != nil {
		return err
	}
	conn, err := connect(ctx, db)
	if err != nil {
		return err
	}
	defer conn.Close()
	return finishOn(ctx, conn, step, gid)
}

var _ drivers.Finisher = (*Driver)(nil)

// FinishListed implements [drivers.Finisher]: it is one round trip.
func (*Driver) FinishListed(ctx context.Context, conn *sql.Conn, xid drivers.XID, commit bool) error {
	gid, err := gidOf(xid)
	if err != nil {
		return err
	}
	step := stepRollbackPrepared
	if commit {
		step = stepCommitPrepared
	}
	return finishOn(ctx, conn, step, gid)
}

// connect takes a connection that answers from the pool. After the server's restart all those that idle there are
// dead; recovery would fail on one after the other, since what it sends may not be sent twice.
func connect(ctx context.Context, db *sql.DB) (*sql.Conn, error) {
	for dead := db.Stats().OpenConnections; ; dead-- {
		conn, err := db.Conn(ctx)
		if err != nil {
			return nil, mapError(stepConnect, err)
		}
		if err = conn.PingContext(ctx); err == nil {
			return conn, nil
		}
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // takes it out of the pool
		_ = conn.Close()
		switch {
		case ctx.Err() != nil:
			return nil, mapError(stepConnect, ctx.Err())
		case dead <= 0:
			return nil, mapError(stepConnect, err)
		}
	}
}

// finishOn commits or rolls back a prepared transaction on a connection that carries no transaction.
func finishOn(ctx context.Context, conn *sql.Conn, step step, gid string) error {
	statement := commitPreparedSQL(gid)
	if step == stepRollbackPrepared {
		statement = rollbackPreparedSQL(gid)
	}
	err := exec(ctx, conn, step, statement)
	var f *failure
	if errors.As(err, &f) && sqlState(f) == "42501" {
		var owner string
		if ask(ctx, conn, step, ownerSQL(gid), &owner) == nil {
			f.text += ", and that was " + owner
		}
	}
	return err
}

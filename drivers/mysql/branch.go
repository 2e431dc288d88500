package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/drivers"
)

// state is what this side knows of the branch. The server may know better: it ends a branch that it has
// condemned, and the application can send XA statements of its own.
type state uint8

const (
	active state = iota + 1
	prepared
	finished // and the session is clean
)

// branch implements drivers.Branch and drivers.ReadOnlyBranch.
type branch struct {
	conn     *sql.Conn
	xid      drivers.XID
	x        string // the XID as a literal
	session  session
	readOnly bool
	state    state
	lost     bool // the connection broke: what it would answer now may be the answer to something else
}

// Prepare implements drivers.Branch. An answer by which the server refuses is followed by a rollback, which proves
// that the branch is not prepared.
func (b *branch) Prepare(ctx context.Context) (drivers.Vote, error) {
	vote, err := b.prepare(ctx)
	if err != nil {
		return 0, fmt.Errorf("mysql: prepare %s: %w", b.xid, err)
	}
	return vote, nil
}

func (b *branch) prepare(ctx context.Context) (drivers.Vote, error) {
	if b.state != active {
		return 0, errors.New("branch is not active")
	}
	if b.leavesEarly() {
		if err := b.commitOnePhase(ctx); err != nil {
			return 0, err
		}
		return drivers.VoteReadOnly, nil
	}
	if b.session.flavour == mariaDB {
		if err := b.exec(ctx, "BEGIN NOT ATOMIC XA END "+b.x+"; XA PREPARE "+b.x+"; END"); err != nil {
			return 0, b.giveUp(ctx, err, true)
		}
		b.state = prepared
		return drivers.VotePrepared, nil
	}
	if err := b.exec(ctx, "XA END "+b.x); err != nil {
		return 0, b.giveUp(ctx, err, false)
	}
	if err := b.exec(ctx, "XA PREPARE "+b.x); err != nil {
		return 0, b.giveUp(ctx, err, true)
	}
	b.state = prepared
	return drivers.VotePrepared, nil
}

// Commit implements drivers.Branch.
func (b *branch) Commit(ctx context.Context) error {
	if err := b.commit(ctx); err != nil {
		return fmt.Errorf("mysql: commit %s: %w", b.xid, err)
	}
	return nil
}

func (b *branch) commit(ctx context.Context) error {
	if b.state != prepared {
		return errors.New("branch is not prepared")
	}
	if err := b.last(ctx, "XA COMMIT "+b.x); err != nil {
		return confirm(ctx, b.conn, b.xid, err)
	}
	b.state = finished
	return nil
}

// CommitOnePhase implements drivers.Branch.
func (b *branch) CommitOnePhase(ctx context.Context) error {
	if err := b.commitOnePhase(ctx); err != nil {
		return fmt.Errorf("mysql: commit %s in one phase: %w", b.xid, err)
	}
	return nil
}

func (b *branch) commitOnePhase(ctx context.Context) error {
	if b.state != active {
		return errors.New("branch is not active")
	}
	if err := b.exec(ctx, "XA END "+b.x); err != nil {
		return b.giveUp(ctx, err, false)
	}
	if err := b.last(ctx, "XA COMMIT "+b.x+" ONE PHASE"); err != nil {
		if number(err) == errReadOnlyServer {
			// The servers look at read_only before they commit anything, and end the branch with a rollback.
			err = fmt.Errorf("%w: %w", drivers.ErrRolledBack, err)
		}
		return b.giveUp(ctx, err, true)
	}
	b.state = finished
	return nil
}

// Rollback implements drivers.Branch. It goes on for a few seconds after ctx has ended.
func (b *branch) Rollback(ctx context.Context) error {
	if b.state == finished {
		return nil
	}
	ctx, cancel := outlast(ctx)
	defer cancel()
	err := b.undo(ctx)
	if err != nil && b.state == prepared {
		err = confirm(ctx, b.conn, b.xid, err)
	}
	if err != nil {
		return fmt.Errorf("mysql: roll back %s: %w", b.xid, err)
	}
	return nil
}

// ReadOnly implements drivers.ReadOnlyBranch, without asking the server.
func (b *branch) ReadOnly(context.Context) (bool, error) { return b.leavesEarly(), nil }

// leavesEarly tells whether the branch surely changes nothing, and holds no read locks that others of its global
// transaction count on. The server enforces a declared read-only. What a session that may write has changed, no server
// tells without a privilege: the session's Handler counters can be reset by others.
func (b *branch) leavesEarly() bool { return b.readOnly && !b.session.serializable }

// undo rolls back, from any state. After nil the session carries no branch.
func (b *branch) undo(ctx context.Context) error {
	if b.state == active {
		// Refused where the branch is idle, condemned by the server, or gone; XA ROLLBACK tells which.
		if err := b.exec(ctx, "XA END "+b.x); err != nil && number(err) == 0 {
			return err
		}
	}
	if err := b.last(ctx, "XA ROLLBACK "+b.x); err != nil {
		return err
	}
	b.state = finished
	return nil
}

// giveUp rolls back after a statement failed with cause, and returns cause with what is now known. asked tells whether
// the server may have been asked to prepare or commit: if not, a lost connection is as good as a rollback, since
// that is what the server does when it notices.
func (b *branch) giveUp(ctx context.Context, cause error, asked bool) error {
	ctx, cancel := outlast(ctx)
	defer cancel()
	err := b.undo(ctx)
	switch {
	case errors.Is(cause, drivers.ErrRolledBack):
		if errors.Is(err, drivers.ErrUnknownXID) {
			// XA COMMIT ONE PHASE of a condemned branch also ends it.
			b.release(ctx)
			b.state = finished
		}
		return cause
	case err == nil, !asked && lost(err):
		return fmt.Errorf("%w: %w", drivers.ErrRolledBack, cause)
	}
	return cause
}

func (b *branch) exec(ctx context.Context, statement string) error {
	if b.lost {
		return mysql.ErrInvalidConn
	}
	err := exec(ctx, b.conn, statement)
	b.lost = lost(err)
	return err
}

// last runs the statement that ends the branch, and gives the session's lock back: on MariaDB in one round trip.
func (b *branch) last(ctx context.Context, statement string) error {
	if b.session.lock != "" && b.session.flavour == mariaDB {
		return b.exec(ctx, "BEGIN NOT ATOMIC "+statement+"; "+b.releaseStatement()+"; END")
	}
	if err := b.exec(ctx, statement); err != nil {
		return err
	}
	b.release(ctx)
	return nil
}

// release gives the session's lock back. A failure changes nothing: the lock ends with the session, and tells nobody
// anything once the branch is gone.
func (b *branch) release(ctx context.Context) {
	if b.session.lock == "" {
		return
	}
	ctx, cancel := outlast(ctx)
	defer cancel()
	_ = b.exec(ctx, b.releaseStatement())
}

func (b *branch) releaseStatement() string { return "DO RELEASE_LOCK('" + b.session.lock + "')" }

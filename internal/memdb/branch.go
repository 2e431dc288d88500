package memdb

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/xasql/xasql/drivers"
)

// rollbackTimeout limits a rollback, which runs on when its caller's context has ended.
const rollbackTimeout = 5 * time.Second

// branch is a drivers.Branch.
type branch struct {
	driver xaDriver
	conn   *sql.Conn
	xid    drivers.XID
	over   outcome

	evidence string
}

// outcome is how a branch ended, as far as this client was told.
type outcome uint8

const (
	unfinished outcome = iota
	rolledBack         // or read-only
	committed
)

// Prepare implements drivers.Branch.
func (b *branch) Prepare(ctx context.Context) (drivers.Vote, error) {
	var vote drivers.Vote
	err := b.call(ctx, OpPrepare, func(c *conn, t *txn) error {
		if t == nil || t.state != active {
			return b.notActive()
		}
		if t.aborted != nil {
			return b.aborted(c.db, t)
		}
		if b.unchanged(c.db, t) {
			c.db.finish(t, false)
			b.over = rolledBack
			vote = drivers.VoteReadOnly
			return nil
		}
		t.state, t.at = prepared, time.Now()
		if !c.db.Style.SessionBound {
			t.holder = nil
		}
		vote = drivers.VotePrepared
		return nil
	})
	b.driver.db.tell(OpPrepare, vote.String(), err)
	if err != nil {
		return 0, err
	}
	return vote, nil
}

// Commit implements drivers.Branch.
func (b *branch) Commit(ctx context.Context) error {
	err := b.call(ctx, OpCommit, func(c *conn, t *txn) error {
		switch {
		case t == nil:
			return c.db.unknown(b.xid, true)
		case t.state != prepared:
			return fmt.Errorf("memdb: branch %s is not prepared", b.xid)
		}
		c.db.finish(t, true)
		return nil
	})
	if err == nil {
		b.over = committed
	}
	b.driver.db.tell(OpCommit, "", err)
	return err
}

// CommitOnePhase implements drivers.Branch.
func (b *branch) CommitOnePhase(ctx context.Context) error {
	err := b.call(ctx, OpCommitOnePhase, func(c *conn, t *txn) error {
		if t == nil || t.state != active {
			return b.notActive()
		}
		if t.aborted != nil {
			return b.aborted(c.db, t)
		}
		c.db.finish(t, true)
		b.over = committed
		return nil
	})
	b.driver.db.tell(OpCommitOnePhase, "", err)
	return err
}

// Rollback implements drivers.Branch.
func (b *branch) Rollback(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if b.over == rolledBack {
		return nil
	}
	err := b.call(ctx, OpRollback, func(c *conn, t *txn) error {
		if t == nil {
			return c.db.unknown(b.xid, false)
		}
		c.db.finish(t, false)
		return nil
	})
	if err == nil {
		b.over = rolledBack
	}
	b.driver.db.tell(OpRollback, "", err)
	return err
}

// call makes one call over the branch's connection. t is the branch as the database knows it, nil if it does not.
func (b *branch) call(ctx context.Context, op Op, act func(c *conn, t *txn) error) error {
	return b.driver.onConn(ctx, op, b.conn, func(c *conn) error {
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		t := c.db.branches[b.xid]
		if t != nil && t.holder != nil && t.holder != c.session {
			t = nil // a later branch of the same name
		}
		return act(c, t)
	})
}

func (b *branch) notActive() error {
	return fmt.Errorf("memdb: branch %s is not active", b.xid)
}

// aborted ends a branch that the engine has given up.
func (b *branch) aborted(d *DB, t *txn) error {
	d.finish(t, false)
	b.over = rolledBack
	return fmt.Errorf("memdb: branch %s: %w: %w", b.xid, drivers.ErrRolledBack, t.aborted)
}

func (b *branch) unchanged(d *DB, t *txn) bool {
	return d.Style.ReadOnlyVotes && len(t.writes) == 0 && t.level != sql.LevelSerializable
}

// readOnlyBranch is a branch of an engine with read-only votes.
type readOnlyBranch struct{ *branch }

// ReadOnly implements drivers.ReadOnlyBranch.
func (r readOnlyBranch) ReadOnly(ctx context.Context) (bool, error) {
	var is bool
	err := r.call(ctx, OpReadOnly, func(c *conn, t *txn) error {
		if t == nil || t.state != active {
			return errors.New("memdb: the branch is not active")
		}
		is = t.aborted == nil && r.unchanged(c.db, t)
		return nil
	})
	answer := "no"
	if is {
		answer = "yes"
	}
	r.driver.db.tell(OpReadOnly, answer, err)
	return is, err
}

// evidentBranch is a branch of a Style with Evidence.
type evidentBranch struct{ *branch }

// Evidence implements drivers.EvidentBranch.
func (e evidentBranch) Evidence() string { return e.evidence }

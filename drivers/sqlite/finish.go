//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/xasql/xasql/drivers"
)

// Commit implements [drivers.Branch]. nil: the changes are on the disk (one sync).
func (b *branch) Commit(ctx context.Context) error {
	return b.wrap("commit", b.within(func(s session) error {
		switch b.state {
		case stateHeld:
			s.pause()
			b.driver.step("committing")
			b.state = stateRecorded // until it is known better
			if err := s.exec("COMMIT"); err != nil {
				return b.block(s, err)
			}
			b.driver.step("committed")
			return b.leave(s)
		case stateRecorded:
			s.pause()
			err := s.transact(ctx, func() error { return b.driver.finish(s, b.xid, true) })
			if err != nil && !isOutcome(err) {
				return b.block(s, err)
			}
			return errors.Join(err, b.leave(s))
		}
		return errors.New("the branch is not prepared")
	}))
}

// CommitOnePhase implements [drivers.Branch]. nil: the changes are on the disk (one sync).
func (b *branch) CommitOnePhase(ctx context.Context) error {
	return b.wrap("commit in one phase", b.within(func(s session) error {
		if b.state != stateActive {
			return errors.New("the branch is not active")
		}
		if err := b.stop(ctx, s); err != nil {
			return b.abandon(s, err)
		}
		// This fails where the transaction is not the one that Begin began.
		if err := s.exec("RELEASE " + savepoint); err != nil {
			return b.abandon(s, err)
		}
		if !b.opts.ReadOnly && b.facts.capture.drop != "" {
			if err := s.exec(b.facts.capture.drop); err != nil {
				return b.abandon(s, err)
			}
		}
		b.driver.step("committing in one phase")
		if err := s.exec("COMMIT"); err != nil {
			if undone(err) {
				return b.abandon(s, err)
			}
			b.state = stateUnknown
			return b.block(s, err)
		}
		b.driver.step("committed in one phase")
		return b.leave(s)
	}))
}

// Rollback implements [drivers.Branch].
func (b *branch) Rollback(ctx context.Context) error {
	if b.state == stateOver {
		return nil
	}
	ctx, cancel := cleanUp(ctx)
	defer cancel()
	return b.wrap("rollback", b.within(func(s session) error {
		switch b.state {
		case stateActive:
			s.pause()
			b.rowid = s.lastRowid()
			if err := s.undo(); err != nil {
				return b.block(s, err)
			}
			return b.leave(s)
		case stateHeld, stateRecorded:
			s.pause()
			s.retain()
			defer s.release()
			return b.remove(ctx, s)
		}
		return errors.New("the one-phase commit before was not answered: its outcome is not known")
	}))
}

// remove undoes the rehearsal, if there is one, removes the record, if there is one, and ends the branch.
func (b *branch) remove(ctx context.Context, s session) error {
	ctx, cancel := cleanUp(ctx)
	defer cancel()
	b.state = stateRecorded
	if err := s.undo(); err != nil {
		return b.block(s, err)
	}
	b.driver.step("undone")
	err := s.transact(ctx, func() error {
		s.release()
		err := b.driver.finish(s, b.xid, false)
		if errors.Is(err, drivers.ErrUnknownXID) {
			return nil // it was never recorded
		}
		return err
	})
	if err != nil && !isOutcome(err) {
		return b.block(s, err)
	}
	return errors.Join(err, b.leave(s))
}

// isOutcome reports whether an error tells what has become of the branch, rather than that something went wrong.
func isOutcome(err error) bool {
	for _, outcome := range []error{drivers.ErrUnknownXID, drivers.ErrRolledBack, drivers.ErrCommitted} {
		if errors.Is(err, outcome) {
			return true
		}
	}
	return false
}

// finish commits or rolls back a prepared branch inside a transaction, or tells what has become of it.
func (d driver) finish(s session, xid drivers.XID, commit bool) error {
	fate, err := s.fate(xid)
	if err != nil {
		return err
	}
	switch {
	case fate == prepared && commit:
		err = s.apply(xid)
	case fate == prepared:
		err = s.forget(xid, rolledBack)
	default:
		return outcome(fate, commit)
	}
	if err == nil {
		d.step("finished")
	}
	return err
}

// outcome is the answer to who wants to finish a branch that is finished, or never was.
func outcome(fate string, commit bool) error {
	switch {
	case fate == committed && commit, fate == rolledBack && !commit:
		return nil // the file proves it
	case fate == committed:
		return drivers.ErrCommitted
	case fate == rolledBack:
		return drivers.ErrRolledBack
	}
	return drivers.ErrUnknownXID
}

// CommitPrepared implements [drivers.Driver]. Of a branch that the file remembers as rolled back it returns an error that
// is both [drivers.ErrUnknownXID] and [drivers.ErrRolledBack]. [ErrChanged]: a person must decide.
func (d driver) CommitPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	err := d.finishPrepared(ctx, db, xid, true)
	if errors.Is(err, drivers.ErrRolledBack) {
		err = fmt.Errorf("%w: %w", drivers.ErrUnknownXID, err)
	}
	if errors.Is(err, ErrChanged) {
		err = fmt.Errorf("%w; nothing was applied, and the branch stays prepared: compare, and roll it back or put back what was changed", err)
	}
	if err != nil {
		err = fmt.Errorf("sqlite: commit %s: %w", xid, err)
	}
	return err
}

// RollbackPrepared implements [drivers.Driver].
func (d driver) RollbackPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	err := d.finishPrepared(ctx, db, xid, false)
	if err != nil {
		err = fmt.Errorf("sqlite: rollback %s: %w", xid, err)
	}
	return err
}

var _ drivers.Prover = driver{}

// Outcome implements [drivers.Prover]: of the last 1000 prepared branches the file knows what became of them, by their XIDs alone.
func (d driver) Outcome(ctx context.Context, db *sql.DB, xid drivers.XID, _ string) (isCommitted, proven bool, err error) {
	err = d.use(ctx, db, func(s session) error {
		fate, err := d.fate(ctx, s, xid)
		isCommitted, proven = fate == committed, fate == committed || fate == rolledBack
		return err
	})
	if err != nil {
		return false, false, fmt.Errorf("sqlite: outcome of %s: %w", xid, err)
	}
	return isCommitted, proven, nil
}

// heldAfter is how long the write lock of a file with a prepared branch must be taken for its holder to be the branch's session.
// Nobody else gets far: the fence refuses their writes.
const heldAfter = 50 * time.Millisecond

func (d driver) finishPrepared(ctx context.Context, db *sql.DB, xid drivers.XID, commit bool) error {
	return d.use(ctx, db, func(s session) error {
		fate, err := d.fate(ctx, s, xid)
		if err != nil {
			return err
		}
		if fate != prepared {
			return outcome(fate, commit)
		}
		if turns.holds(identify(s.raw.GetFilename("main")), xid) {
			return drivers.ErrHeld
		}
		brief, cancel := context.WithTimeout(ctx, heldAfter)
		defer cancel()
		err = s.transact(brief, func() error { return d.finish(s, xid, commit) })
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			return fmt.Errorf("%w: another process has the file's write lock: %w", drivers.ErrHeld, err)
		}
		if err != nil {
			return err
		}
		return s.forgetVirtual()
	})
}

// fate returns what the file knows of a branch, "" where it knows of none.
func (d driver) fate(ctx context.Context, s session, xid drivers.XID) (fate string, err error) {
	err = s.patiently(ctx, func() error {
		has, err := s.holdsRecords()
		if err == nil && has {
			fate, err = s.fate(xid)
		}
		return err
	})
	return fate, err
}

// use calls f with a connection of the pool, which is discarded when its state is in doubt.
func (d driver) use(ctx context.Context, db *sql.DB, f func(s session) error) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	clean := false
	err = within(conn, func(s session) error {
		err := f(s)
		clean = s.autocommit() && (err == nil || isOutcome(err) || errors.Is(err, drivers.ErrHeld))
		return err
	})
	if clean {
		return errors.Join(err, conn.Close())
	}
	discard(conn)
	return err
}

// Prepared implements [drivers.Driver]. A database without this package's tables has no prepared branch, and nothing is made in it: so
// an empty answer means little where the file is the wrong one; see [drivers.Identifier].
func (d driver) Prepared(ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
	var all []drivers.Prepared
	err := d.use(ctx, db, func(s session) error {
		return s.patiently(ctx, func() error {
			has, err := s.holdsRecords()
			if err != nil || !has {
				return err
			}
			rows, err := s.query("SELECT xid, at FROM main._xa_prepared ORDER BY at, xid")
			if err != nil {
				return err
			}
			all = nil
			for _, r := range rows {
				p := drivers.Prepared{}
				if p.XID, err = drivers.ParseXID(text(r[0])); err != nil {
					p = drivers.Prepared{Raw: text(r[0])}
				}
				p.At, _ = time.Parse(time.RFC3339Nano, text(r[1])) // the zero time: not known
				if p.Held, err = s.held(p.XID); err != nil {
					return err
				}
				all = append(all, p)
			}
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("sqlite: list prepared branches: %w", err)
	}
	return all, nil
}

// held reports whether a live session holds the prepared branch: it then has the write lock.
func (s session) held(xid drivers.XID) (bool, error) {
	if turns.holds(identify(s.raw.GetFilename("main")), xid) {
		return true, nil
	}
	if s.readOnly() {
		return false, nil // it can't be asked
	}
	err := s.exec("BEGIN IMMEDIATE")
	if isBusy(err) {
		return true, nil
	}
	return false, errors.Join(err, s.undo())
}

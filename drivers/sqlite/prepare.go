//go:build cgo && (linux || darwin)

package sqlite

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xasql/xasql/drivers"
)

// Prepare implements [drivers.Branch]. When it returns [drivers.VotePrepared], the branch's record is on the disk (one
// sync), the commit has been tried out, and an open transaction holds the file's write lock. Any error that is
// [drivers.ErrRolledBack] means that the branch is gone, and its connection clean.
func (b *branch) Prepare(ctx context.Context) (vote drivers.Vote, err error) {
	err = b.within(func(s session) (err error) {
		vote, err = b.prepare(ctx, s)
		return err
	})
	if err != nil {
		vote = 0
	}
	return vote, b.wrap("prepare", err)
}

func (b *branch) prepare(ctx context.Context, s session) (drivers.Vote, error) {
	if b.state != stateActive {
		return 0, errors.New("the branch is not active")
	}
	if err := b.stop(ctx, s); err != nil {
		return 0, b.abandon(s, err)
	}
	if !b.writes() {
		return drivers.VoteReadOnly, errors.Join(s.undo(), b.leave(s))
	}
	rec, rows, err := b.gather(ctx, s)
	if err != nil {
		return 0, b.abandon(s, err)
	}
	if len(rows) == 0 && rec.Sequence == nil && rec.Header == nil && !b.holdsReads() {
		return drivers.VoteReadOnly, errors.Join(s.undo(), b.leave(s))
	}
	if err := s.write(b.xid, &rec, b.captured(), rows); err != nil {
		return 0, b.abandon(s, err)
	}
	b.driver.step("record written")
	// From this COMMIT until the rehearsal has begun, no other writer may get in between: it would not wait, but fail
	// at the fence.
	s.retain()
	defer s.release()
	err = s.exec("COMMIT")
	if err != nil && undone(err) {
		return 0, b.abandon(s, err)
	}
	b.state = stateRecorded
	if err != nil {
		return 0, b.block(s, err)
	}
	b.driver.step("record committed")
	return b.rehearse(ctx, s, rec)
}

// stop ends the application's part of an active branch.
func (b *branch) stop(ctx context.Context, s session) error {
	s.pause()
	b.rowid = s.lastRowid()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.id.look().ended:
		return errors.New("SQLite has ended the transaction (a conflict clause OR ROLLBACK, RAISE(ROLLBACK), an interrupted write, a full disk)")
	}
	if b.captures() && len(b.facts.schema.virtual) > 0 {
		if err := s.flush(); err != nil {
			return fmt.Errorf("write out the virtual tables: %w", err)
		}
	}
	switch {
	case s.busyStatements() > 0:
		return errors.New("rows are still open on the branch's connection: read them to the end, or close them, before Commit")
	case s.unresolvedFKs():
		return errors.New("FOREIGN KEY constraint failed: a deferred one is still violated")
	}
	return nil
}

// abandon rolls the branch back before anything of it was recorded, and returns why.
func (b *branch) abandon(s session, cause error) error {
	if err := errors.Join(s.undo(), b.leave(s)); err != nil {
		return b.block(s, errors.Join(cause, err))
	}
	return fmt.Errorf("%w: %w", drivers.ErrRolledBack, cause)
}

// gather reads what the branch has done, and undoes it. The transaction goes on, and holds the write lock.
func (b *branch) gather(ctx context.Context, s session) (record, []redo, error) {
	sc, tables := b.facts.schema, b.captured()
	rec := record{SchemaVersion: sc.version, ForeignKeys: s.foreignKeys()}
	if id, err := s.value("SELECT " + whoAmI); err != nil || id != int64(s.id) {
		return rec, nil, errors.Join(errForeign, err) // something else has stood in the place of what captures
	}
	touched, err := s.touched()
	if err != nil {
		return rec, nil, err
	}
	rows, err := s.read(tables, touched)
	if err != nil {
		return rec, nil, err
	}
	after, err := s.state(sc.sequence)
	if err != nil {
		return rec, nil, err
	}
	b.driver.step("captured")
	if err := ctx.Err(); err != nil {
		return rec, nil, err
	}
	// This fails where the transaction is not the one that Begin began.
	if err := s.exec("ROLLBACK TO " + savepoint + "; RELEASE " + savepoint); err != nil {
		return rec, nil, err
	}
	if rows, err = s.changed(tables, rows); err != nil {
		return rec, nil, err
	}
	before, err := s.state(sc.sequence)
	if err != nil {
		return rec, nil, err
	}
	if sc.sequence && (len(rows) > 0 || !slices.EqualFunc(before.sequence, after.sequence, bytes.Equal)) {
		rec.Sequence = &sequences{Before: before.sequence, After: after.sequence}
	}
	for i, name := range headerPragmas() {
		if before.header[i] != after.header[i] {
			rec.Header = append(rec.Header, headerRecord{Pragma: name, Before: before.header[i], After: after.header[i]})
		}
	}
	return rec, rows, ctx.Err()
}

// captures reports whether what the branch changes is noted: not so of one that only holds what it reads.
func (b *branch) captures() bool { return b.writes() && !b.opts.ReadOnly }

// captured returns the tables whose rows are noted.
func (b *branch) captured() []*table {
	if !b.captures() {
		return nil
	}
	return b.facts.capture.tables
}

// rehearse does what Commit will make durable, in a transaction that stays open. What fails here would fail at Commit: then the record
// is removed, and the vote is no.
func (b *branch) rehearse(ctx context.Context, s session, rec record) (drivers.Vote, error) {
	err := ctx.Err()
	if err == nil {
		err = s.lock(ctx, b.set.timeout)
	}
	if err != nil {
		// The lock could not be kept, and somebody else has it. The record and the fence do without.
		return drivers.VotePrepared, s.guard(guardSealed)
	}
	apply := s.apply
	if s.release() { // nobody can have changed anything
		apply = func(xid drivers.XID) error { return s.applyRecord(xid, rec) }
	}
	if err := apply(b.xid); err != nil {
		cause := fmt.Errorf("the commit can't be done as it was tried out: %w", err)
		if err := b.remove(ctx, s); err != nil {
			return 0, errors.Join(cause, err)
		}
		return 0, fmt.Errorf("%w: %w", drivers.ErrRolledBack, cause)
	}
	b.state = stateHeld
	b.driver.step("rehearsed")
	return drivers.VotePrepared, s.guard(guardSealed)
}

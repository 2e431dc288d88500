package postgres

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/xasql/xasql/drivers"
)

// cleanupLimit bounds the clean-up that must happen though the caller's context has ended.
const cleanupLimit = 5 * time.Second

// state is where a branch stands.
type state uint8

const (
	active    state = iota // a transaction, as far as we know
	prepared               // PREPARE TRANSACTION was answered with success
	unknown                // PREPARE or COMMIT was sent, and not answered
	over                   // rolled back, or ended without a change
	committed              // for ever
)

func (s state) String() string {
	return [...]string{"active", "prepared", "in an unknown state", "over", "committed"}[s]
}

// branch is a transaction on its connection, under the name of gid.
type branch struct {
	driver *Driver
	conn   *sql.Conn
	gid    string
	state  state
	cause  error // why the branch is over, where it was not by Rollback

	asked    bool   // the two answers below are known
	readOnly bool   // ending early gives up nothing
	evidence string // names the transaction, "" if it had no ID when asked
}

// ReadOnly reports whether Prepare will vote [drivers.VoteReadOnly]. It asks the server once; Prepare uses
// the same answer. An error that is [drivers.ErrRolledBack] is what Prepare would vote.
func (b *branch) ReadOnly(ctx context.Context) (bool, error) {
	if err := b.expect(stepAsk, active); err != nil || b.asked {
		return b.readOnly, err
	}
	query := askSQL
	if b.driver.doubtful.Load() {
		var denied string
		if err := ask(ctx, b.conn, stepAsk, "SELECT "+deniedSQL, &denied); err != nil {
			return false, b.refused(ctx, err)
		}
		if denied != "" {
			query = askBlindSQL
		}
	}
	var mark string
	if err := ask(ctx, b.conn, stepAsk, query, &mark, &b.evidence, &b.readOnly); err != nil {
		if sqlState(err) == "42501" {
			b.driver.doubtful.Store(true)
		}
		return false, b.refused(ctx, err)
	}
	if mark != activeMark(b.gid) {
		return false, b.ended(ctx, stepAsk, mark)
	}
	b.asked = true
	return b.readOnly, nil
}

// Prepare is PREPARE TRANSACTION, guarded against a transaction that has failed or that somebody else has
// ended. A branch that changed nothing is ended by COMMIT, so that what it has to NOTIFY is not lost.
func (b *branch) Prepare(ctx context.Context) (drivers.Vote, error) {
	if err := b.ready(ctx, stepPrepare); err != nil {
		return 0, err
	}
	readOnly, err := b.ReadOnly(ctx)
	switch {
	case err != nil:
		return 0, err
	case readOnly:
		if err := b.end(ctx, stepLeave, leaveSQL, over); err != nil {
			return 0, err
		}
		return drivers.VoteReadOnly, nil
	}
	if err := b.end(ctx, stepPrepare, prepareSQL(b.gid), prepared); err != nil {
		return 0, err
	}
	return drivers.VotePrepared, nil
}

// CommitOnePhase is COMMIT, guarded likewise.
func (b *branch) CommitOnePhase(ctx context.Context) error {
	if err := b.ready(ctx, stepCommit); err != nil {
		return err
	}
	return b.end(ctx, stepCommit, commitSQL, committed)
}

// Commit is COMMIT PREPARED. It may be tried again after an error that the server answered.
func (b *branch) Commit(ctx context.Context) error {
	if b.state == committed {
		return nil
	}
	if err := b.expect(stepCommitPrepared, prepared); err != nil {
		return err
	}
	err := finishOn(ctx, b.conn, stepCommitPrepared, b.gid)
	if errors.Is(err, drivers.ErrUnknownXID) {
		err = b.prove(ctx, err)
	}
	switch {
	case err == nil:
		b.state = committed
	case errors.Is(err, drivers.ErrCommitted):
		b.state, err = committed, nil
	case errors.Is(err, drivers.ErrRolledBack):
		b.state, b.cause = over, err
	}
	return err
}

// Rollback is ROLLBACK or ROLLBACK PREPARED, and both where it is unknown which one is needed. An
// error means that the connection must be discarded; the server then rolls an unprepared branch back by itself.
func (b *branch) Rollback(ctx context.Context) error {
	ctx, cancel := cleanup(ctx)
	defer cancel()
	switch b.state {
	case over:
		return nil
	case committed:
		return &failure{step: stepRollback, is: []error{drivers.ErrCommitted}, text: drivers.ErrCommitted.Error()}
	case active:
		return b.abort(ctx)
	case unknown:
		if err := exec(ctx, b.conn, stepRollback, "ROLLBACK"); err != nil {
			return err
		}
	}
	err := finishOn(ctx, b.conn, stepRollbackPrepared, b.gid)
	if errors.Is(err, drivers.ErrUnknownXID) {
		err = b.prove(ctx, err)
	}
	switch {
	case err == nil, errors.Is(err, drivers.ErrRolledBack):
		b.state, err = over, nil
	case errors.Is(err, drivers.ErrCommitted):
		b.state = committed
	}
	return err
}

// expect refuses a step that does not fit the branch's state.
func (b *branch) expect(step step, want state) error {
	switch {
	case b.state == want:
		return nil
	case b.state == over && b.cause != nil:
		return b.cause
	case b.state == unknown:
		return &failure{step: step, lost: true, text: "the branch's state is unknown: roll it back, or leave it to recovery"}
	}
	return &failure{step: step, text: "out of order: the branch is " + b.state.String()}
}

// ready is expect for the steps that end an active branch. Where the context has ended before anything was
// sent, the branch is rolled back instead of leaving its outcome unknown.
func (b *branch) ready(ctx context.Context, step step) error {
	if err := b.expect(step, active); err != nil {
		return err
	}
	if ctx.Err() == nil {
		return nil
	}
	b.cause = &failure{step: step, cause: context.Cause(ctx), is: []error{drivers.ErrRolledBack, ctx.Err()}, text: "rolled back"}
	cleanCtx, cancel := cleanup(ctx)
	defer cancel()
	if err := b.abort(cleanCtx); errors.Is(err, drivers.ErrCommitted) {
		return err
	}
	// Without an answer it is rolled back, too: COMMIT was not sent, and the session is gone.
	return b.cause
}

// end sends the statements that end the active branch.
func (b *branch) end(ctx context.Context, step step, statements string, then state) error {
	b.state = unknown
	err := exec(ctx, b.conn, step, statements)
	switch {
	case err == nil:
		b.state = then
		return nil
	case sqlState(err) == "" && !lost(err): // not sent
		b.state = active
		return err
	case sqlState(err) == "25P01": // no transaction: who ended it?
		var mark string
		if err := ask(ctx, b.conn, step, markSQL, &mark); err != nil {
			return err
		}
		return b.ended(ctx, step, mark)
	}
	return b.refused(ctx, err)
}

// refused cleans up after an error, and returns it. An error that is ErrRolledBack leaves the connection out
// of a transaction, or dead.
func (b *branch) refused(ctx context.Context, err error) error {
	if !errors.Is(err, drivers.ErrRolledBack) {
		return err
	}
	b.state = active
	ctx, cancel := cleanup(ctx)
	defer cancel()
	switch aborted := b.abort(ctx); {
	case aborted == nil:
		b.cause = err
	case errors.Is(aborted, drivers.ErrCommitted): // and then began again, which failed
		return aborted
	}
	return err
}

// ended is the error for a branch that the application has ended by itself, as the mark tells.
func (b *branch) ended(ctx context.Context, step step, mark string) error {
	m := endedBehind()
	if mark == committedMark(b.gid) {
		m = committedBehind()
	}
	err := &failure{step: step, is: m.is, text: m.text}
	b.state = active
	ctx, cancel := cleanup(ctx)
	defer cancel()
	if b.abort(ctx) == nil {
		b.cause = err
	}
	return err
}

// abort rolls the transaction back, if there is one.
func (b *branch) abort(ctx context.Context) error {
	err := exec(ctx, b.conn, stepRollback, rollbackSQL(b.gid))
	switch {
	case err == nil:
		b.state = over
	case errors.Is(err, drivers.ErrCommitted):
		b.state = committed
	}
	return err
}

// Evidence returns what [Driver.Outcome] needs to tell what has become of the branch: the cluster, its timeline, and the transaction's ID. It is "" for a
// branch that had no ID, as it had changed nothing, when it was prepared.
func (b *branch) Evidence() string { return b.evidence }

// prove looks up what became of a prepared branch that somebody else has finished.
func (b *branch) prove(ctx context.Context, unknown error) error {
	switch committed, proven, err := outcome(ctx, b.conn, b.evidence); {
	case err != nil || !proven:
		return unknown
	case committed:
		return &failure{step: stepProve, is: []error{drivers.ErrCommitted}, text: "somebody else has committed the branch"}
	}
	return &failure{step: stepProve, is: []error{drivers.ErrRolledBack}, text: "somebody else has rolled the branch back"}
}

func cleanup(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupLimit)
}

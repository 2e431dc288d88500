package xa

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// Commit commits the transaction in every database, or rolls it back in all. errors.Is tells what became of it:
//
//   - nil: the decision to commit is durable, and every database that could be reached has committed; the others
//     are finished in the background
//   - [ErrRolledBack]: nothing is, or will be, applied anywhere; it may be tried again
//   - [ErrOutcomeUnknown]: neither could be confirmed; don't try again, ask recovery with the ID
//   - [ErrHeuristic]: a database decided alone, against the decision; a person must look
//   - [ErrTxDone]: Commit or Rollback was called before
//
// When ctx ends before the decision, the transaction is rolled back; afterwards ctx no longer matters, and
// Config.CompletionTimeout limits the wait.
func (t *Tx) Commit(ctx context.Context) error {
	if !t.enter(true) {
		err, called := t.result()
		if called {
			err = &Error{ID: t.id, Outcome: ErrTxDone}
		}
		return err
	}
	left, err := t.commit(ctx)
	t.leave(err, left)
	return err
}

// rollback ends the transaction because of cause, unless it has ended already; it returns what became of it.
func (t *Tx) rollback(ctx context.Context, cause error, called bool) error {
	if !t.enter(called) {
		switch err, _ := t.result(); {
		case errors.Is(cause, errRollbackCalled):
			return nil
		case err == nil, errors.Is(cause, err): // it has committed; or the function returned what its own Commit had returned
			return cause
		case errors.Is(err, ErrRolledBack):
			return &Error{ID: t.id, Outcome: ErrRolledBack, Causes: []error{cause, err}}
		default: // unknown or heuristic: that must not get lost behind the function's own error
			return &Error{ID: t.id, Outcome: cause, Causes: []error{err}}
		}
	}
	branches := t.begun(true)
	for _, b := range branches {
		b.refuse(true)
	}
	left, err := t.abort(ctx, branches, cause)
	t.leave(err, left)
	return err
}

// begun waits for the branches that are being started, and returns those that did. interrupt: one that still waits, for
// a connection or a lock, is cut off.
func (t *Tx) begun(interrupt bool) []*Branch {
	t.mu.Lock()
	all := t.branches
	t.mu.Unlock()
	var begun []*Branch
	for _, b := range all {
		select {
		case <-b.ready:
		default:
			if interrupt {
				t.cancel(ErrTxDone)
			}
			<-b.ready
		}
		if b.err == nil {
			begun = append(begun, b)
		}
	}
	return begun
}

// commit is the protocol from the end of the work to the transaction's outcome. left: recovery has to finish branches of it.
func (t *Tx) commit(ctx context.Context) (left bool, err error) {
	branches := t.begun(false)
	for _, b := range branches {
		b.refuse(false)
	}
	work, release := t.join(ctx)
	defer release()
	if err := t.obstacle(ctx); err != nil {
		return t.abort(ctx, branches, err)
	}

	switch writers := t.writers(work, branches); {
	case len(branches) == 0:
		return false, nil
	case len(writers) == 0 && len(branches) == 1:
		return t.commitOnePhase(ctx, branches[0])
	case len(writers) == 1:
		return t.commitLast(ctx, work, branches, writers[0])
	}

	prepared, errs := t.prepare(work, branches)
	if len(errs) > 0 {
		return t.abort(ctx, branches, errs...)
	}
	if len(prepared) == 0 {
		return false, nil
	}
	if err := t.obstacle(ctx); err != nil {
		return t.abort(ctx, branches, err)
	}
	if outcome, err := t.decide(ctx, prepared); err != nil && !notDecided(err) {
		for _, b := range prepared { // the decision may stand: recovery will know
			b.release(false)
		}
		return true, &Error{ID: t.id, Outcome: ErrOutcomeUnknown, Causes: []error{err}}
	} else if err != nil {
		return t.abort(ctx, branches, err)
	} else if outcome != txlog.Committed {
		return t.abort(ctx, branches, errors.New("recovery has aborted it meanwhile"))
	}
	return t.complete(ctx, prepared)
}

// obstacle tells why the transaction can't commit even if every database would. ctx is Commit's.
func (t *Tx) obstacle(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.only != nil {
		return t.because(t.only)
	}
	// Both are asked themselves: a context joined of them hears of their end a moment later.
	for _, ctx := range []context.Context{t.lifetime, ctx} {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// writers asks the branches that can tell cheaply whether they changed anything. The rest count as having done so. A lone branch is
// not asked: it commits in one phase anyway.
func (t *Tx) writers(ctx context.Context, branches []*Branch) []*Branch {
	if len(branches) < 2 {
		return nil
	}
	wrote := make([]bool, len(branches))
	each(branches, func(i int, b *Branch) {
		r, ok := b.drv.(drivers.ReadOnlyBranch)
		if !ok {
			wrote[i] = true
			return
		}
		readOnly, err := r.ReadOnly(ctx)
		wrote[i] = err != nil || !readOnly // Prepare will tell what is wrong
	})
	var writers []*Branch
	for i, b := range branches {
		if wrote[i] {
			writers = append(writers, b)
		}
	}
	return writers
}

// commitLast ends the branches that only read and then commits the only one that wrote in one phase: no decision is
// needed where one database decides.
func (t *Tx) commitLast(ctx, work context.Context, branches []*Branch, writer *Branch) (left bool, err error) {
	var readers []*Branch
	for _, b := range branches {
		if b != writer {
			readers = append(readers, b)
		}
	}
	prepared, errs := t.prepare(work, readers)
	if err := t.obstacle(ctx); err != nil {
		errs = append(errs, err)
	}
	if len(errs) > 0 || len(prepared) > 0 { // prepared: it wrote after all, which breaks the contract
		return t.abort(ctx, branches, append(errs, errorsOf(prepared)...)...)
	}
	return t.commitOnePhase(ctx, writer)
}

func errorsOf(prepared []*Branch) []error {
	var errs []error
	for _, b := range prepared {
		errs = append(errs, &BranchError{Op: "prepare", XID: b.xid, Err: errors.New("its driver took it for read-only, but prepared it")})
	}
	return errs
}

// prepare prepares all branches at once. Read-only ones are over with their vote.
func (t *Tx) prepare(ctx context.Context, branches []*Branch) (prepared []*Branch, errs []error) {
	votes := make([]drivers.Vote, len(branches))
	failed := make([]error, len(branches))
	each(branches, func(i int, b *Branch) {
		votes[i], failed[i] = b.prepare(ctx)
		b.asked = failed[i] == nil || !errors.Is(failed[i], drivers.ErrRolledBack)
		b.prepared = failed[i] == nil && votes[i] == drivers.VotePrepared
		if failed[i] == nil && votes[i] == drivers.VoteReadOnly {
			b.release(true)
		}
	})
	for i, b := range branches {
		if failed[i] == nil && votes[i] == drivers.VotePrepared {
			prepared = append(prepared, b)
		}
	}
	return prepared, compact(failed)
}

// decide writes the decision. From here on the caller's cancellation no longer matters.
func (t *Tx) decide(ctx context.Context, prepared []*Branch) (txlog.Outcome, error) {
	d := txlog.Decision{ID: t.id, Outcome: txlog.Committed}
	for i, b := range prepared {
		d.Resources = append(d.Resources, b.res.Name)
		if e := b.evidence(); e != "" {
			if d.Evidence == nil {
				d.Evidence = make([]string, len(prepared))
			}
			d.Evidence[i] = e
		}
	}
	ctx, cancel := t.afterwards(ctx)
	defer cancel()
	call(t.m.cfg.Trace.DecideStart, TxEvent{ID: t.id})
	outcome, err := t.m.cfg.Log.Decide(ctx, d)
	call(t.m.cfg.Trace.DecideDone, TxEvent{ID: t.id, Decision: outcome, Err: err})
	return outcome, err
}

// notDecided tells whether the log surely did not take the decision.
func notDecided(err error) bool {
	return errors.Is(err, txlog.ErrNotDecided) || errors.Is(err, txlog.ErrClosed) || errors.Is(err, txlog.ErrReadOnly)
}

// complete is phase two: every branch is told to commit, on the connection that prepared it. What can't be told now is left to
// the background, and is no error of the caller's.
func (t *Tx) complete(ctx context.Context, prepared []*Branch) (left bool, err error) {
	ctx, cancel := t.afterwards(ctx)
	defer cancel()
	errs := make([]error, len(prepared))
	each(prepared, func(i int, b *Branch) {
		errs[i] = b.commit(ctx, false)
		b.release(errs[i] == nil)
		if errors.Is(errs[i], drivers.ErrUnknownXID) {
			errs[i] = b.fate(ctx, "commit", errs[i])
		}
	})
	var heuristic []error
	for i, b := range prepared {
		switch err := errs[i]; {
		case err == nil:
		case errors.Is(err, drivers.ErrUnknownXID) && t.takenOver(ctx):
			left = true
			t.m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "branch is in the hands of another member", slog.String(keyXID, b.xid.String()), slog.Any(keyError, err))
		case errors.Is(err, drivers.ErrRolledBack), errors.Is(err, drivers.ErrHeuristic), errors.Is(err, drivers.ErrUnknownXID):
			heuristic = append(heuristic, err)
			t.remember(ctx, b, err)
		default:
			left = true
			t.m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "branch left to recovery", slog.String(keyXID, b.xid.String()), slog.Any(keyError, err))
		}
	}
	if len(heuristic) > 0 {
		return left, &Error{ID: t.id, Outcome: ErrHeuristic, Causes: heuristic}
	}
	if !left {
		t.settle(ctx)
	}
	return left, nil
}

// fate finds out what it means that the database denied to know the prepared branch (rule P1), after op. Where it lists the branch it is merely too
// early: ErrHeld. Where it proves what became of the branch that is nil, ErrCommitted or ErrRolledBack. Else the outcome stays unknown.
func (b *Branch) fate(ctx context.Context, op string, unknown error) error {
	listed, err := b.res.Driver.Prepared(ctx, b.res.DB)
	if err != nil {
		return b.wrap(op, err)
	}
	for _, p := range listed {
		if p.XID == b.xid && p.Raw == "" {
			return b.wrap(op, drivers.ErrHeld)
		}
	}
	p, ok := b.res.Driver.(drivers.Prover)
	if !ok {
		return unknown
	}
	committed, proven, err := p.Outcome(ctx, b.res.DB, b.xid, b.evidence())
	switch {
	case err != nil:
		return fmt.Errorf("%w; and what became of it could not be asked: %w", unknown, notBadConn(err))
	case !proven:
		return unknown
	case committed == (op == "commit"):
		return nil
	case committed:
		return b.wrap(op, fmt.Errorf("the database proves that somebody else has finished it: %w", drivers.ErrCommitted))
	}
	return b.wrap(op, fmt.Errorf("the database proves that somebody else has finished it: %w", drivers.ErrRolledBack))
}

// settle tells the log that every branch has confirmed.
func (t *Tx) settle(ctx context.Context) {
	err := t.m.cfg.Log.Settle(ctx, t.id)
	if err != nil { // recovery will settle it: it costs a look, no more
		t.m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "decision could not be settled", slog.String(keyID, t.id), slog.Any(keyError, err))
	}
	call(t.m.cfg.Trace.Settled, TxEvent{ID: t.id, Decision: txlog.Committed, Err: err})
}

// commitOnePhase lets the only branch decide by itself, at the price of a plain COMMIT.
func (t *Tx) commitOnePhase(ctx context.Context, b *Branch) (left bool, err error) {
	ctx, cancel := t.afterwards(ctx)
	defer cancel()
	err = b.commit(ctx, true)
	switch {
	case err == nil:
		b.release(true)
		return false, nil
	case errors.Is(err, drivers.ErrRolledBack), errors.Is(err, drivers.ErrCommitted):
		return t.abort(ctx, []*Branch{b}, err)
	}
	b.release(false)
	return false, &Error{ID: t.id, Outcome: ErrOutcomeUnknown, Causes: []error{err}}
}

// abort rolls back and returns why. A branch that turns out to be committed, as when the application sent COMMIT as SQL, makes
// that a heuristic outcome, and so does a prepared one that somebody has finished, nobody knows how.
func (t *Tx) abort(ctx context.Context, branches []*Branch, causes ...error) (left bool, err error) {
	left, heuristic := t.undo(ctx, branches)
	if len(heuristic) == 0 {
		return left, &Error{ID: t.id, Outcome: ErrRolledBack, Causes: causes}
	}
	return left, &Error{ID: t.id, Outcome: ErrHeuristic, Causes: append(heuristic, causes...)}
}

// undo rolls back every branch that is not over. What can't be told now is undone by the end of its connection
// or, where it was prepared, by recovery: left. heuristic are the errors of branches that are, or may be, committed already.
func (t *Tx) undo(ctx context.Context, branches []*Branch) (left bool, heuristic []error) {
	ctx, cancel := t.afterwards(ctx)
	defer cancel()
	errs := make([]error, len(branches))
	each(branches, func(i int, b *Branch) {
		if b.conn == nil {
			return // it voted read-only
		}
		errs[i] = b.rollback(ctx)
		b.release(errs[i] == nil)
		if b.prepared && errors.Is(errs[i], drivers.ErrUnknownXID) {
			errs[i] = b.fate(ctx, "rollback", errs[i])
		}
	})
	for i, b := range branches {
		switch err := errs[i]; {
		case errors.Is(err, drivers.ErrCommitted), b.prepared && errors.Is(err, drivers.ErrUnknownXID) && !t.abortedElsewhere(ctx):
			heuristic = append(heuristic, err)
			t.remember(ctx, b, err)
		case err != nil && b.asked:
			left = true
		}
	}
	return left, heuristic
}

// abortedElsewhere tells whether somebody who recovers may have rolled the transaction's branches back: he has written that down before (rule P4).
func (t *Tx) abortedElsewhere(ctx context.Context) bool {
	outcome, err := t.m.cfg.Log.Lookup(ctx, t.id)
	return err != nil || outcome == txlog.Aborted
}

// remember tells a person of a branch that was finished against the decision: in the operator's log, and, where it can keep notes, in
// the decision log, for xa-recover to list until it is forgotten.
func (t *Tx) remember(ctx context.Context, b *Branch, cause error) {
	log := t.m.cfg.Logger
	log.LogAttrs(ctx, slog.LevelError, "heuristic outcome", slog.String(keyXID, b.xid.String()), slog.Any(keyError, cause))
	notes, ok := t.m.cfg.Log.(txlog.Notes)
	if !ok {
		return
	}
	n := txlog.Note{ID: t.id, Kind: txlog.Heuristic, Resource: b.res.Name, By: "the transaction's manager", Text: cause.Error()}
	if err := notes.Note(ctx, n); err != nil {
		log.LogAttrs(ctx, slog.LevelError, "heuristic outcome could not be noted", slog.String(keyXID, b.xid.String()), slog.Any(keyError, err))
	}
}

// afterwards returns a context for what must be done whatever becomes of the caller.
func (t *Tx) afterwards(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), t.m.cfg.CompletionTimeout)
}

// each runs f for every branch at once.
func each(branches []*Branch, f func(i int, b *Branch)) {
	if len(branches) == 1 {
		f(0, branches[0])
		return
	}
	var wg sync.WaitGroup
	for i, b := range branches {
		wg.Go(func() { f(i, b) })
	}
	wg.Wait()
}

package drivertest

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/xasql/xasql/drivers"
)

// branchCases are the rules on a branch's end: B1 to B5, B7 and B9.
func branchCases() []testCase {
	return []testCase{
		{"B1", "CommitAppliesAndLeavesAConnectionAsBefore", commitApplies},
		{"B2", "RollbackUndoesEverything", rollbackUndoes},
		{"B3", "OnePhaseCommitIsAllOrNothing", onePhase},
		{"B4", "AbortedTransactionVotesNo", abortedVotesNo},
		{"B5", "FailedPrepareClaimsNothing", failedPrepare},
		{"B7", "CommitOfABranchThatIsGoneIsNotSuccess", commitGone},
		{"B9", "CleanUpWorksUnderAnEndedContext", endedContext},
	}
}

func commitApplies(r *run) {
	for _, opts := range r.options() {
		b, settings := r.beginClean(opts)
		if opts != nil && opts.ReadOnly {
			r.get(b.conn, b.key)
		} else {
			r.write(b)
		}
		vote, err := b.Prepare(r.ctx)
		if err != nil {
			r.Fatalf("Prepare: %v", err)
		}
		if vote == drivers.VotePrepared {
			if err := b.Commit(r.ctx); err != nil {
				r.Fatalf("Commit: %v", err)
			}
		}
		if opts == nil || !opts.ReadOnly {
			r.wantApplied(b, true)
		}
		r.wantListed(b.xid, false)
		r.wantClean(b.conn, settings)
	}
}

// options returns every set of options that the harness declares.
func (r *run) options() []*sql.TxOptions {
	all := []*sql.TxOptions{nil}
	for _, level := range r.Isolation {
		all = append(all, &sql.TxOptions{Isolation: level})
	}
	if r.ReadOnlyTx {
		all = append(all, &sql.TxOptions{ReadOnly: true})
	}
	return all
}

// beginClean starts a branch, and returns the session's settings before it.
func (r *run) beginClean(opts *sql.TxOptions) (*branch, string) {
	r.Helper()
	conn := r.conn(r.main)
	settings := r.settings(conn)
	xid := r.xid()
	inner, err := r.Driver.Begin(r.ctx, conn, xid, opts)
	if err != nil {
		discard(conn)
		r.Fatalf("Begin with %+v: %v", opts, err)
	}
	b := &branch{Branch: inner, xid: xid, conn: conn, key: r.key()}
	r.held = append(r.held, b)
	return b, settings
}

func rollbackUndoes(r *run) {
	states := []struct {
		name  string
		bring func(b *branch)
	}{
		{"an active branch", func(*branch) {}},
		{"a prepared branch", func(b *branch) { r.prepare(b) }},
		{"a branch that can't be prepared", func(b *branch) {
			if r.Poison != nil {
				r.poison(b)
				_, _ = b.Prepare(r.ctx) // rule B4 judges it
			}
		}},
	}
	for _, opts := range r.options() {
		for _, s := range states {
			if opts != nil && opts.ReadOnly {
				continue
			}
			b, settings := r.beginClean(opts)
			r.write(b)
			s.bring(b)
			for _, turn := range []string{"first", "second"} {
				if err := b.Rollback(r.ctx); err != nil {
					r.Fatalf("Rollback of %s, the %s time: %v", s.name, turn, err)
				}
			}
			r.wantApplied(b, false)
			r.wantListed(b.xid, false)
			r.wantClean(b.conn, settings)
		}
	}
}

func (r *run) poison(b *branch) {
	r.Helper()
	if err := r.Poison(r.ctx, b.conn); err != nil {
		r.Fatalf("harness: Poison: %v", err)
	}
}

func onePhase(r *run) {
	for _, opts := range r.options() {
		if opts != nil && opts.ReadOnly {
			continue
		}
		b, settings := r.beginClean(opts)
		r.write(b)
		if err := b.CommitOnePhase(r.ctx); err != nil {
			r.Fatalf("CommitOnePhase: %v", err)
		}
		r.wantApplied(b, true)
		r.wantListed(b.xid, false)
		r.wantClean(b.conn, settings)
	}

	if r.Poison == nil {
		r.Logf("not tried: a transaction that the engine aborts (Harness.Poison is nil)")
		return
	}
	b := r.begin(nil)
	r.write(b)
	r.poison(b)
	if err := b.CommitOnePhase(r.ctx); !errors.Is(err, drivers.ErrRolledBack) {
		r.Errorf("CommitOnePhase of a transaction that the engine has aborted: %v, want %q", err, drivers.ErrRolledBack)
	}
	_ = b.Rollback(r.ctx)
	discard(b.conn)
	r.wantApplied(b, false)
}

func abortedVotesNo(r *run) {
	if r.Poison == nil {
		r.Logf("not tried: a transaction that the engine aborts (Harness.Poison is nil)")
		return
	}
	b := r.begin(nil)
	r.write(b)
	r.poison(b)
	// The application swallows the error, and goes on.
	late := r.key()
	_, _ = b.conn.ExecContext(r.ctx, r.Put, late, "late")
	if r.get(r.other, late) != "" {
		r.Errorf("a statement after the engine's abort took effect at once, outside the branch")
	}
	vote, err := b.Prepare(r.ctx)
	if !errors.Is(err, drivers.ErrRolledBack) {
		r.Errorf("Prepare of a transaction that the engine has aborted: %s, %v, want %q", vote, err, drivers.ErrRolledBack)
	}
	r.wantListed(b.xid, false)
	_ = b.Rollback(r.ctx)
	discard(b.conn)
	r.wantApplied(b, false)
	if r.get(r.other, late) != "" {
		r.Errorf("a statement after the engine's abort took effect")
	}
}

// failedPrepare lets Prepare fail, and checks that its error claims no more than is true, and that a rollback and
// recovery end the branch.
func failedPrepare(r *run) {
	for _, after := range []time.Duration{0, 50 * time.Microsecond, 200 * time.Microsecond, time.Millisecond} {
		b := r.begin(nil)
		r.write(b)
		ctx, cancel := context.WithTimeout(r.ctx, after)
		vote, err := b.Prepare(ctx)
		cancel()
		switch {
		case err == nil && vote != drivers.VotePrepared:
			r.Errorf("Prepare of a branch that wrote votes %s", vote)
		case errors.Is(err, drivers.ErrRolledBack) && r.listed(b.xid):
			r.Errorf("Prepare answers %v, but the branch is prepared", err)
		}
		_ = b.Rollback(r.ctx)
		discard(b.conn)
		r.wantGone(b)
	}

	b := r.begin(nil)
	r.write(b)
	r.abandon(b)
	if vote, err := b.Prepare(r.ctx); err == nil {
		r.Errorf("Prepare over a connection that is gone votes %s", vote)
	}
	_ = b.Rollback(r.ctx)
	r.wantGone(b)
}

// wantGone does what recovery does with a branch whose state is unknown, and fails the case unless nothing of it is
// left then: its row is not there, and free to be written by others.
func (r *run) wantGone(b *branch) {
	r.Helper()
	var err error
	gone := r.poll(func() bool {
		// A statement that was under way when its client went may still take effect: look again.
		if r.listed(b.xid) {
			_ = r.resolve(b.xid, false)
		}
		ctx, cancel := context.WithTimeout(r.ctx, time.Second)
		defer cancel()
		_, err = r.other.ExecContext(ctx, r.Insert, b.key, "free")
		if err != nil && ctx.Err() == nil {
			// An insert that timed out may have been executed after all, once the lock was free.
			v, _ := r.tryGet(ctx, r.other, b.key)
			return v == "free"
		}
		return err == nil
	})
	if !gone {
		r.Errorf("something of the branch is left: writing its row as new: %v", err)
	}
	// Its locks are free a moment before its session has ended the statement that was to prepare it, and is listed as held for no longer.
	if !r.poll(func() bool { return !r.listed(b.xid) }) {
		r.wantListed(b.xid, false)
	}
}

func commitGone(r *run) {
	for _, commit := range []bool{true, false} {
		b := r.prepared()
		if r.SessionBound {
			r.abandon(b)
		}
		_ = r.resolve(b.xid, commit) // rules D2 and D3 judge it
		if r.listed(b.xid) {
			r.Logf("not tried: somebody else could not finish the branch")
			r.rollback(b)
			continue
		}
		err := b.Commit(r.ctx)
		discard(b.conn)
		applied := r.get(r.other, b.key) != ""
		switch {
		case err == nil && !applied:
			r.Errorf("Commit of a branch that somebody else rolled back: no error")
		case errors.Is(err, drivers.ErrRolledBack) && applied:
			r.Errorf("Commit of a branch that somebody else committed: %v", err)
		case err == nil, errors.Is(err, drivers.ErrRolledBack), errors.Is(err, drivers.ErrUnknownXID):
		case !r.SessionBound: // else the connection is gone, and any error is right
			r.Errorf("Commit of a branch that somebody else finished: %v, want %q", err, drivers.ErrUnknownXID)
		}
	}
}

func endedContext(r *run) {
	ended, cancel := context.WithCancel(r.ctx)
	cancel()
	states := []struct {
		name  string
		bring func(b *branch)
	}{
		{"an active branch", func(*branch) {}},
		{"a prepared branch", func(b *branch) { r.prepare(b) }},
		{"a branch after Prepare under an ended context", func(b *branch) { _, _ = b.Prepare(ended) }},
		{"a branch after CommitOnePhase under an ended context", func(b *branch) {
			if err := b.CommitOnePhase(ended); err == nil {
				r.Fatalf("CommitOnePhase under an ended context: no error")
			}
		}},
	}
	if r.Poison != nil {
		states = append(states, states[2])
		last := &states[len(states)-1]
		last.name = "an aborted branch after Prepare under an ended context"
		last.bring = func(b *branch) {
			r.poison(b)
			_, _ = b.Prepare(ended)
		}
	}
	for _, s := range states {
		b := r.begin(nil)
		r.write(b)
		s.bring(b)
		r.within("Rollback of "+s.name, func() { discard(b.conn) }, func() {
			// A connection that a driver broke when the context ended can't be cleaned; the
			// database must be, as soon as the server has noticed.
			if err := b.Rollback(ended); err != nil && (s.name == states[0].name || s.name == states[1].name) {
				r.Errorf("Rollback of %s under an ended context: %v", s.name, err)
			}
		})
		discard(b.conn)
		r.wantListed(b.xid, false)
		r.wantGone(b)
	}
}

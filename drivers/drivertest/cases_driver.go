package drivertest

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/drivers"
)

// driverCases are the rules on how a driver's calls behave: D8 to D11.
func driverCases() []testCase {
	return []testCase{
		{"D8", "BeginAllOrNothing", beginAllOrNothing},
		{"D9", "CallsObeyTheirContext", obeysContext},
		{"D10", "RefusesWhatItCannotDo", refuses},
		{"D11", "TwoPhaseStatementsAreSentOnce", sentOnce},
	}
}

func beginAllOrNothing(r *run) {
	// A Begin that fails: before it starts, and at moments during it.
	for _, after := range []time.Duration{0, 50 * time.Microsecond, 200 * time.Microsecond, time.Millisecond} {
		xid := r.xid()
		ctx, cancel := context.WithTimeout(r.ctx, after)
		conn := r.conn(r.main)
		_, err := r.Driver.Begin(ctx, conn, xid, nil)
		cancel()
		discard(conn)
		if err == nil && after == 0 {
			r.Errorf("Begin under a context that has ended: no error")
		}
		r.wantListed(xid, false)
		r.wantBeginnable(xid)
	}

	// A Begin that succeeds: every statement is in the branch, even one that was prepared before.
	conn := r.conn(r.main)
	defer discard(conn)
	early, err := conn.PrepareContext(r.ctx, r.Put)
	if err != nil {
		r.Fatalf("prepare a statement: %v", err)
	}
	xid := r.xid()
	inner, err := r.Driver.Begin(r.ctx, conn, xid, nil)
	if err != nil {
		r.Fatalf("Begin: %v", err)
	}
	b := &branch{Branch: inner, xid: xid, conn: conn, key: r.key()}
	key := r.key()
	if _, err := early.ExecContext(r.ctx, key, "early"); err != nil {
		r.Fatalf("a statement that was prepared before Begin: %v", err)
	}
	r.write(b)
	if r.get(r.other, key) != "" {
		r.Errorf("a statement that was prepared before Begin took effect outside the branch")
	}
	r.wantApplied(b, false)
	early.Close()
	if err := b.Rollback(r.ctx); err != nil {
		r.Errorf("Rollback: %v", err)
	}
	if r.get(r.other, key) != "" {
		r.Errorf("a statement that was prepared before Begin outlived the branch's rollback")
	}
	r.wantApplied(b, false)
}

// wantBeginnable fails the case unless a branch with this XID can be started, once the server has noticed the end of the one
// before.
func (r *run) wantBeginnable(xid drivers.XID) {
	r.Helper()
	var err error
	r.poll(func() bool {
		var b *branch
		if b, err = r.tryBegin(r.ctx, r.main, xid, nil); err == nil {
			r.rollback(b)
		}
		return err == nil
	})
	if err != nil {
		r.Errorf("after a Begin that failed, its XID can't be used: %v", err)
	}
}

// brief is the time after which the contexts of waiting calls end.
const brief = 200 * time.Millisecond

func obeysContext(r *run) {
	// A pool that has no connection left.
	small := r.open()
	small.SetMaxOpenConns(1)
	last := r.conn(small)
	free := func() { last.Close() }
	r.obeys("Prepared on an exhausted pool", free, r.listCall(small))
	r.obeys("CommitPrepared on an exhausted pool", free, r.finishCall(small, r.xid(), true))
	r.obeys("RollbackPrepared on an exhausted pool", free, r.finishCall(small, r.xid(), false))
	free()

	if r.SingleWriter {
		first := r.begin(nil)
		r.write(first)
		r.beginObeys("Begin beside another branch", func() { discard(first.conn) })
		r.rollback(first)
	}
	if r.Block == nil {
		r.Logf("not tried: calls that the engine keeps waiting (Harness.Block is nil)")
		return
	}
	r.blocked()
}

// blocked checks the calls while the engine keeps them waiting.
func (r *run) blocked() {
	r.Helper()
	b := r.prepared()
	r.abandon(b)
	second := b
	if !r.SingleWriter {
		second = r.prepared()
		r.abandon(second)
	}
	release, err := r.Block(r.ctx)
	if err != nil {
		r.Fatalf("harness: Block: %v", err)
	}
	unblock := sync.OnceFunc(func() {
		if err := release(); err != nil {
			r.Errorf("harness: Block's release: %v", err)
		}
	})
	r.obeys("Prepared while the engine waits", unblock, r.listCall(r.other))
	r.obeys("CommitPrepared while the engine waits", unblock, r.finishCall(r.other, b.xid, true))
	r.obeys("RollbackPrepared while the engine waits", unblock, r.finishCall(r.other, second.xid, false))
	r.beginObeys("Begin while the engine waits", unblock)
	unblock()
	for _, b := range []*branch{b, second} {
		if err := r.resolve(b.xid, false); errors.Is(err, drivers.ErrHeld) {
			r.Errorf("RollbackPrepared after the wait: %v", err) // any other answer is right: it may be finished already
		}
	}
}

func (r *run) listCall(db *sql.DB) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := r.Driver.Prepared(ctx, db)
		return err
	}
}

func (r *run) finishCall(db *sql.DB, xid drivers.XID, commit bool) func(context.Context) error {
	return func(ctx context.Context) error {
		if commit {
			return r.Driver.CommitPrepared(ctx, db, xid)
		}
		return r.Driver.RollbackPrepared(ctx, db, xid)
	}
}

// obeys fails the case unless call returns soon after its context has ended.
func (r *run) obeys(what string, unblock func(), call func(ctx context.Context) error) {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.ctx, brief)
	defer cancel()
	start := time.Now()
	r.within(what, unblock, func() { _ = call(ctx) })
	r.Logf("%s: back after %v", what, time.Since(start).Round(time.Millisecond))
}

// beginObeys is obeys for Begin. Should it succeed, its branch ends with the connection.
func (r *run) beginObeys(what string, unblock func()) {
	r.Helper()
	conn := r.conn(r.main)
	defer discard(conn)
	r.obeys(what, unblock, func(ctx context.Context) error {
		_, err := r.Driver.Begin(ctx, conn, r.xid(), nil)
		return err
	})
}

func refuses(r *run) {
	for _, level := range r.unsupported() {
		r.wantRefused("isolation level "+level.String(), &sql.TxOptions{Isolation: level})
	}
	if !r.ReadOnlyTx {
		r.wantRefused("a read-only branch", &sql.TxOptions{ReadOnly: true})
	}
	for _, statement := range r.Refused {
		b := r.begin(nil)
		r.write(b)
		if _, err := b.conn.ExecContext(r.ctx, statement); err == nil {
			_, err := b.Prepare(r.ctx)
			switch {
			case err == nil:
				r.Errorf("%q: neither the statement nor Prepare is refused", statement)
			case !errors.Is(err, drivers.ErrNotSupported):
				r.Errorf("%q: Prepare refuses with %v, want %q", statement, err, drivers.ErrNotSupported)
			}
		}
		_ = b.Rollback(r.ctx)
		discard(b.conn)
		r.wantApplied(b, false)
		r.wantListed(b.xid, false)
	}
}

// wantRefused fails the case unless Begin refuses opts and says more than that.
func (r *run) wantRefused(what string, opts *sql.TxOptions) {
	r.Helper()
	b, err := r.tryBegin(r.ctx, r.main, r.xid(), opts)
	switch {
	case err == nil:
		r.rollback(b)
		r.Errorf("%s: Begin accepts it, though the harness does not declare it", what)
	case !errors.Is(err, drivers.ErrNotSupported):
		r.Errorf("%s: Begin refuses with %v, want %q", what, err, drivers.ErrNotSupported)
	case err.Error() == drivers.ErrNotSupported.Error():
		r.Errorf("%s: Begin's error says nothing but %q: no way out", what, err)
	}
}

// unsupported returns the isolation levels that Begin must refuse.
func (r *run) unsupported() []sql.IsolationLevel {
	var all []sql.IsolationLevel
	for level := sql.LevelDefault + 1; level <= sql.LevelLinearizable; level++ {
		if !slices.Contains(r.Isolation, level) {
			all = append(all, level)
		}
	}
	return all
}

// sentOnce loses the reply of each two-phase statement in turn.
func sentOnce(r *run) {
	if r.Lossy == nil {
		r.Logf("not tried: lost replies (Harness.Lossy is nil)")
		return
	}
	lossy, err := r.Lossy()
	if err != nil {
		r.Fatalf("harness: Lossy: %v", err)
	}
	r.pools = append(r.pools, lossy.DB)
	lose := func(what string, call func() error) (err error) {
		r.Helper()
		sent := lossy.Lose(func() { err = call() })
		if len(sent) == 0 {
			r.Fatalf("harness: %s: Lossy saw no two-phase statement", what)
		}
		slices.Sort(sent)
		if once := slices.Compact(slices.Clone(sent)); len(once) != len(sent) {
			r.Errorf("%s: a statement was sent again after its reply was lost: %q", what, sent)
		}
		return err
	}
	begin := func() *branch {
		r.Helper()
		b := r.beginOn(lossy.DB, r.xid(), nil)
		r.write(b)
		return b
	}
	over := func(b *branch) {
		discard(b.conn)
		_ = r.resolve(b.xid, false) // it may be finished already
	}

	b := begin()
	if err := lose("Prepare", func() error { _, err := b.Prepare(r.ctx); return err }); err == nil || errors.Is(err, drivers.ErrRolledBack) {
		r.Errorf("Prepare whose reply was lost answers %v: the branch is prepared", err)
	}
	over(b)

	b = begin()
	if err := lose("CommitOnePhase", func() error { return b.CommitOnePhase(r.ctx) }); err == nil || errors.Is(err, drivers.ErrRolledBack) {
		r.Errorf("CommitOnePhase whose reply was lost answers %v: the branch is committed", err)
	}
	over(b)

	b = begin()
	r.prepare(b)
	if err := lose("Commit", func() error { return b.Commit(r.ctx) }); errors.Is(err, drivers.ErrRolledBack) {
		r.Errorf("Commit whose reply was lost answers %v: the branch is committed", err)
	}
	over(b)

	b = begin()
	r.prepare(b)
	discard(b.conn)
	_ = lose("CommitPrepared", func() error { return r.Driver.CommitPrepared(r.ctx, lossy.DB, b.xid) })
	over(b)

	b = begin()
	r.prepare(b)
	discard(b.conn)
	_ = lose("RollbackPrepared", func() error { return r.Driver.RollbackPrepared(r.ctx, lossy.DB, b.xid) })
	over(b)
}

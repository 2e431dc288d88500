package xa

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/xasql/xasql/drivers"
)

// Branch is a transaction's part in one database. Its methods have the signatures of *sql.Tx's, so generated code
// and query builders that take such an interface take a Branch as it is. They run on the one connection that the branch is pinned
// to, one after the other, until the transaction ends; then they return [ErrTxDone]. Rows that are open by then are closed.
//
// A statement that fails undoes nothing by itself. Where the database aborts the whole branch for it, as PostgreSQL does, the
// transaction can't commit any more, even if the error is ignored. Where a database takes no statement while rows of another
// are open, that is an error at once, as on a *sql.Tx.
type Branch struct {
	tx  *Tx
	res *resource
	xid drivers.XID

	ready chan struct{} // closed when start has ended
	err   error         // why it did not start; read after ready

	conn     *sql.Conn      // pinned until the branch is finished (rule P3)
	drv      drivers.Branch // the two phases
	asked    bool           // Prepare was sent, and may have had effect
	prepared bool           // it voted to be prepared
	own      *sql.Tx        // what the branch's own methods use; its end ends no more than their use of the connection

	io    busy               // held by every call into raw; guards what follows
	raw   driver.Conn        // the driver's own connection under conn; nil when statements are refused
	rows  map[*rows]struct{} // open ones
	stmts map[*stmt]struct{} // open ones
	local *localTx           // the *sql.Tx that is open on Manager.DB's handle
}

func newBranch(t *Tx, r *resource) *Branch {
	return &Branch{
		tx:    t,
		res:   r,
		xid:   drivers.XID{FormatID: drivers.FormatID, GTRID: t.id, BQual: r.Name},
		ready: make(chan struct{}),
		io:    make(busy, 1),
		rows:  map[*rows]struct{}{},
		stmts: map[*stmt]struct{}{},
	}
}

// XID returns the branch's name: the transaction's ID and the resource's name.
func (b *Branch) XID() drivers.XID { return b.xid }

// ExecContext executes a statement in the branch.
func (b *Branch) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return b.own.ExecContext(ctx, query, args...)
}

// QueryContext executes a query in the branch.
func (b *Branch) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return b.own.QueryContext(ctx, query, args...)
}

// QueryRowContext executes a query that returns at most one row in the branch.
func (b *Branch) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return b.own.QueryRowContext(ctx, query, args...)
}

// PrepareContext prepares a statement for use in the branch. It is closed when the transaction ends.
func (b *Branch) PrepareContext(ctx context.Context, query string) (*sql.Stmt, error) {
	return b.own.PrepareContext(ctx, query)
}

// start takes a connection and starts the branch on it.
func (b *Branch) start(ctx context.Context) error {
	ctx, release := b.tx.join(ctx)
	defer release()
	defer close(b.ready)
	if err := b.connect(ctx); err != nil {
		b.err = &BranchError{Op: "begin", XID: b.xid, Err: b.tx.because(notBadConn(err))}
	}
	call(b.trace().BranchStart, BranchEvent{XID: b.xid, Err: b.err})
	return b.err
}

// connect starts the branch on a connection of the pool. A pool keeps connections that the server has ended meanwhile: as
// database/sql does for a transaction of one database, it goes on to the next, as long as there can be such. Nothing has been
// done on them, so that nothing is done twice.
func (b *Branch) connect(ctx context.Context) error {
	if err := b.res.admit(ctx); err != nil {
		return err
	}
	for stale := b.res.DB.Stats().Idle; ; stale-- {
		err := b.begin(ctx)
		if err == nil || stale <= 0 || ctx.Err() != nil || !b.res.lost(err) {
			return err
		}
	}
}

func (b *Branch) begin(ctx context.Context) (err error) {
	if b.conn, err = b.res.DB.Conn(ctx); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			b.release(false)
		}
	}()
	if b.drv, err = b.res.Driver.Begin(ctx, b.conn, b.xid, b.tx.branchOptions()); err != nil {
		return err
	}
	// The driver's connection is used outside of Raw's function. What Raw's documentation warns of, somebody else using
	// the connection meanwhile, can't be: it is pinned to this branch, and every use holds b.io.
	if b.raw, err = rawConn(b.conn); err != nil {
		return err
	}
	b.own, err = b.res.branches.BeginTx(context.WithValue(context.WithoutCancel(ctx), branchKey{}, b), nil)
	return err
}

// started waits until the branch has started, and tells why it did not.
func (b *Branch) started(ctx context.Context) error {
	select {
	case <-b.ready:
	case <-ctx.Done():
		return &Error{ID: b.tx.id, Outcome: context.Cause(ctx)}
	}
	if b.err != nil {
		return &Error{ID: b.tx.id, Outcome: b.err}
	}
	return nil
}

// refuse ends the application's use of the branch: what is open is closed, and statements are refused from now on. interrupt:
// a statement that is running is cut off, which costs the connection; otherwise it is waited for.
func (b *Branch) refuse(interrupt bool) {
	if interrupt {
		if b.io.TryLock() {
			b.io.Unlock()
		} else {
			b.tx.cancel(ErrTxDone)
		}
	}
	b.own.Rollback() // closes its rows and statements; the branch's own fate is decided elsewhere
	b.io.Lock()
	defer b.io.Unlock()
	if err := b.unended(); err != nil {
		b.tx.SetRollbackOnly(err)
	}
	// Those of Manager.DB's handle are still open; the connection may soon be somebody else's.
	for r := range b.rows {
		r.end()
	}
	for s := range b.stmts {
		s.end()
	}
	b.raw = nil
}

// release gives the connection back: to the pool when it is clean, which means that the branch is known to be finished, and
// else to nobody (rule P3).
func (b *Branch) release(clean bool) {
	if b.conn == nil {
		return
	}
	if !clean {
		b.conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	b.conn.Close()
	b.conn = nil
}

// explain turns what the driver's connection answered into what the application should see. driver.ErrBadConn never gets
// through: database/sql would run the statement again (rule P11). A statement that cost the branch its connection, as one that was
// cancelled does with most drivers, marks the transaction, even if the application ignores the error. ctx is the statement's.
func (b *Branch) explain(ctx context.Context, err error) error {
	if err == nil || errors.Is(err, driver.ErrSkip) {
		return err
	}
	if errors.Is(err, driver.ErrBadConn) && len(b.rows) > 0 {
		return fmt.Errorf("branch %s: %d rows are open on its connection: close them first (or the connection is lost)", b.res.Name, len(b.rows))
	}
	lost := ctx.Err() != nil || b.res.lost(err)
	if e, ok := b.drv.(drivers.Explainer); ok {
		err = e.Explain(err)
	}
	err = b.tx.because(notBadConn(err))
	if lost || errors.Is(err, drivers.ErrRolledBack) {
		b.tx.SetRollbackOnly(&BranchError{Op: "statement", XID: b.xid, Err: err})
	}
	return err
}

// notBadConn hides driver.ErrBadConn from errors.Is.
func notBadConn(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return fmt.Errorf("connection lost: %v", err)
	}
	return err
}

func (b *Branch) trace() *Trace { return b.tx.m.cfg.Trace }

// prepare, commit and rollback are the driver's, with their events. Errors are BranchErrors.

func (b *Branch) prepare(ctx context.Context) (drivers.Vote, error) {
	e := BranchEvent{XID: b.xid}
	call(b.trace().PrepareStart, e)
	began := time.Now()
	vote, err := b.drv.Prepare(ctx)
	e.Vote, e.Err, e.Elapsed = vote, b.wrap("prepare", b.tx.because(err)), time.Since(began)
	call(b.trace().PrepareDone, e)
	return vote, e.Err
}

func (b *Branch) commit(ctx context.Context, onePhase bool) error {
	e := BranchEvent{XID: b.xid, OnePhase: onePhase}
	call(b.trace().CommitStart, e)
	began := time.Now()
	commit := b.drv.Commit
	if onePhase {
		commit = b.drv.CommitOnePhase
	}
	e.Err, e.Elapsed = b.wrap("commit", commit(ctx)), time.Since(began)
	call(b.trace().CommitDone, e)
	return e.Err
}

func (b *Branch) rollback(ctx context.Context) error {
	e := BranchEvent{XID: b.xid}
	call(b.trace().RollbackStart, e)
	began := time.Now()
	e.Err, e.Elapsed = b.wrap("rollback", b.drv.Rollback(ctx)), time.Since(began)
	call(b.trace().RollbackDone, e)
	return e.Err
}

// evidence is what the branch's database needs to prove its outcome, "" where there is none.
func (b *Branch) evidence() string {
	if e, ok := b.drv.(drivers.EvidentBranch); ok {
		return e.Evidence()
	}
	return ""
}

func (b *Branch) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &BranchError{Op: op, XID: b.xid, Err: notBadConn(err)}
}

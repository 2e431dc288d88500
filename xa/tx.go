package xa

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"
)

// Tx is a global transaction: one atomic unit over several databases. Its methods may be called concurrently;
// statements of one branch are executed one after the other.
//
// It is atomic, not a global snapshot: another reader can see one database committed a moment before the next.
type Tx struct {
	m    *Manager
	id   string
	opts TxOptions

	// lifetime ends when the transaction does, when Begin's context ends, and when the timeout is over. It ends running
	// statements. A transaction is an operation that spans calls, hence a context in a struct.
	lifetime context.Context
	cancel   context.CancelCauseFunc
	unwatch  func() bool // stops the watch over lifetime's end

	mu       sync.Mutex // guards what follows
	state    state      // the one word that commit, rollback and timeout race for (rule P7)
	branches []*Branch  // in the order in which they were enlisted
	only     error      // why it can only be rolled back
	err      error      // what ended it returned
	called   bool       // Commit or Rollback ended it, not its context or timeout
	hooks    []func(error)
	done     chan struct{}
}

// state is where a transaction stands. It only moves forward.
type state uint8

const (
	active state = iota // takes branches and statements
	ending              // somebody is committing it or rolling it back
	ended               // done, as far as the caller is concerned
)

func newTx(m *Manager, id string, opts *TxOptions) *Tx {
	t := &Tx{m: m, id: id, done: make(chan struct{})}
	if opts != nil {
		t.opts = *opts
	}
	setDefault(&t.opts.Timeout, m.cfg.Timeout)
	return t
}

// live starts the transaction's lifetime.
func (t *Tx) live(ctx context.Context) {
	ctx, t.cancel = context.WithCancelCause(ctx)
	var release context.CancelFunc
	t.lifetime, release = context.WithDeadlineCause(ctx, time.Now().Add(t.opts.Timeout), timeoutError(t.opts.Timeout))
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unwatch = context.AfterFunc(t.lifetime, func() {
		release()
		t.rollback(t.lifetime, context.Cause(t.lifetime), false)
	})
}

// ID returns the transaction's ID, which names it in the log, in every database and to xa-recover.
func (t *Tx) ID() string { return t.id }

// Branch returns the transaction's branch in that resource. Its first call starts the branch on a connection of the
// resource's pool, and waits for one while ctx and the transaction's timeout allow; later calls return the same branch.
// When a branch can't be started the transaction can only be rolled back.
//
// Two transactions that enlist the same pools in opposite order can wait for each other's connections, as for each
// other's rows, until one's timeout is over: enlist in one order everywhere, or in one call with [Tx.Branches].
func (t *Tx) Branch(ctx context.Context, resource string) (*Branch, error) {
	r, err := t.m.resource(resource)
	if err != nil {
		return nil, &Error{ID: t.id, Outcome: err}
	}
	t.mu.Lock()
	if t.state != active {
		defer t.mu.Unlock()
		return nil, t.endedError()
	}
	i := slices.IndexFunc(t.branches, func(b *Branch) bool { return b.res == r })
	if i >= 0 {
		b := t.branches[i]
		t.mu.Unlock()
		return b, b.started(ctx)
	}
	b := newBranch(t, r)
	t.branches = append(t.branches, b)
	t.mu.Unlock()

	if err := b.start(ctx); err != nil {
		t.SetRollbackOnly(err)
		return nil, &Error{ID: t.id, Outcome: err}
	}
	return b, nil
}

// Branches returns the branches in all of these resources, in the order given, and starts those that are missing in the
// order of their names. Transactions that enlist this way don't wait for each other's connections
// in a circle, nor for each other's SQLite files.
func (t *Tx) Branches(ctx context.Context, resources ...string) ([]*Branch, error) {
	byName := map[string]*Branch{}
	for _, name := range slices.Sorted(slices.Values(resources)) {
		b, err := t.Branch(ctx, name)
		if err != nil {
			return nil, err
		}
		byName[name] = b
	}
	out := make([]*Branch, len(resources))
	for i, name := range resources {
		out[i] = byName[name]
	}
	return out, nil
}

// SetRollbackOnly makes sure that the transaction is rolled back, even if Commit is called. The first cause is what
// Commit's error carries; nil stands for "marked rollback-only". It does not end the transaction.
func (t *Tx) SetRollbackOnly(cause error) {
	if cause == nil {
		cause = errors.New("marked rollback-only")
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.only == nil {
		t.only = cause
	}
}

// Rollback undoes the transaction in every database. It is safe to defer: after Commit or Rollback has finished it
// returns nil and does nothing. A database that can't be told now rolls back
// when it notices that the connection is gone, or is told by recovery; that is no error.
func (t *Tx) Rollback(ctx context.Context) error {
	t.rollback(ctx, errRollbackCalled, true)
	return nil
}

var errRollbackCalled = errors.New("Rollback was called")

// enter moves the transaction from active to ending, for the one caller that gets true. called: by the
// application's own Commit or Rollback.
func (t *Tx) enter(called bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.state != active {
		return false
	}
	t.state, t.called = ending, called
	t.unwatch()
	return true
}

// leave ends the transaction. left: recovery has to finish branches of it.
func (t *Tx) leave(err error, left bool) {
	t.mu.Lock()
	t.state = ended
	t.err = err
	hooks := t.hooks
	t.mu.Unlock()
	t.cancel(ErrTxDone)
	t.m.end(t, left)
	call(t.m.cfg.Trace.TxDone, TxEvent{ID: t.id, Err: err})
	close(t.done)
	for _, hook := range hooks {
		t.tell(hook)
	}
}

// endedError tells why the transaction takes nothing more. t.mu is held.
func (t *Tx) endedError() error {
	e := &Error{ID: t.id, Outcome: ErrTxDone}
	if t.state == ended && !t.called {
		e.Causes = []error{t.err}
	}
	return e
}

// result waits until the transaction has ended and returns what ended it returned, and whether that was the
// application's own Commit or Rollback.
func (t *Tx) result() (err error, called bool) {
	<-t.done
	return t.err, t.called
}

// branchOptions are the options of each branch.
func (t *Tx) branchOptions() *sql.TxOptions {
	return &sql.TxOptions{Isolation: t.opts.Isolation, ReadOnly: t.opts.ReadOnly}
}

// join returns a context that ends with ctx and with the transaction's lifetime. release must be called.
func (t *Tx) join(ctx context.Context) (joined context.Context, release func()) {
	joined, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(t.lifetime, func() { cancel(context.Cause(t.lifetime)) })
	return joined, func() { stop(); cancel(nil) }
}

// because adds why the transaction's lifetime is over, if it is, to an error that came of it.
func (t *Tx) because(err error) error {
	if err == nil || t.lifetime.Err() == nil {
		return err
	}
	return fmt.Errorf("%w: %w", context.Cause(t.lifetime), err)
}

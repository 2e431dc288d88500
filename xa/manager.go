package xa

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// Manager runs global transactions over its resources. It is safe for concurrent use. Make one with [Open].
type Manager struct {
	cfg       Config
	resources map[string]*resource
	member    txlog.Member // nil: the log is not shared

	mu      sync.Mutex          // guards what follows
	latched map[string]struct{} // one latch per ID (rule P4): live here, or being recovered
	open    map[*Tx]struct{}    // between Begin and their end
	closed  bool                // no new transactions
	ended   chan struct{}       // closed, and made anew, whenever a transaction ends

	recovering busy // one recovery at a time
	wake       chan struct{}
	stop       context.CancelFunc // ends the background
	stopped    chan struct{}      // closed when it has ended
}

// Open returns a manager. Before, it checks that every database that answers is fit for XA, and settles what
// this log left in doubt; afterwards that goes on in the background. A database that is down does not
// keep Open from returning: it is checked and recovered when it is back. One that answers
// and can't work, such as PostgreSQL with max_prepared_transactions = 0, is an error that tells what to do. So is a log that has been copied
// (see txlog.Witness) until a person has adopted it. When ctx ends before Open has
// finished, Open returns its error. The caller must call [Manager.Close] or [Manager.Shutdown].
func Open(ctx context.Context, cfg Config) (*Manager, error) {
	if err := cfg.validate(); err != nil {
		return nil, fmt.Errorf("xa: open: %w", err)
	}
	m := &Manager{
		cfg:       cfg.withDefaults(),
		resources: map[string]*resource{},
		latched:   map[string]struct{}{},
		open:      map[*Tx]struct{}{},
		ended:     make(chan struct{}),

		recovering: make(busy, 1),
		wake:       make(chan struct{}, 1),
		stopped:    make(chan struct{}),
	}
	for _, r := range m.cfg.Resources {
		m.resources[r.Name] = newResource(m, r)
	}
	if w, ok := cfg.Log.(txlog.Witness); ok {
		if err := w.Witnessed(); err != nil { // whoever has the log that it knows nothing of would abort our transactions
			m.closeHandles()
			return nil, fmt.Errorf("xa: open: %w", err)
		}
	}
	if err := m.join(ctx); err != nil {
		m.closeHandles()
		return nil, fmt.Errorf("xa: open: %w", err)
	}
	report, err := m.admitAll(ctx)
	if err != nil {
		m.leave()
		m.closeHandles()
		return nil, fmt.Errorf("xa: open: %w", err)
	}
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	m.stop = stop
	go m.background(background, report)
	return m, nil
}

// Begin starts a global transaction. Nothing is written, and no database is asked, before a branch starts. When ctx
// ends before the decision, or the timeout is over, the transaction is rolled back; so ctx must live
// as long as the transaction.
func (m *Manager) Begin(ctx context.Context, opts *TxOptions) (*Tx, error) {
	tx, err := m.begin(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("xa: begin: %w", err)
	}
	return tx, nil
}

func (m *Manager) begin(ctx context.Context, opts *TxOptions) (*Tx, error) {
	if err := opts.validate(); err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	tx := newTx(m, txid.New(m.cfg.Log.ID(), m.mark(), time.Now()), opts)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	m.latched[tx.id] = struct{}{}
	m.open[tx] = struct{}{}
	tx.live(ctx)
	return tx, nil
}

// Do runs fn in a global transaction and commits it. An error or a panic of fn rolls back: the error that Do returns is
// then both ErrRolledBack and fn's own; a panic goes on. The context that fn gets carries the transaction and ends with it; statements
// of [Manager.DB]'s handles run inside the transaction under that context. What Do returns otherwise is what [Tx.Commit] returns. Where it can't even
// begin, since ctx has ended or the manager is closed, say, the error is ErrRolledBack and that cause.
// Where opts.Retry asks for it, a definite abort makes Do call fn again, in a new transaction.
func (m *Manager) Do(ctx context.Context, opts *TxOptions, fn func(ctx context.Context, tx *Tx) error) error {
	tx, err := m.begin(ctx, opts)
	if err != nil {
		return fmt.Errorf("xa: %w before it began: %w", ErrRolledBack, err)
	}
	for attempt := 1; ; attempt++ {
		err = tx.do(ctx, fn)
		if attempt >= tx.opts.Retry.Attempts || !tx.repeatable(err) || tx.opts.Retry.pause(ctx, attempt) != nil {
			return err
		}
		next, failed := m.begin(ctx, opts)
		if failed != nil {
			return err // what became of the last attempt is what the caller must know
		}
		tx = next
	}
}

// do runs fn in the transaction and ends it.
func (t *Tx) do(ctx context.Context, fn func(ctx context.Context, tx *Tx) error) error {
	returned := false
	defer func() {
		if !returned { // a panic, or runtime.Goexit, which a test's FailNow calls
			t.rollback(ctx, errors.New("the function did not return"), false)
		}
	}()
	err := fn(NewContext(t.lifetime, t), t)
	returned = true
	if err != nil {
		return t.rollback(ctx, err, false)
	}
	if err = t.Commit(ctx); errors.Is(err, ErrTxDone) { // the function has ended it by itself
		err, _ = t.result()
	}
	return err
}

// Recover looks for what is in doubt under this log and settles it, now, as the background does by
// itself. The Report tells what was done, what was left and why; the error is about the log or ctx. One recovery is at work at a time: the next
// waits for it, and starts anew. When ctx ends, Recover returns its cause, be it while it waits or while it works: what is not done by then is left.
func (m *Manager) Recover(ctx context.Context) (recovery.Report, error) {
	if err := m.recovering.acquire(ctx); err != nil {
		return recovery.Report{LogID: m.cfg.Log.ID()}, fmt.Errorf("recovery: another one is at work: %w", err)
	}
	defer m.recovering.Unlock()
	r := recovery.Resolver{
		Log:       m.cfg.Log,
		Resources: m.cfg.Resources,
		Claim:     m.claim,
		Member:    m.member,
		Timeout:   m.cfg.RecoveryTimeout,
		Logger:    m.cfg.Logger,
	}
	if m.stop == nil { // Open: nothing is live yet, and a name may mean another database than it did in the last process
		r.Claim = nil
	}
	report, err := r.Resolve(ctx)
	if cause := context.Cause(ctx); err != nil && cause != nil && !errors.Is(err, cause) {
		err = fmt.Errorf("%w: %w", cause, err)
	}
	for _, answer := range report.Resources {
		m.resources[answer.Name].answered(answer)
	}
	call(m.cfg.Trace.Recovered, RecoveryEvent{Report: report, Err: err})
	return report, err
}

// Shutdown takes no new transactions, waits until none is open and nothing of this log is in doubt, and
// closes the manager. What other living members of a shared log have in hand is not waited for. When ctx ends before, it returns ctx's error with what is left, and the manager stays open
// for another Shutdown or Close, but takes no new transactions.
//
// It knows what the databases hold, not what is on the way to them: a prepare that was cut off, since its context was cancelled or its connection lost,
// may reach a database after Shutdown has returned nil, and then waits for the next recovery of this log. So don't cancel the transactions' contexts before
// Shutdown, and let xa-recover look once more before the log's disk goes.
func (m *Manager) Shutdown(ctx context.Context) error {
	for {
		m.mu.Lock()
		m.closed = true
		left, ended := len(m.open), m.ended
		m.mu.Unlock()
		if left == 0 {
			break
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return fmt.Errorf("xa: shutdown: %d transactions are still open: %w", left, context.Cause(ctx))
		}
	}
	for pause := minPause; ; pause = min(2*pause, m.cfg.RecoveryInterval) {
		report, err := m.Recover(ctx)
		if err == nil && done(report) {
			return m.Close()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("xa: shutdown: %s: %w", leftovers(report, err), context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// Close ends the manager at once: what is open is rolled back, what is being committed is waited for, and what is in
// doubt is left to recovery, by the next Open or xa-recover. Calling it twice is harmless.
func (m *Manager) Close() error {
	m.mu.Lock()
	m.closed = true
	open := slices.Collect(maps.Keys(m.open))
	m.mu.Unlock()
	var wg sync.WaitGroup
	for _, tx := range open {
		wg.Go(func() { tx.rollback(context.Background(), ErrClosed, false) })
	}
	wg.Wait()
	for {
		m.mu.Lock()
		left, ended := len(m.open), m.ended
		m.mu.Unlock()
		if left == 0 {
			break
		}
		<-ended
	}
	m.stop()
	<-m.stopped
	m.leave()
	m.closeHandles()
	return nil
}

func (m *Manager) closeHandles() {
	for _, r := range m.resources {
		r.handle.Close()
		r.branches.Close()
	}
}

// claim takes the latch of an ID for recovery.
func (m *Manager) claim(id string) (release func(), ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, taken := m.latched[id]; taken {
		return nil, false
	}
	m.latched[id] = struct{}{}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.latched, id)
	}, true
}

// end takes a transaction off the books and gives its ID to recovery, which is told when branches are left.
func (m *Manager) end(tx *Tx, left bool) {
	m.mu.Lock()
	delete(m.latched, tx.id)
	delete(m.open, tx)
	close(m.ended)
	m.ended = make(chan struct{})
	m.mu.Unlock()
	if left {
		select {
		case m.wake <- struct{}{}:
		default: // it has been told already
		}
	}
}

// resource returns the resource of that name.
func (m *Manager) resource(name string) (*resource, error) {
	if r := m.resources[name]; r != nil {
		return r, nil
	}
	names := slices.Sorted(maps.Keys(m.resources))
	return nil, fmt.Errorf("no resource is named %q: the configured ones are %s", name, strings.Join(names, ", "))
}

// Keys of the log's attributes.
const (
	keyResource = "resource"
	keyError    = "err"
	keyHint     = "hint"
	keySameAs   = "same_as"
	keyID       = "id"
	keyXID      = "xid"
)

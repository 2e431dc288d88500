package recovery

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xasql/xasql/drivers"
)

// watch ends a context when nothing has moved for a while.
type watch struct {
	limit time.Duration
	timer *time.Timer
}

// watched returns a context that ends as well when limit is over since the last call of moved.
func watched(ctx context.Context, limit time.Duration) (_ context.Context, w *watch, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	w = &watch{limit, time.AfterFunc(limit, func() { cancel(silence(limit)) })}
	return ctx, w, func() { w.timer.Stop(); cancel(nil) }
}

func (w *watch) moved() { w.timer.Reset(w.limit) }

// silence is the error of what did not move for so long. It is context.DeadlineExceeded.
type silence time.Duration

func (s silence) Error() string        { return fmt.Sprintf("no answer for %v", time.Duration(s)) }
func (s silence) Is(target error) bool { return target == context.DeadlineExceeded }

// because returns what has ended the context in place of an error that only tells that somebody did: nobody has cancelled anything.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); errors.Is(err, context.Canceled) && errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	return err
}

// work is the work on one resource.
type work struct {
	drivers.Resource
	*watch
	slots chan struct{} // is full while as many connections as may be are at work
	keeps bool          // connections, from one branch to the next

	mu   sync.Mutex // guards idle
	idle []*sql.Conn
}

// everywhere calls f for all resources at once. The context of each ends when it stands still for too long.
func (p *pass) everywhere(ctx context.Context, f func(ctx context.Context, i int, w *work)) {
	var wg sync.WaitGroup
	for i, res := range p.Resources {
		wg.Go(func() {
			ctx, watch, stop := watched(ctx, p.limit())
			defer stop()
			f(ctx, i, &work{Resource: res, watch: watch, slots: p.slots[res.Name], keeps: res.DB.Stats().MaxOpenConnections != 1})
		})
	}
	wg.Wait()
}

// places makes what limits, for each resource, over how many connections at once a pass works.
func (r *Resolver) places() map[string]chan struct{} {
	slots := map[string]chan struct{}{}
	for _, res := range r.Resources {
		most := positive(r.Parallel, defaultParallel)
		if limit := res.DB.Stats().MaxOpenConnections; limit > 0 {
			most = min(most, max(1, limit/2)) // the pool is the application's, and other resources' branches may hang on what this one tells
		}
		slots[res.Name] = make(chan struct{}, most)
	}
	return slots
}

// tell tells the database the outcome of a branch that it has listed.
func (w *work) tell(ctx context.Context, listed drivers.Prepared, commit bool) error {
	select {
	case w.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-w.slots }()
	f, ok := w.Driver.(drivers.Finisher)
	switch ok = ok && !listed.Held; {
	case !ok && commit:
		return w.Driver.CommitPrepared(ctx, w.DB, listed.XID)
	case !ok:
		return w.Driver.RollbackPrepared(ctx, w.DB, listed.XID)
	}
	conn, err := w.take(ctx)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if err = f.FinishListed(ctx, conn, listed.XID, commit); err != nil && !errors.Is(err, drivers.ErrUnknownXID) {
		discard(conn)
	} else {
		w.give(conn)
	}
	return err
}

// take returns a connection that was used before, or a new one. They are kept until [work.rest]: the pool may keep fewer idle than are used here,
// and would make a new one for nearly every branch.
func (w *work) take(ctx context.Context) (*sql.Conn, error) {
	w.mu.Lock()
	if n := len(w.idle); n > 0 {
		conn := w.idle[n-1]
		w.idle = w.idle[:n-1]
		w.mu.Unlock()
		return conn, nil
	}
	w.mu.Unlock()
	return w.connect(ctx)
}

func (w *work) give(conn *sql.Conn) {
	if !w.keeps {
		_ = conn.Close()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.idle = append(w.idle, conn)
}

// rest gives all connections back to the pool.
func (w *work) rest() {
	for _, conn := range w.idle {
		_ = conn.Close()
	}
	w.idle = nil
}

// connect takes a connection that answers from the pool. After a restart of the server all that idle there are dead.
func (w *work) connect(ctx context.Context) (*sql.Conn, error) {
	for dead := w.DB.Stats().OpenConnections; ; dead-- {
		conn, err := w.DB.Conn(ctx)
		if err != nil {
			return nil, err
		}
		if err = conn.PingContext(ctx); err == nil {
			return conn, nil
		}
		discard(conn)
		if dead <= 0 || ctx.Err() != nil {
			return nil, err
		}
	}
}

// discard closes the connection instead of pooling it.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

const (
	// perConnection is how many branches are worth one more connection: a handful is settled one after the other, in the order of the list.
	perConnection = 16
	// ahead is how many branches are being decided for each that is being finished: a log writes at once what is decided at once.
	ahead = 8
)

// each calls f for the indices below n, some at once where there are many, and gives back what connections they used.
func (w *work) each(n int, f func(i int)) {
	defer w.rest()
	workers := 1
	if n > perConnection {
		workers = ahead * min(cap(w.slots), (n+perConnection-1)/perConnection)
	}
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, workers) {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	wg.Wait()
}

package sqllog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xasql/xasql/txlog"
)

// maxResources is the limit of the encoded names of a decision's resources, in bytes: what MySQL's TEXT holds, rounded down.
const maxResources = 60_000

// maxEvidence is likewise that of a decision's evidence: what is longer is left out.
const maxEvidence = 60_000

// row is a decision as the table holds it.
type row struct {
	id        string // encoded
	outcome   string
	resources string
	evidence  string
	decidedAt int64
}

// item is a decision that is to be written. Those who decide the same ID meanwhile wait for the same item.
type item struct {
	id   string
	row  row
	sent bool // Log.mu guards it: the database may have it

	possible bool // the writer's: an attempt to record it may have succeeded

	// Final once done is closed.
	done    chan struct{}
	dropped bool // by who wanted it, before it was sent
	outcome txlog.Outcome
	err     error
}

// doubt is a decision of which nobody knows whether it was recorded.
type doubt struct {
	row   row
	err   error
	until time.Time // the log tries to find out by itself
}

// Decide records d, unless a decision of d.ID stands already, and returns the outcome that stands. It is durable when
// Decide returns nil. Evidence of more than 60,000 bytes, as it is kept, is left out.
//
// An error that is ErrNotDecided means that this call recorded nothing, and never will. Any other error means that the
// outcome is unknown: the connection was lost, and the database could not be asked in time. The log goes on asking, and
// the next Decide of the ID asks too: once one answers, the outcome is known.
//
// ctx ends the wait for one's turn, and for a connection; what has been sent to the database is waited for, ten seconds at most.
func (l *Log) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	o, err := l.decide(ctx, d)
	if err != nil {
		return txlog.Undecided, fmt.Errorf("sqllog: decide %q: %w", d.ID, err)
	}
	return o, nil
}

func (l *Log) decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	r, err := newRow(d)
	if err != nil {
		return 0, notDecided(err)
	}
	end, err := l.begin(true)
	if err != nil {
		return 0, notDecided(err)
	}
	defer end()
	for {
		if err := ctx.Err(); err != nil {
			return 0, l.refused(d.ID, err)
		}
		l.mu.Lock()
		it := l.pending[d.ID]
		own := it == nil
		if own {
			it = l.enqueue(d.ID, r)
		}
		l.mu.Unlock()
		if own {
			wake(l.decided)
			l.wait(ctx, it)
		}
		<-it.done
		if it.dropped && !own {
			continue // the context of somebody else has ended
		}
		return it.outcome, it.err
	}
}

// enqueue is called with l.mu held.
func (l *Log) enqueue(id string, r row) *item {
	it := &item{id: id, row: r, done: make(chan struct{})}
	l.queue = append(l.queue, it)
	l.pending[id] = it
	return it
}

// wait returns when the item is done, or the context has ended. In the latter case it drops the item, unless the database may
// have it already.
func (l *Log) wait(ctx context.Context, it *item) {
	select {
	case <-it.done:
		return
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := slices.Index(l.queue, it); i >= 0 && !it.sent {
		l.queue = slices.Delete(l.queue, i, i+1)
		delete(l.pending, it.id)
		it.dropped = true
		it.err = l.refusedLocked(it.id, ctx.Err())
		close(it.done)
	}
}

func newRow(d txlog.Decision) (row, error) {
	if d.Outcome != txlog.Committed && d.Outcome != txlog.Aborted {
		return row{}, fmt.Errorf("outcome is %s: only committed or aborted can be decided", d.Outcome)
	}
	id, err := key(d.ID)
	if err != nil {
		return row{}, err
	}
	if slices.Contains(d.Resources, "") {
		return row{}, errors.New("a resource has no name")
	}
	resources := encodeList(d.Resources)
	if len(resources) > maxResources {
		return row{}, fmt.Errorf("the resources' names take %d bytes: the limit is %d", len(resources), maxResources)
	}
	at := d.At
	if at.IsZero() {
		at = time.Now()
	}
	r := row{id: id, outcome: d.Outcome.String(), resources: resources, decidedAt: at.UnixMicro()}
	if e := encodeEvidence(d); len(e) <= maxEvidence {
		r.evidence = e
	}
	return r, nil
}

func notDecided(cause error) error { return fmt.Errorf("%w: %w", txlog.ErrNotDecided, cause) }

// refused is the error of a Decide that sent nothing. Where an earlier one of the ID ended as unknown it is no definite no.
func (l *Log) refused(id string, cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.refusedLocked(id, cause)
}

func (l *Log) refusedLocked(id string, cause error) error {
	if u, ok := l.unknown[id]; ok {
		return fmt.Errorf("%w; and now: %w", u.err, cause)
	}
	return notDecided(cause)
}

// doubt returns why the outcome of an ID is unknown, nil if it is not.
func (l *Log) doubt(id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if u, ok := l.unknown[id]; ok {
		return u.err
	}
	return nil
}

// wake tells a goroutine that there is work. It may be told already.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// byID sorts as the tables' keys are sorted: batches of several processes then don't block each other crosswise.
func byID(a, b *item) int { return cmp.Compare(a.row.id, b.row.id) }

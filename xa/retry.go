package xa

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/xasql/xasql/drivers"
)

// Retry is how [Manager.Do] tries again. It does so only when the transaction has surely been rolled back, because of an error that
// a branch's driver calls a serialization failure, a deadlock or a lock that was not had in time (SQLite: busy), be it the
// function's own error or the commit's. It never does so when an outcome is unknown or heuristic, when the transaction's timeout was over,
// when the function ended the transaction by itself and it was committed, or when it panicked.
//
// Each attempt is a transaction of its own, with its own ID and Timeout. The function must do nothing that can't be done twice, but in
// the transaction's branches. Between two attempts Do waits for a random time between half and the whole of the backoff, which begins at MinBackoff and
// doubles up to MaxBackoff. When ctx ends, Do returns the last attempt's error.
type Retry struct {
	// Attempts is how often the function is called at most. Zero and one: once.
	Attempts int
	// MinBackoff is the first backoff. Zero: 10 milliseconds.
	MinBackoff time.Duration
	// MaxBackoff limits the backoff. Zero: 1 second, or MinBackoff where that is more.
	MaxBackoff time.Duration
}

const (
	defaultMinBackoff = 10 * time.Millisecond
	defaultMaxBackoff = time.Second
)

func (r Retry) validate() error {
	switch {
	case r.Attempts < 0:
		return errors.New("TxOptions.Retry.Attempts is negative: leave it zero to try once")
	case r.MinBackoff < 0 || r.MaxBackoff < 0:
		return errors.New("TxOptions.Retry has a negative backoff: leave it zero for the default")
	case r.MaxBackoff != 0 && r.MaxBackoff < r.MinBackoff:
		return errors.New("TxOptions.Retry.MaxBackoff is less than MinBackoff")
	}
	return nil
}

// backoff returns the longest wait after so many attempts.
func (r Retry) backoff(attempts int) time.Duration {
	setDefault(&r.MinBackoff, defaultMinBackoff)
	setDefault(&r.MaxBackoff, max(defaultMaxBackoff, r.MinBackoff))
	d := r.MinBackoff
	for ; attempts > 1 && d < r.MaxBackoff; attempts-- {
		d *= 2
	}
	return min(d, r.MaxBackoff)
}

// pause waits before the next attempt.
func (r Retry) pause(ctx context.Context, attempts int) error {
	longest := r.backoff(attempts)
	timer := time.NewTimer(longest - rand.N(longest/2+1))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return ctx.Err()
	}
}

// repeatable tells whether the transaction, which ended with err, may be tried again. What counts is what became of this very
// transaction: err may carry another's.
func (t *Tx) repeatable(err error) bool {
	own, _ := t.result()
	e, ok := own.(*Error)
	if !ok || e.Outcome != ErrRolledBack {
		return false
	}
	for _, never := range []error{ErrOutcomeUnknown, ErrHeuristic, ErrTimeout, ErrClosed} {
		if errors.Is(err, never) {
			return false
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, b := range t.branches {
		if b.res.transient(err) {
			return true
		}
	}
	return false
}

// transient tells whether the driver calls an error one after which the whole transaction may be tried again.
func (r *resource) transient(err error) bool {
	c, ok := r.Driver.(drivers.Classifier)
	if !ok {
		return false
	}
	switch c.Classify(err) {
	case drivers.ClassSerialization, drivers.ClassDeadlock, drivers.ClassLockTimeout:
		return true
	}
	return false
}

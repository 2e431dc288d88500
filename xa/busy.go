package xa

import (
	"context"
	"database/sql/driver"
)

// busy is a lock whose waits can be given up.
type busy chan struct{}

func (l busy) Lock()   { l <- struct{}{} }
func (l busy) Unlock() { <-l }

func (l busy) TryLock() bool {
	select {
	case l <- struct{}{}:
		return true
	default:
		return false
	}
}

// acquire waits for the lock until ctx ends, and then returns ctx's cause, and holds nothing.
func (l busy) acquire(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	select {
	case l <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// acquire takes the branch's connection for a call. Where it returns an error nothing is held, and nothing was sent.
func (b *Branch) acquire(ctx context.Context) error {
	if !b.io.TryLock() {
		select {
		case b.io <- struct{}{}:
		case <-ctx.Done():
			return b.tx.because(ctx.Err())
		case <-b.tx.lifetime.Done():
			return b.over()
		}
	}
	err := ctx.Err()
	switch {
	case b.raw == nil:
		err = b.over()
	case err != nil:
		err = b.tx.because(err)
	}
	if err != nil {
		b.io.Unlock()
	}
	return err
}

// lock is for what must be done at the transaction's end too; false: somebody else holds the connection at its end.
func (b *Branch) lock() bool {
	if b.io.TryLock() {
		return true
	}
	select {
	case b.io <- struct{}{}:
		return true
	case <-b.tx.lifetime.Done():
		return false
	}
}

// over tells why the branch takes no more statements.
func (b *Branch) over() error {
	b.tx.mu.Lock()
	defer b.tx.mu.Unlock()
	if b.tx.state == active { // its lifetime is over, and its end has only begun
		return &Error{ID: b.tx.id, Outcome: context.Cause(b.tx.lifetime)}
	}
	return b.tx.endedError()
}

// check asks the driver's statement, if any, or connection for its opinion of an argument.
func (b *Branch) check(v *driver.NamedValue, raw driver.Stmt) error {
	if !b.lock() {
		return b.over()
	}
	defer b.io.Unlock()
	if raw == nil && b.raw != nil && prepares(b.raw) {
		return nil
	}
	return checkOn(v, raw, b.raw)
}

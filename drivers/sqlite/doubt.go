//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errInDoubt is behind Begin's error while the file holds a prepared branch that no session works on.
var errInDoubt = errors.New("the file holds a prepared branch, and so takes no other")

// lockFree takes the file's write lock, in a transaction, and makes the file ready for a branch. While the file holds a prepared branch, it
// waits for recovery to finish that, without the lock, which recovery needs.
func (b *branch) lockFree(ctx context.Context, s session) error {
	for {
		if err := s.lock(ctx, b.set.timeout); err != nil {
			return err
		}
		b.driver.step("locked")
		err := s.prepareFile(ctx, b.facts, b.set.timeout)
		if err == nil {
			err = s.inDoubt()
		}
		if !errors.Is(err, errInDoubt) {
			return err
		}
		if err := errors.Join(s.undo(), b.outwait(ctx, s)); err != nil {
			return err
		}
	}
}

// inDoubt returns an errInDoubt while a branch is prepared in the file.
func (s session) inDoubt() error {
	xid, err := s.value("SELECT xid || ', prepared at ' || at FROM main._xa_prepared")
	if err == nil && xid != nil {
		err = fmt.Errorf("%w: %s by a session that is gone: recovery must finish it: run xa-recover, where no program does", errInDoubt, text(xid))
	}
	return err
}

// lonely is how long Begin waits for recovery on the only connection that this process has to the file: a recovery in this very process may
// be waiting for the pool to give it that one (SetMaxOpenConns(1)).
const lonely = time.Second

// outwait waits until the file holds no prepared branch, by reading it now and then.
func (b *branch) outwait(ctx context.Context, s session) error {
	b.driver.step("waiting")
	begun := time.Now()
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		err := s.inDoubt()
		if !isBusy(err) && !errors.Is(err, errInDoubt) { // else it is asked again after the pause
			return err
		}
		if time.Since(begun) > lonely && connectionsTo(s.raw.GetFilename("main")) < 2 {
			return fmt.Errorf("%w (not waited for longer, on the only connection of this process to the file, which its recovery may need)", err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return errors.Join(ctx.Err(), err)
		}
	}
}

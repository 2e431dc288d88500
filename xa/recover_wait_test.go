package xa_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/xa"
)

// A recovery that hangs, in a driver that does not obey its context, keeps nobody from giving up.
func TestWaitForARecoveryThatHangsEndsWithTheContext(t *testing.T) {
	gone := errors.New("the operator has gone home")
	for name, f := range map[string]func(ctx context.Context, w *world) error{
		"Recover":  func(ctx context.Context, w *world) error { _, err := w.m.Recover(ctx); return err },
		"Shutdown": func(ctx context.Context, w *world) error { return w.m.Shutdown(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				m := w.open()
				release, hangs := hanging(w)
				hung := make(chan error, 1)
				go func() { _, err := m.Recover(context.Background()); hung <- err }()
				<-hangs
				ctx, cancel := context.WithCancelCause(w.Context())
				ended := make(chan error, 1)
				go func() { ended <- f(ctx, w) }()
				synctest.Wait()
				select {
				case err := <-ended:
					w.Fatalf("it did not wait: %v", err)
				default:
				}
				cancel(gone)
				if err := <-ended; !errors.Is(err, gone) {
					w.Errorf("got %v, want %v", err, gone)
				}
				if err := f(ctx, w); !errors.Is(err, gone) {
					w.Errorf("under a context that has ended: %v", err)
				}
				close(release)
				if err := <-hung; err != nil {
					w.Errorf("the one that hung: %v", err)
				}
				if _, err := m.Recover(w.Context()); err != nil { // nobody keeps the others out
					w.Error(err)
				}
			})
		})
	}
}

// A recovery that is at work when the context ends tells its cause, too.
func TestRecoveryThatIsCutShortTellsTheCause(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		gone := errors.New("the operator has gone home")
		ctx, cancel := context.WithCancelCause(w.Context())
		w.stock.Fail(memdb.OpList, memdb.Fault{Hook: func() { cancel(gone) }, Hang: true})
		if _, err := m.Recover(ctx); !errors.Is(err, gone) || !errors.Is(err, context.Canceled) {
			w.Errorf("got %v, want %v, and that it was cancelled", err, gone)
		}
	})
}

// A statement does not wait for the admission of its database, which may be down, for longer than its context allows.
func TestWaitForAnAdmissionEndsWithTheContext(t *testing.T) {
	run(t, func(w *world) {
		w.stock.Down(true)
		m := w.open()
		w.stock.Down(false)
		release, hangs := hanging(w)
		branch := func(ctx context.Context) error {
			return m.Do(w.Context(), nil, func(_ context.Context, tx *xa.Tx) error {
				_, err := tx.Branch(ctx, "stock")
				return err
			})
		}
		first := make(chan error, 1)
		go func() { first <- branch(w.Context()) }()
		<-hangs
		ctx, cancel := context.WithCancel(w.Context())
		second := make(chan error, 1)
		go func() { second <- branch(ctx) }()
		synctest.Wait()
		cancel()
		if err := <-second; !errors.Is(err, context.Canceled) {
			w.Errorf("got %v", err)
		}
		close(release)
		if err := <-first; err != nil {
			w.Error(err)
		}
	})
}

// hanging makes the next recovery hang until release is closed, whatever its context says; it tells hangs that it does.
func hanging(w *world) (release, hangs chan struct{}) {
	release, hangs = make(chan struct{}), make(chan struct{})
	w.stock.Fail(memdb.OpList, memdb.Fault{Hook: func() { close(hangs); <-release }})
	return release, hangs
}

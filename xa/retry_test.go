package xa_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

// classified is a driver that classifies the test's own errors, as engines' drivers do theirs.
type classified struct{ drivers.Driver }

var (
	errSerialization = errors.New("serialization failure")
	errDeadlock      = errors.New("deadlock")
	errBusy          = errors.New("busy")
	errUnique        = errors.New("not unique")
)

func (classified) Classify(err error) drivers.Class {
	for known, class := range map[error]drivers.Class{errSerialization: drivers.ClassSerialization, errDeadlock: drivers.ClassDeadlock,
		errBusy: drivers.ClassLockTimeout, errUnique: drivers.ClassConstraint} {
		if errors.Is(err, known) {
			return class
		}
	}
	return drivers.ClassOther
}

// attempts runs a function that does its work in both databases and then fails as f says, and returns how often it was called.
func (w *world) attempts(ctx context.Context, opts xa.TxOptions, f func(n int, tx *xa.Tx) error) (n int, err error) {
	err = w.m.Do(ctx, &opts, func(ctx context.Context, tx *xa.Tx) error {
		n++
		w.put(tx, "orders", "k", fmt.Sprint(n))
		w.put(tx, "stock", "k", fmt.Sprint(n))
		return f(n, tx)
	})
	return n, err
}

// runClassified is run, with drivers that know the errors above.
func runClassified(t *testing.T, f func(w *world)) {
	run(t, func(w *world) {
		w.cfg.Resources[0].Driver = classified{w.cfg.Resources[0].Driver}
		w.cfg.Resources[1].Driver = classified{w.cfg.Resources[1].Driver}
		f(w)
	})
}

func TestRetryAfterADefiniteAbort(t *testing.T) {
	for name, fail := range map[string]func(w *world, tx *xa.Tx) error{
		"the function's own error": func(*world, *xa.Tx) error { return fmt.Errorf("repository: %w", errDeadlock) },
		"a vote": func(w *world, _ *xa.Tx) error {
			w.stock.Fail(memdb.OpPrepare, memdb.Fault{Err: fmt.Errorf("%w: %w", drivers.ErrRolledBack, errSerialization)})
			return nil
		},
		"busy": func(*world, *xa.Tx) error { return errBusy },
		"a rollback by itself, and its cause": func(w *world, tx *xa.Tx) error {
			tx.Rollback(w.Context())
			return errSerialization
		},
	} {
		runClassified(t, func(w *world) {
			w.open()
			began := time.Now()
			n, err := w.attempts(w.Context(), xa.TxOptions{Retry: xa.Retry{Attempts: 4, MinBackoff: time.Second, MaxBackoff: 2 * time.Second}}, func(n int, tx *xa.Tx) error {
				if n < 4 {
					return fail(w, tx)
				}
				return nil
			})
			if v, _ := w.orders.Get("k"); n != 4 || err != nil || v != "4" {
				w.Errorf("%s: %d attempts, %v, the row is %q", name, n, err, v)
			}
			if took := time.Since(began); took < 2500*time.Millisecond || took > 5*time.Second {
				w.Errorf("%s: the backoffs took %v, want a half to the whole of 1 s, 2 s and 2 s", name, took)
			}
		})
	}
}

func TestNoRetry(t *testing.T) {
	always := xa.TxOptions{Retry: xa.Retry{Attempts: 5}}
	ended := errors.New("the caller has gone")
	for name, c := range map[string]struct {
		opts xa.TxOptions
		fail func(w *world, tx *xa.Tx) error
		want error
		n    int
	}{
		"not asked for":    {xa.TxOptions{}, func(*world, *xa.Tx) error { return errDeadlock }, errDeadlock, 1},
		"limit":            {always, func(*world, *xa.Tx) error { return errDeadlock }, errDeadlock, 5},
		"constraint":       {always, func(*world, *xa.Tx) error { return errUnique }, errUnique, 1},
		"unclassified":     {always, func(*world, *xa.Tx) error { return ended }, ended, 1},
		"rollback-only":    {always, func(_ *world, tx *xa.Tx) error { tx.SetRollbackOnly(ended); return nil }, ended, 1},
		"manager's end":    {always, func(w *world, _ *xa.Tx) error { w.m.Close(); return errDeadlock }, xa.ErrClosed, 1},
		"timeout":          {always, func(*world, *xa.Tx) error { time.Sleep(2 * time.Minute); return errBusy }, xa.ErrTimeout, 1},
		"another's unkown": {always, func(*world, *xa.Tx) error { return errors.Join(errBusy, xa.ErrOutcomeUnknown) }, xa.ErrOutcomeUnknown, 1},
		"outcome unknown": {always, func(w *world, _ *xa.Tx) error {
			w.log.FailDecide(logtest.LostUnrecorded)
			return nil
		}, xa.ErrOutcomeUnknown, 1},
		"heuristic": {always, func(w *world, _ *xa.Tx) error {
			w.orders.Fail(memdb.OpRollback, memdb.Fault{After: true, Err: drivers.ErrCommitted})
			return errDeadlock
		}, xa.ErrHeuristic, 1},
		// The error is that of another transaction that was rolled back; this one has committed.
		"committed by itself": {always, func(w *world, tx *xa.Tx) error {
			if err := tx.Commit(w.Context()); err != nil {
				return err
			}
			return &xa.Error{ID: "another", Outcome: xa.ErrRolledBack, Causes: []error{errDeadlock}}
		}, errDeadlock, 1},
	} {
		runClassified(t, func(w *world) {
			w.open()
			n, err := w.attempts(w.Context(), c.opts, func(_ int, tx *xa.Tx) error { return c.fail(w, tx) })
			if n != c.n || !errors.Is(err, c.want) {
				w.Errorf("%s: %d attempts, %v", name, n, err)
			}
		})
	}
}

// A context that ends between two attempts ends the trying; what became of the last one is what Do returns.
func TestRetryObeysTheContext(t *testing.T) {
	runClassified(t, func(w *world) {
		w.open()
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		began := time.Now()
		n, err := w.attempts(ctx, xa.TxOptions{Retry: xa.Retry{Attempts: 5, MinBackoff: time.Hour, MaxBackoff: time.Hour}}, func(int, *xa.Tx) error { return errDeadlock })
		if n != 1 || !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, errDeadlock) || time.Since(began) != time.Second {
			w.Errorf("%d attempts, %v, after %v", n, err, time.Since(began))
		}
	})
	runClassified(t, func(w *world) {
		m := w.open()
		n, err := w.attempts(w.Context(), xa.TxOptions{Retry: xa.Retry{Attempts: 5, MinBackoff: time.Hour}}, func(int, *xa.Tx) error {
			time.AfterFunc(time.Minute, func() { m.Close() })
			return errDeadlock
		})
		if n != 1 || !errors.Is(err, xa.ErrRolledBack) {
			w.Errorf("the manager was closed meanwhile: %d attempts, %v", n, err)
		}
	})
}

func TestBackoffDoublesUpToItsLimit(t *testing.T) {
	runClassified(t, func(w *world) {
		w.open()
		var at []time.Time
		w.attempts(w.Context(), xa.TxOptions{Retry: xa.Retry{Attempts: 20}}, func(int, *xa.Tx) error {
			at = append(at, time.Now())
			return errDeadlock
		})
		differ := false
		for i := 1; i < len(at); i++ {
			longest := min(10*time.Millisecond<<(i-1), time.Second)
			pause := at[i].Sub(at[i-1])
			if pause < longest/2 || pause > longest {
				w.Errorf("pause %d was %v, want %v to %v", i, pause, longest/2, longest)
			}
			differ = differ || pause != longest
		}
		if !differ {
			w.Error("no pause was random")
		}
	})
}

func TestBadRetryIsRefused(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		for want, r := range map[string]xa.Retry{
			"Attempts is negative":          {Attempts: -1},
			"negative backoff":              {MinBackoff: -1},
			"has a negative backoff":        {MaxBackoff: -1},
			"MaxBackoff is less than MinBa": {MinBackoff: 2, MaxBackoff: 1},
		} {
			_, err := m.Begin(w.Context(), &xa.TxOptions{Retry: r})
			w.refused(err, want)
		}
	})
}

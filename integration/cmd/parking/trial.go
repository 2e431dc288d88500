package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xasql/xasql/integration/crash"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// trial is a case under way.
type trial struct {
	crash.Case
	step      string
	point     crash.Point // where it stops
	logger    *slog.Logger
	log       *filelog.Log
	resources map[string]*resource // by side

	armed    atomic.Bool // it stops from now on
	moving   atomic.Bool // a compaction is an event from now on
	released <-chan struct{}
	parked   sync.Once
	arrived  func() // called once, when it is parked or done
}

func newTrial(c crash.Case, step string, released <-chan struct{}, arrived func()) *trial {
	t := &trial{Case: c, step: step, released: released, arrived: sync.OnceFunc(arrived)}
	t.logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("case", c.ID)
	switch step {
	case "work":
		t.point = crash.Find(crash.Points(), c.Point)
	case "again":
		t.point = crash.Find(crash.Recoveries(), c.Then)
	}
	return t
}

// at is called at every event. It returns when the trial may go on; true: it was stopped here.
func (t *trial) at(event string) bool {
	switch {
	case !t.armed.Load():
	case event == t.point.Stop:
		t.parked.Do(func() {
			t.say("parked")
			t.arrived()
		})
		<-t.released
		return true
	case slices.Contains(t.point.Hold, event):
		<-t.released
	}
	return false
}

// onDisk is at for what the log does to its files. It compacts by itself as well, whenever it likes: that is no event before the decision stands.
func (t *trial) onDisk(event string) {
	if event == "log-sync" || t.moving.Load() {
		t.at(event)
	}
}

// say tells the test in one write, as ledger.Tell does.
func (t *trial) say(word string) {
	if err := ledger.Tell(os.Stdout, t.ID, ledger.Outcome(word)); err != nil {
		t.logger.Error("nobody listens", "err", err)
	}
}

// patience is more than any wait of a trial, parked or not: nothing may end by a time limit.
const patience = 10 * time.Minute

// run returns when nothing of the trial's log is in doubt.
func (t *trial) run(ctx context.Context) (err error) {
	defer t.arrived()
	t.armed.Store(t.step == "again")
	opts := &filelog.Options{Logger: t.logger}
	if t.log, err = filelog.OpenOn(newDisk(t.Log, t.point.Twist == crash.Written, t.onDisk), t.Log, opts); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.log.Close()) }()
	cfg := xa.Config{
		Log: log{t.log, t}, Trace: t.trace(), Logger: t.logger,
		Timeout: patience, CompletionTimeout: patience, RecoveryTimeout: patience,
	}
	t.resources = map[string]*resource{}
	for _, s := range t.Sides {
		r, err := t.open(s)
		if err != nil {
			return err
		}
		defer r.DB.Close()
		t.resources[r.tap.side] = r
		cfg.Resources = append(cfg.Resources, r.Resource)
	}
	m, err := xa.Open(ctx, cfg)
	if err != nil {
		return err
	}
	if t.step == "work" {
		err = t.work(ctx, m)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err = errors.Join(err, m.Shutdown(ctx), m.Close()); err == nil {
		t.say("done")
	}
	return err
}

// work makes the transaction, and tells what came of it.
func (t *trial) work(ctx context.Context, m *xa.Manager) error {
	if t.point.Twist == crash.Compact {
		if err := t.before(ctx, m); err != nil {
			return err
		}
	}
	t.armed.Store(true)
	err := m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		t.at("begun")
		return t.post(ctx, tx, crash.Hit)
	})
	o, known := outcome(err)
	t.say(string(o))
	if !known {
		return fmt.Errorf("an error without an outcome: %w", err)
	}
	return nil
}

// before makes a transaction that is finished, and compacts, so that the compaction to come has something to move and something to remove.
func (t *trial) before(ctx context.Context, m *xa.Manager) error {
	err := m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error { return t.post(ctx, tx, crash.Before) })
	return errors.Join(err, t.log.Compact(ctx))
}

// post changes the trial's row in its databases.
func (t *trial) post(ctx context.Context, tx *xa.Tx, hits int) error {
	for _, s := range t.Sides {
		branch, err := tx.Branch(ctx, s.Name)
		if err != nil {
			return err
		}
		result, err := branch.ExecContext(ctx, fmt.Sprintf("update crashes set hits = hits + %d where id = %d", hits, t.Row))
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); n != 1 {
			return fmt.Errorf("%d rows changed, want 1 (%v)", n, err)
		}
		t.at("worked " + s.Name[:1])
		if t.point.Twist == crash.OnePhase {
			break
		}
	}
	return nil
}

// outcome is what an error of xa tells; false: nothing.
func outcome(err error) (ledger.Outcome, bool) {
	switch {
	case err == nil:
		return ledger.Committed, true
	case errors.Is(err, xa.ErrHeuristic):
		return ledger.Heuristic, true
	case errors.Is(err, xa.ErrOutcomeUnknown):
		return ledger.Unknown, true
	case errors.Is(err, xa.ErrRolledBack), errors.Is(err, xa.ErrClosed):
		return ledger.RolledBack, true
	}
	return ledger.Unknown, false
}

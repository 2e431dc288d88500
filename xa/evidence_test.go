package xa_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/xa"
)

// evidently makes both databases such that only who has a branch's evidence learns what became of it.
func (w *world) evidently() {
	w.orders.Style, w.stock.Style = memdb.Style{Proof: true, Evidence: true}, memdb.Style{Proof: true, Evidence: true}
	w.cfg.Resources[0].Driver, w.cfg.Resources[1].Driver = w.orders.Driver(), w.stock.Driver()
}

// onDecided calls f when the decision is durable, and nothing has been committed yet.
func (w *world) onDecided(f func()) {
	w.cfg.Trace = &xa.Trace{DecideDone: func(xa.TxEvent) { f() }}
}

func (w *world) noted() (notes []txlog.Note) {
	for n, err := range w.log.Noted(w.Context(), "") {
		if err != nil {
			w.Fatal(err)
		}
		notes = append(notes, n)
	}
	return notes
}

// A person's COMMIT PREPARED that agrees with the decision harms nobody, and where the database proves it nobody is called.
func TestBranchThatWasFinishedByHandIsJudgedByItsProof(t *testing.T) {
	for name, c := range map[string]struct {
		proves  bool // otherwise the engine can't
		silent  bool // the branches give no evidence
		down    bool // it can't be asked
		commits bool // the person
		want    error
	}{
		"committed, proven":       {proves: true, commits: true},
		"rolled back, proven":     {proves: true, want: xa.ErrHeuristic},
		"committed, not proven":   {commits: true, want: xa.ErrHeuristic},
		"rolled back, not proven": {want: xa.ErrHeuristic},
		"committed, not asked":    {proves: true, down: true, commits: true, want: xa.ErrHeuristic},
		"committed, no evidence":  {proves: true, silent: true, commits: true, want: xa.ErrHeuristic},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.oneSided = true
				if c.proves {
					w.evidently()
					w.orders.Style.ReadOnlyVotes = c.silent // see there
				}
				w.onDecided(func() {
					w.orders.Finish(w.orders.Prepared()[0], c.commits)
					if c.down {
						w.orders.Fail(memdb.OpOutcome, memdb.Fault{Lost: true})
					}
				})
				w.open()
				err := w.transfer()
				if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
					w.Errorf("got %v, want %v", err, c.want)
				}
				if rolledBack := c.proves && !c.down && !c.commits; errors.Is(err, drivers.ErrRolledBack) != rolledBack {
					w.Errorf("it is known that the branch was rolled back: %v, want %v: %v", !rolledBack, rolledBack, err)
				}
				if n := w.noted(); (len(n) == 0) != (c.want == nil) {
					w.Errorf("noted: %+v", n)
				}
			})
		})
	}
}

// A branch that somebody has finished, prepared as it was, before its transaction was rolled back may be half a transaction.
func TestPreparedBranchThatIsGoneAtRollbackIsJudgedByItsProof(t *testing.T) {
	for name, c := range map[string]struct {
		proves, commits bool
		want            error
	}{
		"rolled back, proven":     {proves: true, want: xa.ErrRolledBack},
		"committed, proven":       {proves: true, commits: true, want: xa.ErrHeuristic},
		"rolled back, not proven": {want: xa.ErrHeuristic},
		"committed, not proven":   {commits: true, want: xa.ErrHeuristic},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				w.oneSided = true
				if c.proves {
					w.evidently()
				}
				var tx *xa.Tx
				w.cfg.Trace = &xa.Trace{
					PrepareDone: func(xa.BranchEvent) { tx.SetRollbackOnly(errors.New("changed my mind")) },
					RollbackStart: func(e xa.BranchEvent) {
						if e.XID.BQual == "orders" {
							w.orders.Finish(w.orders.Prepared()[0], c.commits)
						}
					},
				}
				w.open()
				err := w.m.Do(w.Context(), nil, func(_ context.Context, t *xa.Tx) error {
					tx = t
					w.put(tx, "stock", "k", "v")
					w.put(tx, "orders", "k", "v")
					return nil
				})
				if !errors.Is(err, c.want) || errors.Is(err, xa.ErrRolledBack) != (c.want == xa.ErrRolledBack) {
					w.Errorf("got %v, want %v", err, c.want)
				}
				if n := w.noted(); (len(n) == 1) != (c.want == xa.ErrHeuristic) {
					w.Errorf("noted: %+v", n)
				}
			})
		})
	}
}

func TestDecisionKeepsTheEvidenceOfEachBranch(t *testing.T) {
	for _, mixed := range []bool{false, true} {
		run(t, func(w *world) {
			w.evidently()
			if mixed { // orders is of an engine whose branches have none
				w.orders.Style = memdb.Style{}
				w.cfg.Resources[0].Driver = w.orders.Driver()
			}
			var got []txlog.Decision
			w.onDecided(func() {
				for d, err := range w.log.Unsettled(context.Background()) {
					if err != nil {
						w.Error(err)
					}
					got = append(got, d)
				}
			})
			w.open()
			for _, key := range []string{"a", "b"} { // the second one's evidence is not the first one's
				err := w.m.Do(w.Context(), nil, func(_ context.Context, tx *xa.Tx) error {
					w.put(tx, "stock", key, "v")
					w.put(tx, "orders", key, "v")
					return nil
				})
				if err != nil {
					w.Fatal(err)
				}
			}
			want := [][]string{{"branch 1", "branch 1"}, {"branch 2", "branch 2"}}
			if mixed {
				want = [][]string{{"branch 1", ""}, {"branch 2", ""}}
			}
			for i, d := range got {
				if !slices.Equal(d.Resources, []string{"stock", "orders"}) || !slices.Equal(d.Evidence, want[i]) {
					w.Errorf("decision %d is of %q with the evidence %q, want %q", i, d.Resources, d.Evidence, want[i])
				}
			}
			if len(got) != 2 {
				w.Errorf("%d decisions", len(got))
			}
		})
	}
}

// Without evidence a decision is as it always was: nothing is kept for engines that can't prove anything.
func TestDecisionWithoutEvidenceHasNone(t *testing.T) {
	run(t, func(w *world) {
		w.onDecided(func() {
			for d := range w.log.Unsettled(context.Background()) {
				if d.Evidence != nil {
					w.Errorf("got %q", d.Evidence)
				}
			}
		})
		w.open()
		if err := w.transfer(); err != nil {
			w.Error(err)
		}
	})
}

// The usual reason for a lost answer is that the commit was executed: with evidence that is known, and not presumed.
func TestCommitWhoseAnswerWasLostIsVerified(t *testing.T) {
	for _, proves := range []bool{true, false} {
		run(t, func(w *world) {
			if proves {
				w.evidently()
			}
			var mu sync.Mutex // guards settled
			var settled []recovery.Decision
			w.cfg.Trace = &xa.Trace{Recovered: func(e xa.RecoveryEvent) {
				mu.Lock()
				defer mu.Unlock()
				settled = append(settled, e.Report.Decisions...)
			}}
			w.orders.Fail(memdb.OpCommit, memdb.Fault{After: true, Lost: true})
			w.open()
			if err := w.transfer(); err != nil {
				w.Fatal(err)
			}
			if _, err := w.m.Recover(w.Context()); err != nil { // after the background's, or before it
				w.Fatal(err)
			}
			synctest.Wait()
			mu.Lock()
			defer mu.Unlock()
			if len(settled) != 1 || !settled[0].Settled || slices.Contains(settled[0].Unverified, "orders") == proves {
				w.Errorf("the database proves it: %v; got %+v", proves, settled)
			}
		})
	}
}

package main

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"time"

	"github.com/xasql/xasql/integration/judge"
	"github.com/xasql/xasql/xa"
)

// errChangedMind rolls a transfer back.
var errChangedMind = errors.New("changed its mind")

// transfer is one global transaction of a worker.
type transfer struct {
	id      string
	plan    []judge.Entry // what it writes
	steps   []judge.Entry // the same in the order of its work, with those that only read: by nothing
	giveUp  bool          // after all was written
	opts    xa.TxOptions
	handles bool // by Manager.DB instead of the branches
}

// repeat makes transfers until ctx ends. What no fault explains ends the worker.
func (w *worker) repeat(ctx context.Context, thread int, stop context.CancelCauseFunc) {
	random := rand.New(rand.NewPCG(w.Seed, uint64(thread)))
	for n := 1; ctx.Err() == nil; n++ {
		t := w.choose(fmt.Sprintf("%st%d-%d", w.Prefix, thread, n), random)
		w.gate.RLock()
		failed, err := false, ctx.Err()
		if err == nil {
			failed, err = w.run(ctx, t)
		}
		w.gate.RUnlock()
		if err != nil {
			stop(err)
			return
		}
		pause := time.Duration(0)
		if w.Think > 0 {
			pause = time.Duration(random.Int64N(int64(w.Think)))
		}
		if failed { // while a database is down all fail at once
			pause += time.Duration(random.Int64N(int64(200 * time.Millisecond)))
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// choose makes up a transfer.
func (w *worker) choose(id string, random *rand.Rand) transfer {
	t := transfer{id: id, handles: random.IntN(4) == 0, opts: xa.TxOptions{Timeout: 10 * time.Second}}
	if random.IntN(4) == 0 { // so that some go on after a member of a shared log was suspended for longer than its lease
		t.opts.Timeout = 40 * time.Second
	}
	order := random.Perm(len(w.Resources))
	parties := 1
	if len(order) > 1 {
		parties = 2 + random.IntN(len(order)-1)
	}
	switch n := random.IntN(20); {
	case n < 2: // one-phase
		parties = 1
	case n < 3: // one writes, the others only read
		for _, at := range order[1:parties] {
			t.steps = append(t.steps, judge.Entry{Resource: w.Resources[at].Name})
		}
		parties = 1
	case n < 4: // reads only
		for _, at := range order[:parties] {
			t.steps = append(t.steps, judge.Entry{Resource: w.Resources[at].Name})
		}
		parties, t.opts.ReadOnly = 0, random.IntN(2) == 0
	case n < 6:
		t.giveUp = true
	}
	t.plan = entries(w.Resources, order[:parties], random)
	t.steps = append(t.steps, t.plan...)
	// In the order of the names and the accounts, so that transfers don't wait for each other in a circle.
	slices.SortFunc(t.steps, func(a, b judge.Entry) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Account, b.Account))
	})
	return t
}

// entries makes up what is written: one entry in each of these databases, or two if there is only one.
func entries(resources []judge.Database, chosen []int, random *rand.Rand) []judge.Entry {
	var plan []judge.Entry
	for _, at := range chosen {
		plan = append(plan, judge.Entry{Resource: resources[at].Name, Account: random.IntN(judge.Accounts)})
	}
	if len(plan) == 1 {
		second := plan[0]
		second.Account = (second.Account + 1 + random.IntN(judge.Accounts-1)) % judge.Accounts
		plan = append(plan, second)
	}
	for done := len(plan) == 0; !done; {
		var sum int64
		for i := range plan[1:] {
			plan[i].Delta = 1 + random.Int64N(9)
			if random.IntN(2) == 0 {
				plan[i].Delta *= -1
			}
			sum += plan[i].Delta
		}
		plan[len(plan)-1].Delta = -sum
		done = sum != 0
	}
	return plan
}

// run makes a transfer, and tells how it ended. failed: it was rolled back without wanting to be, or worse. An error is one that no fault explains.
func (w *worker) run(ctx context.Context, t transfer) (failed bool, err error) {
	if err := w.told.Begin(t.id, t.plan); err != nil {
		return true, err
	}
	done := w.m.Do(ctx, &t.opts, func(ctx context.Context, tx *xa.Tx) error { return w.statements(ctx, tx, t) })
	o, known := outcome(done)
	w.transactions.Add(1)
	if o == judge.Committed {
		w.acknowledged.Add(1)
	}
	if err := w.told.End(t.id, o); err != nil {
		return true, err
	}
	if done == nil || errors.Is(done, errChangedMind) {
		return false, nil
	}
	fmt.Fprintf(os.Stderr, "torture: %s: %s: %v\n", t.id, o, done)
	if !known {
		return true, fmt.Errorf("%s: an error without an outcome: %w", t.id, done)
	}
	return true, nil
}

// session is a branch, or a handle of the manager.
type session interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (w *worker) statements(ctx context.Context, tx *xa.Tx, t transfer) error {
	for _, e := range t.steps {
		var s session = w.m.DB(e.Resource)
		if !t.handles {
			branch, err := tx.Branch(ctx, e.Resource)
			if err != nil {
				return err
			}
			s = branch
		}
		var err error
		if e.Delta == 0 {
			var sum int64
			err = s.QueryRowContext(ctx, "select sum(balance) from "+judge.AccountsTable).Scan(&sum)
		} else {
			err = post(ctx, s, t.id, e)
		}
		if err != nil {
			return err
		}
	}
	if t.giveUp {
		return errChangedMind
	}
	return nil
}

// post writes an entry and changes the balance. The statements have no parameters, since the engines don't agree on how to write one.
func post(ctx context.Context, s session, id string, e judge.Entry) error {
	if _, err := s.ExecContext(ctx, fmt.Sprintf("insert into %s (id, account, delta) values ('%s', %d, %d)", judge.EntriesTable, id, e.Account, e.Delta)); err != nil {
		return err
	}
	result, err := s.ExecContext(ctx, fmt.Sprintf("update %s set balance = balance + (%d) where id = %d", judge.AccountsTable, e.Delta, e.Account))
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n != 1 {
		return fmt.Errorf("%d accounts changed, want 1 (%w)", n, err)
	}
	return nil
}

// outcome is what an error of xa tells; false: nothing.
func outcome(err error) (judge.Outcome, bool) {
	switch {
	case err == nil:
		return judge.Committed, true
	case errors.Is(err, xa.ErrHeuristic):
		return judge.Heuristic, true
	case errors.Is(err, xa.ErrOutcomeUnknown):
		return judge.Unknown, true
	case errors.Is(err, xa.ErrRolledBack), errors.Is(err, xa.ErrClosed):
		return judge.RolledBack, true
	}
	return judge.Unknown, false
}

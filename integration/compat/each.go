package compat

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/xa"
)

// Engines are the engines that the libraries are shown on.
var Engines = []string{engines.Postgres, engines.MySQL, SQLite}

// Banks are two banks on one engine, with an account and nothing booked in each, for what one library alone has.
type Banks struct {
	*App
	Engine   string
	Accounts [2]string
	s        *scenario
}

// Test is one of a library's own tests.
type Test struct {
	Name string
	Run  func(t *testing.T, b *Banks)
}

// Each runs the tests on each of these engines, one after the other: a server takes its time to make a database. Each begins with an account
// and nothing booked. Whatever it does is to be the same in both banks, so that it is committed in two phases.
func Each(t *testing.T, lib Library, engines []string, tests []Test) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, newPair(t, [2]string{engine, engine}, lib), lib)
			defer s.stop(t)
			for _, test := range tests {
				t.Run(test.Name, func(t *testing.T) {
					s.reset(t)
					test.Run(t, &Banks{App: s.App, Engine: engine, Accounts: accounts, s: s})
				})
			}
		})
	}
}

// reset undoes what an earlier test has booked.
func (s *scenario) reset(t *testing.T) {
	t.Helper()
	for i, pool := range s.Pools {
		for _, statement := range []string{"delete from entries", fmt.Sprint("update accounts set balance = ", initial)} {
			if _, err := pool.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("%s: %v", names[i], err)
			}
		}
	}
}

// Do runs a function for each of the two databases, 0 and 1, in one global transaction.
func (b *Banks) Do(ctx context.Context, fn func(ctx context.Context, tx *xa.Tx, i int) error) error {
	return b.Manager.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		for i := range b.Pools {
			if err := fn(ctx, tx, i); err != nil {
				return err
			}
		}
		return nil
	})
}

// Want fails the test unless both databases hold exactly these entries, and their accounts' balances have changed by so much.
func (b *Banks) Want(t *testing.T, change int64, entries ...string) {
	t.Helper()
	slices.Sort(entries)
	b.s.want = state{balances: [2]int64{initial + change, initial + change}, entries: entries}
	b.s.check(t)
}

// Branch returns the transaction's branch in a database, and fails the test without one.
func (b *Banks) Branch(ctx context.Context, t *testing.T, tx *xa.Tx, i int) *xa.Branch {
	t.Helper()
	branch, err := tx.Branch(ctx, names[i])
	if err != nil {
		t.Fatal(err)
	}
	return branch
}

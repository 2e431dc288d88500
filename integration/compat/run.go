package compat

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/xa"
)

// Pairs are the engines of the two databases.
var Pairs = [][2]string{
	{engines.Postgres, engines.Postgres},
	{engines.MySQL, engines.MySQL},
	{SQLite, SQLite},
	{engines.Postgres, engines.MySQL},
	{engines.MySQL, SQLite},
	{SQLite, engines.Postgres},
}

// Run shows that a library's bank takes part in global transactions, on these pairs of engines. None: on all of [Pairs].
func Run(t *testing.T, lib Library, pairs ...[2]string) {
	if len(pairs) == 0 {
		pairs = Pairs
	}
	for _, engines := range pairs {
		t.Run(engines[0]+"+"+engines[1], func(t *testing.T) {
			t.Parallel()
			s := newScenario(t, newPair(t, engines, lib), lib)
			t.Run("outside", s.outside)
			t.Run("commit", s.commit)
			t.Run("rolled back by an error", s.rolledBackByAnError)
			t.Run("rolled back by the library", s.rolledBackByTheLibrary)
			s.stop(t)
			t.Run("killed before the decision", func(t *testing.T) { s.kill(t, undecided) })
			t.Run("killed after the decision", func(t *testing.T) { s.kill(t, decided) })
		})
	}
}

// scenario is an application with two banks, and what they should hold.
type scenario struct {
	*App
	pair Pair
	lib  Library
	want state
}

// state is what both databases hold.
type state struct {
	balances [2]int64
	entries  []string // the same in both
}

// accounts are the one that each database has.
var accounts = [2]string{"alice", "bob"}

// newScenario starts the application, and makes its tables and accounts, outside of any global transaction.
func newScenario(t *testing.T, p Pair, lib Library) *scenario {
	t.Helper()
	s := &scenario{pair: p, lib: lib, want: state{balances: [2]int64{initial, initial}}}
	s.start(t)
	for i, bank := range s.banks {
		if err := bank.Migrate(t.Context()); err != nil {
			t.Fatalf("%s: migrate: %v", names[i], err)
		}
		if err := bank.Open(t.Context(), accounts[i], initial); err != nil {
			t.Fatalf("%s: open account: %v", names[i], err)
		}
	}
	s.check(t)
	return s
}

// start starts the application. The caller stops it.
func (s *scenario) start(t *testing.T) {
	t.Helper()
	var err error
	if s.App, err = s.pair.start(t.Context(), s.lib, nil); err != nil {
		t.Fatal(err)
	}
}

// transfer is what an application does with two banks: it moves money from the first to the second, and then does something
// else. It is all of the code here that knows xasql.
func (s *scenario) transfer(ctx context.Context, entry string, amount int64, then func(context.Context) error) error {
	return s.Manager.Do(ctx, nil, func(ctx context.Context, _ *xa.Tx) error {
		if err := s.banks[0].Post(ctx, entry, accounts[0], -amount); err != nil {
			return err
		}
		if err := s.banks[1].Post(ctx, entry, accounts[1], amount); err != nil {
			return err
		}
		if then == nil {
			return nil
		}
		return then(ctx)
	})
}

// transferred notes what a transfer that has come about changes.
func (s *scenario) transferred(entry string, amount int64) {
	s.want.balances[0] -= amount
	s.want.balances[1] += amount
	s.want.entries = append(s.want.entries, entry)
	slices.Sort(s.want.entries)
}

// outside: without a global transaction a bank works as ever, and its own transaction commits and rolls back by itself.
func (s *scenario) outside(t *testing.T) {
	for i, bank := range s.banks {
		if err := bank.Post(t.Context(), "local", accounts[i], 5); err != nil {
			t.Errorf("%s: %v", names[i], err)
		}
		if err := bank.Post(t.Context(), "too much", accounts[i], -2*initial); err == nil {
			t.Errorf("%s: the bank let a balance become negative", names[i])
		}
		s.want.balances[i] += 5
	}
	s.want.entries = append(s.want.entries, "local")
	s.check(t)
}

// commit: both banks have the transfer, and see it themselves before anybody else does.
func (s *scenario) commit(t *testing.T) {
	inside := func(ctx context.Context) error {
		for i, want := range []int64{s.want.balances[0] - 30, s.want.balances[1] + 30} {
			balance, entries, err := s.banks[i].Statement(ctx, accounts[i])
			if err != nil {
				return err
			}
			if balance != want || !slices.Contains(entries, "transfer") {
				t.Errorf("%s: inside the transaction: balance %d, entries %q, want %d and the transfer", names[i], balance, entries, want)
			}
		}
		s.check(t) // by others
		return nil
	}
	if err := s.transfer(t.Context(), "transfer", 30, inside); err != nil {
		t.Errorf("transfer: %v", err)
	}
	s.transferred("transfer", 30)
	s.check(t)
}

// errAfterwards is what goes wrong in the caller, after both banks have booked.
var errAfterwards = errors.New("something else went wrong")

// rolledBackByAnError: what the caller's function returns undoes both.
func (s *scenario) rolledBackByAnError(t *testing.T) {
	err := s.transfer(t.Context(), "undone", 10, func(context.Context) error { return errAfterwards })
	if !errors.Is(err, xa.ErrRolledBack) || !errors.Is(err, errAfterwards) {
		t.Errorf("transfer: %v, want ErrRolledBack and the function's own error", err)
	}
	s.check(t)
}

// rolledBackByTheLibrary: the second bank's own transaction is rolled back for want of money. That undoes
// the first bank's too, even where the caller forgets the error.
func (s *scenario) rolledBackByTheLibrary(t *testing.T) {
	for name, forget := range map[string]bool{"told": false, "forgotten": true} {
		t.Run(name, func(t *testing.T) {
			var refused error
			err := s.Manager.Do(t.Context(), nil, func(ctx context.Context, _ *xa.Tx) error {
				if err := s.banks[0].Post(ctx, name, accounts[0], 10); err != nil {
					return err
				}
				if refused = s.banks[1].Post(ctx, name, accounts[1], -2*initial); refused == nil {
					t.Error("the bank let a balance become negative")
				}
				if forget {
					return nil
				}
				return refused
			})
			if !errors.Is(err, xa.ErrRolledBack) {
				t.Errorf("transfer: %v, want ErrRolledBack", err)
			}
			if !forget && !errors.Is(err, refused) {
				t.Errorf("transfer: %v, want it to be %v too", err, refused)
			}
			s.check(t)
		})
	}
}

// check compares what the databases hold with what they should, by nothing but database/sql.
func (s *scenario) check(t *testing.T) {
	t.Helper()
	for i, pool := range s.Pools {
		balance, entries, err := read(t.Context(), pool, accounts[i])
		if err != nil {
			t.Errorf("%s: %v", names[i], err)
			continue
		}
		if balance != s.want.balances[i] {
			t.Errorf("%s: the balance is %d, want %d", names[i], balance, s.want.balances[i])
		}
		if !slices.Equal(entries, s.want.entries) {
			t.Errorf("%s: entries %q, want %q", names[i], entries, s.want.entries)
		}
	}
}

// read reads an account by nothing but database/sql.
func read(ctx context.Context, db *sql.DB, account string) (balance int64, entries []string, err error) {
	if err := db.QueryRowContext(ctx, "select balance from accounts where id = '"+account+"'").Scan(&balance); err != nil {
		return 0, nil, fmt.Errorf("read account: %w", err)
	}
	rows, err := db.QueryContext(ctx, "select id from entries order by id")
	if err != nil {
		return 0, nil, fmt.Errorf("read entries: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			return 0, nil, err
		}
		entries = append(entries, id)
	}
	return balance, entries, rows.Err()
}

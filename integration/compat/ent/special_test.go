package ent

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	entsql "entgo.io/ent/dialect/sql"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/compat/ent/generated"
	"github.com/xasql/xasql/integration/compat/ent/generated/account"
	"github.com/xasql/xasql/integration/compat/ent/generated/entry"
	"github.com/xasql/xasql/xa"
)

// What this library alone has, inside of global transactions.
func TestInside(t *testing.T) {
	compat.Each(t, library, compat.Engines, []compat.Test{
		{Name: "hooks run inside", Run: hooksRunInside},
		{Name: "client joins without tx", Run: clientJoinsWithoutTx},
		{Name: "migration and options", Run: migrationAndOptions},
	})
}

func client(db *sql.DB, engine string) *generated.Client {
	return generated.NewClient(generated.Driver(entsql.OpenDB(dialectOf(engine), db)))
}

// ent's hooks, of mutations and of its transaction, run inside a global transaction as they do outside.
func hooksRunInside(t *testing.T, b *compat.Banks) {
	var mutations, commits, rollbacks int
	count := func(n *int) generated.Hook {
		return func(next generated.Mutator) generated.Mutator {
			return generated.MutateFunc(func(ctx context.Context, m generated.Mutation) (generated.Value, error) {
				*n++
				return next.Mutate(ctx, m)
			})
		}
	}
	post := func(ctx context.Context, i int, id string, finish func(*generated.Tx) error) error {
		c := client(b.DB(i), b.Engine)
		c.Use(count(&mutations))
		tx, err := c.Tx(ctx)
		if err != nil {
			return err
		}
		tx.OnCommit(func(next generated.Committer) generated.Committer {
			return generated.CommitFunc(func(ctx context.Context, tx *generated.Tx) error {
				commits++
				return next.Commit(ctx, tx)
			})
		})
		tx.OnRollback(func(next generated.Rollbacker) generated.Rollbacker {
			return generated.RollbackFunc(func(ctx context.Context, tx *generated.Tx) error {
				rollbacks++
				return next.Rollback(ctx, tx)
			})
		})
		if err := tx.Client().Entry.Create().SetID(id).SetAccountID(b.Accounts[i]).SetAmount(0).Exec(ctx); err != nil {
			return err
		}
		return finish(tx)
	}
	for id, finish := range map[string]func(*generated.Tx) error{"done": (*generated.Tx).Commit, "undone": (*generated.Tx).Rollback} {
		err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error { return post(ctx, i, id, finish) })
		if want := id == "undone"; errors.Is(err, xa.ErrRolledBack) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
	b.Want(t, 0, "done")
	if mutations != 4 || commits != 2 || rollbacks != 2 {
		t.Errorf("hooks: %d mutations, %d commits, %d rollbacks, want 4, 2, 2", mutations, commits, rollbacks)
	}
}

// Bulk creation, upserting reads, edges and aggregation, without a transaction of ent's own.
func clientJoinsWithoutTx(t *testing.T, b *compat.Banks) {
	err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		c := client(b.DB(i), b.Engine)
		var creates []*generated.EntryCreate
		for _, id := range []string{"1", "2", "3"} {
			creates = append(creates, c.Entry.Create().SetID(id).SetAccountID(b.Accounts[i]).SetAmount(5))
		}
		if err := c.Entry.CreateBulk(creates...).Exec(ctx); err != nil {
			return err
		}
		if _, err := c.Entry.Delete().Where(entry.ID("3")).Exec(ctx); err != nil {
			return err
		}
		sum, err := c.Entry.Query().Aggregate(generated.Sum(entry.FieldAmount)).Int(ctx)
		if err != nil {
			return err
		}
		if sum != 10 {
			t.Errorf("inside: the sum is %d, want 10", sum)
		}
		rich, err := c.Account.Query().Where(account.HasEntriesWith(entry.AmountGT(4))).QueryEntries().Count(ctx)
		if err != nil {
			return err
		}
		if rich != 2 {
			t.Errorf("inside: %d entries of accounts with entries, want 2", rich)
		}
		return c.Account.UpdateOneID(b.Accounts[i]).AddBalance(10).Exec(ctx)
	})
	if err != nil {
		t.Error(err)
	}
	b.Want(t, 10, "1", "2")

	err = b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		return client(b.DB(i), b.Engine).Entry.Create().SetID("1").SetAccountID(b.Accounts[i]).SetAmount(5).Exec(ctx)
	})
	if !errors.Is(err, xa.ErrRolledBack) || !generated.IsConstraintError(err) {
		t.Errorf("a duplicate: %v, want ErrRolledBack and ent's constraint error", err)
	}
	b.Want(t, 10, "1", "2")
}

// Options of ent's own BeginTx reach the branch or are refused, and its migration finds its tables on the handle.
func migrationAndOptions(t *testing.T, b *compat.Banks) {
	for i := range b.Pools {
		if err := client(b.DB(i), b.Engine).Debug().Schema.Create(t.Context()); err != nil {
			t.Errorf("migrate again: %v", err)
		}
	}
	begin := func(level sql.IsolationLevel) error {
		return b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
			tx, err := client(b.DB(i), b.Engine).BeginTx(ctx, &sql.TxOptions{Isolation: level})
			if err != nil {
				return err
			}
			if _, err := tx.Client().Tx(ctx); !errors.Is(err, generated.ErrTxStarted) {
				t.Errorf("a transaction in a transaction: %v, want ErrTxStarted", err)
			}
			if err := tx.Entry.Create().SetID(level.String()).SetAccountID(b.Accounts[i]).SetAmount(0).Exec(ctx); err != nil {
				return err
			}
			return tx.Commit()
		})
	}
	if err := begin(sql.LevelDefault); err != nil {
		t.Error(err)
	}
	if err := begin(sql.LevelSerializable); !errors.Is(err, xa.ErrRolledBack) {
		t.Errorf("an isolation level that the branch has not: %v, want ErrRolledBack", err)
	}
	b.Want(t, 0, sql.LevelDefault.String())
}

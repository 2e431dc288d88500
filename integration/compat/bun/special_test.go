package bun

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/uptrace/bun"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/xa"
)

var _ bun.IConn = (*xa.Branch)(nil)

// What this library alone has, inside of global transactions.
func TestInside(t *testing.T) {
	compat.Each(t, library, compat.Engines, []compat.Test{
		{Name: "nested transaction is rolled back alone", Run: nestedTransactionIsRolledBackAlone},
		{Name: "branch is an IConn", Run: branchIsAnIConn},
		{Name: "connection and statements of the handle", Run: connectionAndStatementsOfTheHandle},
	})
}

// What bun's nested transactions undo by its savepoints is undone, and the rest is committed.
func nestedTransactionIsRolledBackAlone(t *testing.T, b *compat.Banks) {
	err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		bank := New(bun.NewDB(b.DB(i), dialect(b.Engine)))
		booked, err := bank.PostMany(ctx, b.Accounts[i], map[string]int64{"a": 10, "too much": -5000, "b": 20})
		if booked != 2 {
			t.Errorf("%d entries were booked, want 2", booked)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	b.Want(t, 30, "a", "b")
}

// A branch is a bun.IConn: queries made on the plain handle run in it by Conn.
func branchIsAnIConn(t *testing.T, b *compat.Banks) {
	post := func(then error) error {
		return b.Do(t.Context(), func(ctx context.Context, tx *xa.Tx, i int) error {
			db := bun.NewDB(b.Pools[i], dialect(b.Engine))
			branch := b.Branch(ctx, t, tx, i)
			if _, err := db.NewInsert().Conn(branch).Model(&Entry{ID: "on a branch", AccountID: b.Accounts[i], Amount: 1}).Exec(ctx); err != nil {
				return err
			}
			if _, err := db.NewUpdate().Conn(branch).Model((*Account)(nil)).Set("balance = balance + 1").Where("1 = 1").Exec(ctx); err != nil {
				return err
			}
			n, err := db.NewSelect().Conn(branch).Model((*Entry)(nil)).Count(ctx)
			if n != 1 {
				t.Errorf("%d entries inside, want 1", n)
			}
			return errors.Join(err, then)
		})
	}
	if err := post(sql.ErrNoRows); !errors.Is(err, xa.ErrRolledBack) {
		t.Errorf("got %v, want ErrRolledBack", err)
	}
	b.Want(t, 0)
	if err := post(nil); err != nil {
		t.Error(err)
	}
	b.Want(t, 1, "on a branch")
}

// bun's own Conn, raw queries, prepared statements, and bulk inserts.
func connectionAndStatementsOfTheHandle(t *testing.T, b *compat.Banks) {
	err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		db := bun.NewDB(b.DB(i), dialect(b.Engine))
		conn, err := db.Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		entries := []Entry{{ID: "1", AccountID: b.Accounts[i]}, {ID: "2", AccountID: b.Accounts[i]}}
		if _, err := conn.NewInsert().Model(&entries).Exec(ctx); err != nil {
			return err
		}
		if _, err := db.NewDelete().Model((*Entry)(nil)).Where("id IN (?)", bun.In([]string{"2", "3"})).Exec(ctx); err != nil {
			return err
		}
		var ids []string
		if err := db.NewRaw("SELECT id FROM entries").Scan(ctx, &ids); err != nil {
			return err
		}
		if len(ids) != 1 || ids[0] != "1" {
			t.Errorf("inside: %q, want [1]", ids)
		}
		stmt, err := db.PrepareContext(ctx, "SELECT COUNT(*) FROM accounts")
		if err != nil {
			return err
		}
		defer stmt.Close()
		var n int
		if err := stmt.QueryRowContext(ctx).Scan(&n); err != nil {
			return err
		}
		if n != 1 {
			t.Errorf("%d accounts inside, want 1", n)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
	b.Want(t, 0, "1")
}

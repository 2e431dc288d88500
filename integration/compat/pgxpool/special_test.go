package pgxpool

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/xa"
)

// What this library alone has, inside of global transactions.
func TestInside(t *testing.T) {
	compat.Each(t, library, []string{engines.Postgres}, []compat.Test{
		{Name: "copy from inside a branch", Run: copyFromInsideABranch},
		{Name: "nested transaction is rolled back alone", Run: nestedTransactionIsRolledBackAlone},
		{Name: "own types inside a branch", Run: ownTypesInsideABranch},
		{Name: "handle and native pgx share the branch", Run: handleAndNativePgxShareTheBranch},
		{Name: "own commit is found", Run: ownCommitIsFound},
	})
}

// Rows that COPY brings in are the branch's: committed with it, or undone with it.
func copyFromInsideABranch(t *testing.T, b *compat.Banks) {
	var entries []Entry
	var ids []string
	for i := range 500 {
		id := string([]rune{'a' + rune(i/26), 'a' + rune(i%26)})
		entries, ids = append(entries, Entry{ID: id, Amount: 2}), append(ids, id)
	}
	post := func(then error) error {
		return b.Do(t.Context(), func(ctx context.Context, tx *xa.Tx, i int) error {
			err := inBranch(ctx, b.Branch(ctx, t, tx, i), func(db DB) error { return PostMany(ctx, db, b.Accounts[i], entries) })
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
	b.Want(t, 1000, ids...)
}

// What pgx's nested transaction undoes is undone alone, and the rest is committed.
func nestedTransactionIsRolledBackAlone(t *testing.T, b *compat.Banks) {
	err := b.Do(t.Context(), func(ctx context.Context, tx *xa.Tx, i int) error {
		return inBranch(ctx, b.Branch(ctx, t, tx, i), func(db DB) error {
			if err := Post(ctx, db, "too much", b.Accounts[i], -5000); !errors.Is(err, ErrInsufficient) {
				t.Errorf("got %v, want ErrInsufficient", err)
			}
			// A statement that fails aborts the savepoint only.
			if err := Post(ctx, db, "nobody's", "nobody", 1); err == nil {
				t.Error("an entry of an account that is not there was booked")
			}
			return Post(ctx, db, "1", b.Accounts[i], 3)
		})
	})
	if err != nil {
		t.Error(err)
	}
	b.Want(t, 3, "1")
}

// Price is a composite type of the application's own.
type Price struct {
	Currency string
	Cents    int64
}

// Goods are a row of types that database/sql does not know.
type Goods struct {
	Prices []Price
	Sold   pgtype.Range[int64]
}

// pgx's own types work inside: a composite type registered on the branch's connection, arrays of it, ranges, and rows by name.
func ownTypesInsideABranch(t *testing.T, b *compat.Banks) {
	for _, pool := range b.Pools {
		for _, ddl := range []string{"create type price as (currency text, cents bigint)", "create table goods (prices price[], sold int8range)"} {
			if _, err := pool.ExecContext(t.Context(), ddl); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := []Price{{Currency: "EUR", Cents: 100}, {Currency: "USD", Cents: 117}}
	sold := pgtype.Range[int64]{Lower: 1, Upper: 5, LowerType: pgtype.Inclusive, UpperType: pgtype.Exclusive, Valid: true}
	err := b.Do(t.Context(), func(ctx context.Context, tx *xa.Tx, i int) error {
		return postgres.Conn(b.Branch(ctx, t, tx, i), func(conn *pgx.Conn) error {
			types, err := conn.LoadTypes(ctx, []string{"price", "_price"})
			if err != nil {
				return err
			}
			conn.TypeMap().RegisterTypes(types)
			if _, err := conn.Exec(ctx, "insert into goods values ($1, $2)", want, sold); err != nil {
				return err
			}
			rows, err := conn.Query(ctx, "select * from goods")
			if err != nil {
				return err
			}
			got, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[Goods])
			if err != nil {
				return err
			}
			if !slices.Equal(got.Prices, want) || got.Sold != sold {
				t.Errorf("inside: %+v, want %v and %v", got, want, sold)
			}
			return nil
		})
	})
	if err != nil {
		t.Error(err)
	}
	for i, pool := range b.Pools {
		var n int
		if err := pool.QueryRowContext(t.Context(), "select count(*) from goods").Scan(&n); err != nil || n != 1 {
			t.Errorf("database %d: %d goods, %v, want 1", i, n, err)
		}
	}
}

// The handle leads to the same connection: native pgx and code on *sql.DB meet in one branch.
func handleAndNativePgxShareTheBranch(t *testing.T, b *compat.Banks) {
	err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		if _, err := b.DB(i).ExecContext(ctx, "insert into entries (id, account_id, amount) values ('by the handle', $1, 1)", b.Accounts[i]); err != nil {
			return err
		}
		conn, err := b.DB(i).Conn(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		return postgres.Conn(conn, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "update entries set id = 'by pgx' where id = 'by the handle'")
			return err
		})
	})
	if err != nil {
		t.Error(err)
	}
	b.Want(t, 0, "by pgx")
}

// A COMMIT that the application sends by itself can't be undone; it is not told as success.
func ownCommitIsFound(t *testing.T, b *compat.Banks) {
	err := b.Do(t.Context(), func(ctx context.Context, tx *xa.Tx, i int) error {
		branch := b.Branch(ctx, t, tx, i)
		if i == 0 {
			return inBranch(ctx, branch, func(db DB) error { return Post(ctx, db, "1", b.Accounts[i], 0) })
		}
		return postgres.Conn(branch, func(conn *pgx.Conn) error {
			return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return Post(ctx, tx, "1", b.Accounts[i], 0) })
		})
	})
	if !errors.Is(err, xa.ErrHeuristic) {
		t.Errorf("got %v, want ErrHeuristic: one database has it, the other has not", err)
	}
}

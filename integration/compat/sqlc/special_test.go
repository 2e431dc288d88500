package sqlc

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/compat/sqlc/mysql"
	"github.com/xasql/xasql/integration/compat/sqlc/postgres"
	"github.com/xasql/xasql/integration/compat/sqlc/sqlite"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/xa"
)

// What this library alone has, inside of global transactions.
func TestInside(t *testing.T) {
	compat.Each(t, library, compat.Engines, []compat.Test{
		{Name: "branch is a DBTX", Run: branchIsADBTX},
		{Name: "bank takes part with prepared queries", Run: bankTakesPartWithPreparedQueries},
	})
}

// A branch is the DBTX of generated code, and a *sql.Tx of the handle is too.
func branchIsADBTX(t *testing.T, b *compat.Banks) {
	post := func(then error) error {
		return b.Do(t.Context(), func(ctx context.Context, tx *xa.Tx, i int) error {
			branch := b.Branch(ctx, t, tx, i)
			for _, prepared := range []bool{false, true} {
				q, err := queries(ctx, branch, b.Engine, prepared)
				if err != nil {
					return err
				}
				id := map[bool]string{false: "direct", true: "prepared"}[prepared]
				if err := Book(ctx, q, id, b.Accounts[i], 1); err != nil {
					return err
				}
			}
			return then
		})
	}
	if err := post(sql.ErrNoRows); !errors.Is(err, xa.ErrRolledBack) {
		t.Errorf("got %v, want ErrRolledBack", err)
	}
	b.Want(t, 0)
	if err := post(nil); err != nil {
		t.Error(err)
	}
	b.Want(t, 2, "direct", "prepared")
}

// sqlc's prepared queries are prepared once, when the application starts, and used inside every transaction.
func bankTakesPartWithPreparedQueries(t *testing.T, b *compat.Banks) {
	var q [2]Querier
	for i := range q {
		var err error
		if q[i], err = queries(t.Context(), b.DB(i), b.Engine, true); err != nil {
			t.Fatal(err)
		}
		defer q[i].(interface{ Close() error }).Close()
	}
	for _, id := range []string{"1", "2"} {
		err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
			return bank(b.DB(i), q[i]).Post(ctx, id, b.Accounts[i], 1)
		})
		if err != nil {
			t.Error(err)
		}
	}
	b.Want(t, 2, "1", "2")
}

// queries makes the generated code of an engine on anything that it takes.
func queries(ctx context.Context, on postgres.DBTX, engine string, prepared bool) (Querier, error) {
	switch engine {
	case engines.Postgres:
		if prepared {
			return postgres.Prepare(ctx, on)
		}
		return postgres.New(on), nil
	case compat.SQLite:
		if prepared {
			return sqlite.Prepare(ctx, on)
		}
		return sqlite.New(on), nil
	default:
		if prepared {
			return mysql.Prepare(ctx, on)
		}
		return mysql.New(on), nil
	}
}

// bank makes a bank of generated code that is prepared already.
func bank(db *sql.DB, q Querier) *Bank {
	switch q := q.(type) {
	case *postgres.Queries:
		return NewPostgres(db, q)
	case *sqlite.Queries:
		return NewSQLite(db, q)
	default:
		return NewMySQL(db, q.(*mysql.Queries))
	}
}

package pgxpool

import (
	"context"
	"database/sql"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/compat/sqlx"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/xa"
)

func TestMain(m *testing.M) { compat.Main(m, library) }

// library has banks on a pool of pgx's own, which is the manager's too by stdlib.OpenDBFromPool, and for other engines those on sqlx.
var library = compat.Library{
	OnPool: func(pool *pgxpool.Pool, m *xa.Manager, resource string) (compat.Bank, error) {
		return &service{pool, resource}, nil
	},
	OnHandle: func(db *sql.DB, engine string) (compat.Bank, error) {
		return sqlx.New(db, map[string]string{engines.MySQL: "mysql", compat.SQLite: "sqlite3"}[engine]), nil
	},
}

// service is the bank as its callers see it. Its method do is what an application changes.
type service struct {
	pool     *pgxpool.Pool
	resource string
}

// do runs a function on the pool, or inside the context's global transaction. What is undone inside undoes all of it.
func (s *service) do(ctx context.Context, fn func(DB) error) error {
	tx, ok := xa.FromContext(ctx)
	if !ok {
		return fn(s.pool)
	}
	branch, err := tx.Branch(ctx, s.resource)
	if err != nil {
		return err
	}
	if err := inBranch(ctx, branch, fn); err != nil {
		tx.SetRollbackOnly(err)
		return err
	}
	return nil
}

// inBranch gives a function the branch as a pgx.Tx: transactions that it begins are savepoints, and the branch itself, which is begun
// already, it can't commit.
func inBranch(ctx context.Context, branch *xa.Branch, fn func(DB) error) error {
	return postgres.Conn(branch, func(conn *pgx.Conn) error {
		tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: "select", CommitQuery: "select"})
		if err != nil {
			return err
		}
		return fn(tx)
	})
}

func (s *service) Migrate(ctx context.Context) error { return Migrate(ctx, s.pool) }

func (s *service) Open(ctx context.Context, account string, balance int64) error {
	return Open(ctx, s.pool, account, balance)
}

func (s *service) Post(ctx context.Context, entry, account string, amount int64) error {
	return s.do(ctx, func(db DB) error { return Post(ctx, db, entry, account, amount) })
}

func (s *service) Statement(ctx context.Context, account string) (balance int64, entries []string, err error) {
	err = s.do(ctx, func(db DB) error {
		balance, entries, err = Statement(ctx, db, account)
		return err
	})
	return balance, entries, err
}

func TestBankTakesPartOnOnePool(t *testing.T) {
	compat.Run(t, library,
		[2]string{engines.Postgres, engines.Postgres},
		[2]string{engines.Postgres, engines.MySQL},
		[2]string{compat.SQLite, engines.Postgres},
	)
}

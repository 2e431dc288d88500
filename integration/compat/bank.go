package compat

import (
	"context"
	"database/sql"
	"net/url"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/xasql/xasql/xa"
)

// Bank is a library's application as this package sees it: accounts and their entries in one database. Its tables are accounts (id, balance)
// and entries (id, account_id, amount, note, created_at).
type Bank interface {
	// Migrate makes the tables.
	Migrate(ctx context.Context) error
	// Open opens an account.
	Open(ctx context.Context, account string, balance int64) error
	// Post books an entry on an account in a transaction of the library's own, which it rolls back when the balance would become
	// negative. The error is then the application's own.
	Post(ctx context.Context, entry, account string, amount int64) error
	// Statement reads an account's balance, and its entries in the order of their ids.
	Statement(ctx context.Context, account string) (balance int64, entries []string, err error)
}

// Library makes the banks of one library.
type Library struct {
	// Name tells the libraries of one test binary apart.
	Name string
	// Options are those of the databases' URLs that the library asks for, by engine.
	Options map[string]url.Values
	// OnHandle makes a bank on the manager's handle of a database of that engine: engines.Postgres, engines.MySQL or SQLite.
	OnHandle func(db *sql.DB, engine string) (Bank, error)
	// OnPool, if set, makes the bank of a PostgreSQL database instead, on the native pool that is the resource's own.
	OnPool func(pool *pgxpool.Pool, m *xa.Manager, resource string) (Bank, error)
}

// initial is the balance that every account begins with.
const initial = 1000

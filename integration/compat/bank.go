package compat

import (
	"context"
	"database/sql"
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

// New makes a library's bank on a handle of that engine: engines.Postgres, engines.MySQL, engines.MariaDB or SQLite.
type New func(db *sql.DB, engine string) (Bank, error)

// initial is the balance that every account begins with.
const initial = 1000

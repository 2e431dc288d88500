// Package sqlc is a small bank on code that sqlc has generated (packages postgres, mysql and sqlite, from queries.*.sql), as its users write
// one. It knows nothing of xasql.
package sqlc

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xasql/xasql/integration/compat/sqlc/mysql"
	"github.com/xasql/xasql/integration/compat/sqlc/postgres"
	"github.com/xasql/xasql/integration/compat/sqlc/sqlite"
)

//go:embed schema.sql
var schema string

// ErrInsufficient is returned when a balance would become negative.
var ErrInsufficient = errors.New("insufficient funds")

// Querier is what sqlc generates, for each engine.
type Querier interface {
	CreateAccount(ctx context.Context, id string, balance int64) error
	CreateEntry(ctx context.Context, id, accountID string, amount int64, note sql.NullString, createdAt time.Time) error
	AddToBalance(ctx context.Context, amount int64, id string) (int64, error)
	GetBalance(ctx context.Context, id string) (int64, error)
	ListEntries(ctx context.Context, accountID string) ([]string, error)
}

// Bank keeps accounts in one database.
type Bank struct {
	db      *sql.DB
	queries Querier
	withTx  func(*sql.Tx) Querier
}

// NewPostgres makes a bank on generated queries, as [NewMySQL] and [NewSQLite] do.
func NewPostgres(db *sql.DB, q *postgres.Queries) *Bank {
	return &Bank{db, q, func(tx *sql.Tx) Querier { return q.WithTx(tx) }}
}

// NewMySQL makes a bank.
func NewMySQL(db *sql.DB, q *mysql.Queries) *Bank {
	return &Bank{db, q, func(tx *sql.Tx) Querier { return q.WithTx(tx) }}
}

// NewSQLite makes a bank.
func NewSQLite(db *sql.DB, q *sqlite.Queries) *Bank {
	return &Bank{db, q, func(tx *sql.Tx) Querier { return q.WithTx(tx) }}
}

// Migrate makes the tables.
func (b *Bank) Migrate(ctx context.Context) error { return CreateTables(ctx, b.db) }

// CreateTables makes the tables.
func CreateTables(ctx context.Context, db *sql.DB) error {
	for statement := range strings.SplitSeq(schema, ";") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// Open opens an account.
func (b *Bank) Open(ctx context.Context, account string, balance int64) error {
	return b.queries.CreateAccount(ctx, account, balance)
}

// Post books an entry in a transaction of its own.
func (b *Bank) Post(ctx context.Context, entry, account string, amount int64) error {
	tx, err := b.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if err := Book(ctx, b.withTx(tx), entry, account, amount); err != nil {
		return err
	}
	return tx.Commit()
}

// Book books an entry by these queries, in whatever transaction they run.
func Book(ctx context.Context, q Querier, entry, account string, amount int64) error {
	if err := q.CreateEntry(ctx, entry, account, amount, sql.NullString{String: "sqlc", Valid: true}, time.Now().UTC()); err != nil {
		return fmt.Errorf("entry: %w", err)
	}
	n, err := q.AddToBalance(ctx, amount, account)
	if err != nil {
		return fmt.Errorf("balance: %w", err)
	}
	if n != 1 {
		return fmt.Errorf("balance: no account %q", account)
	}
	balance, err := q.GetBalance(ctx, account)
	if err != nil {
		return fmt.Errorf("balance: %w", err)
	}
	if balance < 0 {
		return ErrInsufficient
	}
	return nil
}

// Statement reads an account and its entries.
func (b *Bank) Statement(ctx context.Context, account string) (int64, []string, error) {
	balance, err := b.queries.GetBalance(ctx, account)
	if err != nil {
		return 0, nil, err
	}
	entries, err := b.queries.ListEntries(ctx, account)
	return balance, entries, err
}

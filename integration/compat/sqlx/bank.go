// Package sqlx is a small bank on github.com/jmoiron/sqlx, as its users write one. It knows nothing of xasql.
package sqlx

import (
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// schema makes the tables, in SQL that all of the engines take.
//
//go:embed schema.sql
var schema string

// ErrInsufficient is returned when a balance would become negative.
var ErrInsufficient = errors.New("insufficient funds")

// Account is a row of accounts.
type Account struct {
	ID      string `db:"id"`
	Balance int64  `db:"balance"`
}

// Entry is a row of entries.
type Entry struct {
	ID        string         `db:"id"`
	AccountID string         `db:"account_id"`
	Amount    int64          `db:"amount"`
	Note      sql.NullString `db:"note"`
	CreatedAt time.Time      `db:"created_at"`
}

// Bank keeps accounts in one database.
type Bank struct{ db *sqlx.DB }

// New makes a bank on a handle. driverName is sqlx's, which tells it the placeholders.
func New(db *sql.DB, driverName string) *Bank { return &Bank{sqlx.NewDb(db, driverName)} }

// Migrate makes the tables.
func (b *Bank) Migrate(ctx context.Context) error {
	for statement := range strings.SplitSeq(schema, ";") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := b.db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// Open opens an account.
func (b *Bank) Open(ctx context.Context, account string, balance int64) error {
	_, err := b.db.NamedExecContext(ctx, "INSERT INTO accounts (id, balance) VALUES (:id, :balance)", Account{ID: account, Balance: balance})
	return err
}

// Post books an entry in a transaction of its own.
func (b *Bank) Post(ctx context.Context, entry, account string, amount int64) error {
	return b.transact(ctx, func(tx *sqlx.Tx) error {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO entries (id, account_id, amount, note, created_at)
			VALUES (:id, :account_id, :amount, :note, :created_at)`,
			Entry{ID: entry, AccountID: account, Amount: amount, Note: sql.NullString{String: "sqlx", Valid: true}, CreatedAt: time.Now().UTC()})
		if err != nil {
			return fmt.Errorf("entry: %w", err)
		}
		if _, err := tx.ExecContext(ctx, tx.Rebind("UPDATE accounts SET balance = balance + ? WHERE id = ?"), amount, account); err != nil {
			return fmt.Errorf("balance: %w", err)
		}
		var a Account
		if err := tx.GetContext(ctx, &a, tx.Rebind("SELECT * FROM accounts WHERE id = ?"), account); err != nil {
			return fmt.Errorf("account: %w", err)
		}
		if a.Balance < 0 {
			return ErrInsufficient
		}
		return nil
	})
}

// transact is the helper that most users of sqlx write.
func (b *Bank) transact(ctx context.Context, fn func(*sqlx.Tx) error) (err error) {
	tx, err := b.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, tx.Rollback())
		}
	}()
	if err := fn(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// Statement reads an account and its entries.
func (b *Bank) Statement(ctx context.Context, account string) (int64, []string, error) {
	stmt, err := b.db.PreparexContext(ctx, b.db.Rebind("SELECT balance FROM accounts WHERE id = ?"))
	if err != nil {
		return 0, nil, err
	}
	defer stmt.Close()
	var balance int64
	if err := stmt.GetContext(ctx, &balance, account); err != nil {
		return 0, nil, err
	}
	rows, err := b.db.NamedQueryContext(ctx, "SELECT * FROM entries WHERE account_id = :id ORDER BY id", Account{ID: account})
	if err != nil {
		return 0, nil, err
	}
	defer rows.Close()
	var ids []string
	for rows.Next() {
		var e Entry
		if err := rows.StructScan(&e); err != nil {
			return 0, nil, err
		}
		ids = append(ids, e.ID)
	}
	return balance, ids, rows.Err()
}

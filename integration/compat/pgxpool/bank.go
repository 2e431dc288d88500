// Package pgxpool is a small bank on native pgx, as its users write one: its functions take whatever runs statements and begins
// transactions, be it a pool or a transaction. It knows nothing of xasql.
package pgxpool

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrInsufficient is returned when a balance would become negative.
var ErrInsufficient = errors.New("insufficient funds")

// DB is a *pgxpool.Pool or a pgx.Tx.
type DB interface {
	Begin(ctx context.Context) (pgx.Tx, error)
	Exec(ctx context.Context, query string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, query string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, query string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

// Entry is a row of entries.
type Entry struct {
	ID        string
	AccountID string
	Amount    int64
	Note      *string
	CreatedAt time.Time
}

// Migrate makes the tables.
func Migrate(ctx context.Context, db DB) error {
	_, err := db.Exec(ctx, `
		create table accounts (id varchar(64) primary key, balance bigint not null);
		create table entries (
			id varchar(64) primary key,
			account_id varchar(64) not null references accounts (id),
			amount bigint not null,
			note text,
			created_at timestamptz not null default now()
		)`)
	return err
}

// Open opens an account.
func Open(ctx context.Context, db DB, account string, balance int64) error {
	_, err := db.Exec(ctx, "insert into accounts values (@account, @balance)", pgx.NamedArgs{"account": account, "balance": balance})
	return err
}

// Post books an entry in a transaction of its own, in one round trip.
func Post(ctx context.Context, db DB, entry, account string, amount int64) error {
	return pgx.BeginFunc(ctx, db, func(tx pgx.Tx) error {
		var balance int64
		batch := &pgx.Batch{}
		batch.Queue("insert into entries (id, account_id, amount, note) values ($1, $2, $3, 'pgx')", entry, account, amount)
		batch.Queue("update accounts set balance = balance + $1 where id = $2 returning balance", amount, account).
			QueryRow(func(row pgx.Row) error { return row.Scan(&balance) })
		if err := tx.SendBatch(ctx, batch).Close(); err != nil {
			return fmt.Errorf("post: %w", err)
		}
		if balance < 0 {
			return ErrInsufficient
		}
		return nil
	})
}

// PostMany books entries on an account by COPY.
func PostMany(ctx context.Context, db DB, account string, entries []Entry) error {
	var sum int64
	n, err := db.CopyFrom(ctx, pgx.Identifier{"entries"}, []string{"id", "account_id", "amount", "note"},
		pgx.CopyFromSlice(len(entries), func(i int) ([]any, error) {
			e := entries[i]
			sum += e.Amount
			return []any{e.ID, account, e.Amount, e.Note}, nil
		}))
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	if n != int64(len(entries)) {
		return fmt.Errorf("copy: %d of %d entries", n, len(entries))
	}
	_, err = db.Exec(ctx, "update accounts set balance = balance + $1 where id = $2", sum, account)
	return err
}

// Statement reads an account and its entries.
func Statement(ctx context.Context, db DB, account string) (balance int64, ids []string, err error) {
	if err := db.QueryRow(ctx, "select balance from accounts where id = $1", account).Scan(&balance); err != nil {
		return 0, nil, err
	}
	rows, err := db.Query(ctx, "select * from entries where account_id = $1 order by id", account)
	if err != nil {
		return 0, nil, err
	}
	entries, err := pgx.CollectRows(rows, pgx.RowToStructByName[Entry])
	for _, e := range entries {
		ids = append(ids, e.ID)
	}
	return balance, ids, err
}

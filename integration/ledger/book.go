package ledger

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
)

// Accounts is the number of accounts in each database, numbered from 0, and Initial what each holds at first.
const (
	Accounts = 64
	Initial  = 1000
)

// Entry is what a transfer writes into one database.
type Entry struct {
	ID      string // the transfer's; letters, digits and '-'
	Parties int    // how many databases have an entry of the transfer
	Account int    // whose balance changes
	Delta   int64  // by how much
}

// Book is what one database holds.
type Book struct {
	Entries  map[string]Entry // by ID
	Balances map[int]int64    // by account
}

// Create makes the tables and accounts in an empty database.
func Create(ctx context.Context, db *sql.DB) error {
	accounts := make([]string, Accounts)
	for i := range accounts {
		accounts[i] = fmt.Sprintf("(%d, %d)", i, Initial)
	}
	for _, statement := range []string{
		"create table accounts (id integer primary key, balance bigint not null)",
		"create table entries (id varchar(64) primary key, parties integer not null, account integer not null, delta bigint not null)",
		"insert into accounts (id, balance) values " + strings.Join(accounts, ", "),
	} {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("ledger: create: %w", err)
		}
	}
	return nil
}

// Execer is a branch, a transaction or a pool.
type Execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// Post writes the entry and changes the balance. The statements have no parameters, since the engines don't agree on how
// to write one.
func Post(ctx context.Context, tx Execer, e Entry) error {
	insert := fmt.Sprintf("insert into entries (id, parties, account, delta) values ('%s', %d, %d, %d)", e.ID, e.Parties, e.Account, e.Delta)
	if _, err := tx.ExecContext(ctx, insert); err != nil {
		return fmt.Errorf("ledger: post %s: %w", e.ID, err)
	}
	update := fmt.Sprintf("update accounts set balance = balance + (%d) where id = %d", e.Delta, e.Account)
	result, err := tx.ExecContext(ctx, update)
	if err != nil {
		return fmt.Errorf("ledger: post %s: %w", e.ID, err)
	}
	// A change by nothing is no affected row to MySQL.
	if n, err := result.RowsAffected(); err != nil || n != 1 && e.Delta != 0 {
		return fmt.Errorf("ledger: post %s: %d accounts changed, want 1 (%v)", e.ID, n, err)
	}
	return nil
}

// Read reads what a database holds.
func Read(ctx context.Context, db *sql.DB) (Book, error) {
	b := Book{Entries: map[string]Entry{}, Balances: map[int]int64{}}
	rows, err := db.QueryContext(ctx, "select id, parties, account, delta from entries")
	if err != nil {
		return b, fmt.Errorf("ledger: read: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var e Entry
		if err := rows.Scan(&e.ID, &e.Parties, &e.Account, &e.Delta); err != nil {
			return b, fmt.Errorf("ledger: read: %w", err)
		}
		b.Entries[e.ID] = e
	}
	if err := rows.Err(); err != nil {
		return b, fmt.Errorf("ledger: read: %w", err)
	}
	accounts, err := db.QueryContext(ctx, "select id, balance from accounts")
	if err != nil {
		return b, fmt.Errorf("ledger: read: %w", err)
	}
	defer accounts.Close()
	for accounts.Next() {
		var id int
		var balance int64
		if err := accounts.Scan(&id, &balance); err != nil {
			return b, fmt.Errorf("ledger: read: %w", err)
		}
		b.Balances[id] = balance
	}
	if err := accounts.Err(); err != nil {
		return b, fmt.Errorf("ledger: read: %w", err)
	}
	return b, nil
}

// Package bun is a small bank on github.com/uptrace/bun, as its users write one. It knows nothing of xasql.
package bun

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/uptrace/bun"
)

// ErrInsufficient is returned when a balance would become negative.
var ErrInsufficient = errors.New("insufficient funds")

// Account is a row of accounts.
type Account struct {
	bun.BaseModel `bun:"table:accounts,alias:a"`

	ID      string   `bun:"id,pk,type:varchar(64)"`
	Balance int64    `bun:"balance,notnull"`
	Entries []*Entry `bun:"rel:has-many,join:id=account_id"`
}

// Entry is a row of entries.
type Entry struct {
	bun.BaseModel `bun:"table:entries,alias:e"`

	ID        string    `bun:"id,pk,type:varchar(64)"`
	AccountID string    `bun:"account_id,notnull,type:varchar(64)"`
	Amount    int64     `bun:"amount,notnull"`
	Note      string    `bun:"note,nullzero"`
	CreatedAt time.Time `bun:"created_at,notnull"`
}

// Bank keeps accounts in one database.
type Bank struct{ db bun.IDB }

// New makes a bank on a handle, a connection or a transaction of bun's.
func New(db bun.IDB) *Bank { return &Bank{db} }

// Migrate makes the tables.
func (b *Bank) Migrate(ctx context.Context) error {
	for _, model := range []any{(*Account)(nil), (*Entry)(nil)} {
		if _, err := b.db.NewCreateTable().Model(model).IfNotExists().Exec(ctx); err != nil {
			return err
		}
	}
	_, err := b.db.NewCreateIndex().Model((*Entry)(nil)).Index("entries_account").Column("account_id").Exec(ctx)
	return err
}

// Open opens an account.
func (b *Bank) Open(ctx context.Context, account string, balance int64) error {
	_, err := b.db.NewInsert().Model(&Account{ID: account, Balance: balance}).Exec(ctx)
	return err
}

// Post books an entry in a transaction of its own.
func (b *Bank) Post(ctx context.Context, entry, account string, amount int64) error {
	return b.db.RunInTx(ctx, &sql.TxOptions{}, func(ctx context.Context, tx bun.Tx) error {
		e := &Entry{ID: entry, AccountID: account, Amount: amount, Note: "bun", CreatedAt: time.Now()}
		if _, err := tx.NewInsert().Model(e).Exec(ctx); err != nil {
			return err
		}
		if _, err := tx.NewUpdate().Model((*Account)(nil)).Set("balance = balance + ?", amount).Where("id = ?", account).Exec(ctx); err != nil {
			return err
		}
		a := new(Account)
		if err := tx.NewSelect().Model(a).Where("id = ?", account).Scan(ctx); err != nil {
			return err
		}
		if a.Balance < 0 {
			return ErrInsufficient
		}
		return nil
	})
}

// PostMany books entries one by one, and leaves out those that the account can't bear: each in a
// transaction nested in one for all of them. It returns how many were booked.
func (b *Bank) PostMany(ctx context.Context, account string, amounts map[string]int64) (booked int, err error) {
	err = b.db.RunInTx(ctx, nil, func(ctx context.Context, tx bun.Tx) error {
		for entry, amount := range amounts {
			err := New(tx).Post(ctx, entry, account, amount)
			switch {
			case err == nil:
				booked++
			case !errors.Is(err, ErrInsufficient):
				return err
			}
		}
		return nil
	})
	return booked, err
}

// Statement reads an account and its entries.
func (b *Bank) Statement(ctx context.Context, account string) (int64, []string, error) {
	a := new(Account)
	err := b.db.NewSelect().Model(a).Where("a.id = ?", account).
		Relation("Entries", func(q *bun.SelectQuery) *bun.SelectQuery { return q.Order("e.id") }).
		Scan(ctx)
	if err != nil {
		return 0, nil, err
	}
	var ids []string
	for _, e := range a.Entries {
		ids = append(ids, e.ID)
	}
	return a.Balance, ids, nil
}

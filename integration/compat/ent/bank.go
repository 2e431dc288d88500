// Package ent is a small bank on code that entgo.io/ent has generated (package generated, from package schema), as its users write
// one. It knows nothing of xasql.
package ent

import (
	"context"
	"errors"
	"fmt"

	"github.com/xasql/xasql/integration/compat/ent/generated"
	"github.com/xasql/xasql/integration/compat/ent/generated/account"
	"github.com/xasql/xasql/integration/compat/ent/generated/entry"
)

// ErrInsufficient is returned when a balance would become negative.
var ErrInsufficient = errors.New("insufficient funds")

// Bank keeps accounts in one database.
type Bank struct{ client *generated.Client }

// New makes a bank on a client.
func New(client *generated.Client) *Bank { return &Bank{client} }

// Migrate makes the tables.
func (b *Bank) Migrate(ctx context.Context) error { return b.client.Schema.Create(ctx) }

// Open opens an account.
func (b *Bank) Open(ctx context.Context, id string, balance int64) error {
	return b.client.Account.Create().SetID(id).SetBalance(balance).Exec(ctx)
}

// Post books an entry in a transaction of its own.
func (b *Bank) Post(ctx context.Context, id, accountID string, amount int64) error {
	return b.withTx(ctx, func(tx *generated.Tx) error {
		err := tx.Entry.Create().SetID(id).SetAccountID(accountID).SetAmount(amount).SetNote("ent").Exec(ctx)
		if err != nil {
			return fmt.Errorf("entry: %w", err)
		}
		a, err := tx.Account.UpdateOneID(accountID).AddBalance(amount).Save(ctx)
		if err != nil {
			return fmt.Errorf("balance: %w", err)
		}
		if a.Balance < 0 {
			return ErrInsufficient
		}
		return nil
	})
}

// withTx is the helper that ent's documentation has.
func (b *Bank) withTx(ctx context.Context, fn func(*generated.Tx) error) error {
	tx, err := b.client.Tx(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if v := recover(); v != nil {
			_ = tx.Rollback()
			panic(v)
		}
	}()
	if err := fn(tx); err != nil {
		if back := tx.Rollback(); back != nil {
			err = fmt.Errorf("%w: rolling back: %v", err, back)
		}
		return err
	}
	return tx.Commit()
}

// Statement reads an account and its entries.
func (b *Bank) Statement(ctx context.Context, id string) (int64, []string, error) {
	a, err := b.client.Account.Query().
		Where(account.ID(id)).
		WithEntries(func(q *generated.EntryQuery) { q.Order(generated.Asc(entry.FieldID)) }).
		Only(ctx)
	if err != nil {
		return 0, nil, err
	}
	var ids []string
	for _, e := range a.Edges.Entries {
		ids = append(ids, e.ID)
	}
	return a.Balance, ids, nil
}

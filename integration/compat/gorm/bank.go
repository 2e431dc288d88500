// Package gorm is a small bank on gorm.io/gorm, as its users write one. It knows nothing of xasql.
package gorm

import (
	"context"
	"errors"
	"time"

	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// ErrInsufficient is returned when a balance would become negative.
var ErrInsufficient = errors.New("insufficient funds")

// Account is a row of accounts.
type Account struct {
	ID      string `gorm:"primaryKey;size:64"`
	Balance int64  `gorm:"not null"`
	Entries []Entry
}

// Entry is a row of entries.
type Entry struct {
	ID        string `gorm:"primaryKey;size:64"`
	AccountID string `gorm:"size:64;not null;index"`
	Amount    int64  `gorm:"not null"`
	Note      *string
	CreatedAt time.Time
}

// Bank keeps accounts in one database.
type Bank struct{ db *gorm.DB }

// New makes a bank.
func New(db *gorm.DB) *Bank { return &Bank{db} }

// Migrate makes the tables.
func (b *Bank) Migrate(ctx context.Context) error {
	return b.db.WithContext(ctx).AutoMigrate(&Account{}, &Entry{})
}

// Open opens an account.
func (b *Bank) Open(ctx context.Context, account string, balance int64) error {
	return b.db.WithContext(ctx).Create(&Account{ID: account, Balance: balance}).Error
}

// Post books an entry in a transaction of its own.
func (b *Bank) Post(ctx context.Context, entry, account string, amount int64) error {
	return b.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
		var a Account
		if err := tx.Clauses(clause.Locking{Strength: "UPDATE"}).First(&a, "id = ?", account).Error; err != nil {
			return err
		}
		note := "gorm"
		if err := tx.Create(&Entry{ID: entry, AccountID: account, Amount: amount, Note: &note}).Error; err != nil {
			return err
		}
		if err := tx.Model(&a).Update("balance", gorm.Expr("balance + ?", amount)).Error; err != nil {
			return err
		}
		if a.Balance+amount < 0 {
			return ErrInsufficient
		}
		return nil
	})
}

// PostMany books entries one by one, and leaves out those that the account can't bear: each in a
// transaction nested in one for all of them. It returns how many were booked.
func (b *Bank) PostMany(ctx context.Context, account string, amounts map[string]int64) (booked int, err error) {
	err = b.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
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
	var a Account
	err := b.db.WithContext(ctx).
		Preload("Entries", func(db *gorm.DB) *gorm.DB { return db.Order("entries.id") }).
		First(&a, "id = ?", account).Error
	if err != nil {
		return 0, nil, err
	}
	var ids []string
	for _, e := range a.Entries {
		ids = append(ids, e.ID)
	}
	return a.Balance, ids, nil
}

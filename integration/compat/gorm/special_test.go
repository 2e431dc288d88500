package gorm

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"gorm.io/gorm"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/xa"
)

// What this library alone has, inside of global transactions.
func TestInside(t *testing.T) {
	compat.Each(t, library, compat.Engines, []compat.Test{
		{Name: "nested transaction is rolled back alone", Run: nestedTransactionIsRolledBackAlone},
		{Name: "branch is a ConnPool", Run: branchIsAConnPool},
		{Name: "transaction by hand", Run: transactionByHand},
		{Name: "migrator connection and options", Run: migratorConnectionAndOptions},
	})
}

// What GORM's nested transactions undo by its savepoints is undone, and the rest is committed.
func nestedTransactionIsRolledBackAlone(t *testing.T, b *compat.Banks) {
	for name, config := range map[string]gorm.Config{"default ": {}, "prepared ": {PrepareStmt: true}} {
		err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
			bank, err := open(b.DB(i), b.Engine, config)
			if err != nil {
				return err
			}
			booked, err := bank.PostMany(ctx, b.Accounts[i], map[string]int64{name + "1": 10, name + "2": -5000, name + "3": 20})
			if booked != 2 {
				t.Errorf("%d entries were booked, want 2", booked)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	}
	b.Want(t, 60, "default 1", "default 3", "prepared 1", "prepared 3")
}

// A branch is a gorm.ConnPool: a GORM handle on it is for one global transaction, and begins none of its own.
func branchIsAConnPool(t *testing.T, b *compat.Banks) {
	post := func(then error) error {
		return b.Do(t.Context(), func(ctx context.Context, tx *xa.Tx, i int) error {
			db, err := gorm.Open(dialector(b.Branch(ctx, t, tx, i), b.Engine), &gorm.Config{})
			if err != nil {
				return err
			}
			db = db.WithContext(ctx)
			if err := db.Create(&Entry{ID: "on a branch", AccountID: b.Accounts[i], Amount: 1}).Error; err != nil {
				return err
			}
			if err := db.Model(&Account{ID: b.Accounts[i]}).Update("balance", gorm.Expr("balance + 1")).Error; err != nil {
				return err
			}
			if err := db.Transaction(func(*gorm.DB) error { return nil }); !errors.Is(err, gorm.ErrInvalidTransaction) {
				t.Errorf("GORM's own transaction on a branch: %v, want ErrInvalidTransaction", err)
			}
			return then
		})
	}
	if err := post(sql.ErrNoRows); !errors.Is(err, xa.ErrRolledBack) {
		t.Errorf("got %v, want ErrRolledBack", err)
	}
	b.Want(t, 0)
	if err := post(nil); err != nil {
		t.Error(err)
	}
	b.Want(t, 1, "on a branch")
}

// Begin, Commit, Rollback, SavePoint and RollbackTo as called by hand; batches and rows as well.
func transactionByHand(t *testing.T, b *compat.Banks) {
	err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		bank, err := open(b.DB(i), b.Engine, gorm.Config{})
		if err != nil {
			return err
		}
		tx := bank.db.WithContext(ctx).Begin()
		entries := []Entry{{ID: "1", AccountID: b.Accounts[i]}, {ID: "2", AccountID: b.Accounts[i]}, {ID: "3", AccountID: b.Accounts[i]}}
		if err := tx.CreateInBatches(entries, 2).Error; err != nil {
			return err
		}
		tx.SavePoint("kept")
		if err := tx.Delete(&Entry{}, "account_id = ?", b.Accounts[i]).Error; err != nil {
			return err
		}
		if err := tx.RollbackTo("kept").Error; err != nil {
			return err
		}
		if err := tx.Delete(&Entry{ID: "2"}).Error; err != nil {
			return err
		}
		var found []Entry
		if err := tx.Order("id").FindInBatches(&found, 1, func(*gorm.DB, int) error { return nil }).Error; err != nil {
			return err
		}
		rows, err := tx.Model(&Entry{}).Rows()
		if err != nil {
			return err
		}
		defer rows.Close()
		n := 0
		for rows.Next() {
			n++
			var e Entry
			if err := tx.ScanRows(rows, &e); err != nil {
				return err
			}
		}
		if n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
		if err := rows.Close(); err != nil {
			return err
		}
		return tx.Commit().Error
	})
	if err != nil {
		t.Error(err)
	}
	b.Want(t, 0, "1", "3")

	err = b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		bank, err := open(b.DB(i), b.Engine, gorm.Config{})
		if err != nil {
			return err
		}
		tx := bank.db.WithContext(ctx).Begin()
		if err := tx.Create(&Entry{ID: "undone", AccountID: b.Accounts[i]}).Error; err != nil {
			return err
		}
		return tx.Rollback().Error
	})
	if !errors.Is(err, xa.ErrRolledBack) {
		t.Errorf("after Rollback by hand: %v, want ErrRolledBack", err)
	}
	b.Want(t, 0, "1", "3")
}

// The migrator finds its tables, and changes them, on the handle as on a pool; and GORM's own Connection and options work inside.
func migratorConnectionAndOptions(t *testing.T, b *compat.Banks) {
	type Entry struct {
		ID        string `gorm:"primaryKey;size:64"`
		Reference string `gorm:"size:10;index"`
	}
	for i := range b.Pools {
		bank, err := open(b.DB(i), b.Engine, gorm.Config{})
		if err != nil {
			t.Fatal(err)
		}
		if err := bank.Migrate(t.Context()); err != nil {
			t.Errorf("migrate again: %v", err)
		}
		db := bank.db.WithContext(t.Context())
		if err := db.AutoMigrate(&Entry{}); err != nil || !db.Migrator().HasColumn(&Entry{}, "reference") || !db.Migrator().HasIndex(&Entry{}, "Reference") {
			t.Errorf("add a column and an index: %v", err)
		}
	}
	err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		bank, err := open(b.DB(i), b.Engine, gorm.Config{})
		if err != nil {
			return err
		}
		db := bank.db.WithContext(ctx)
		if err := db.Connection(func(tx *gorm.DB) error {
			return tx.Exec("insert into entries (id, account_id, amount, reference) values ('1', ?, 0, 'r')", b.Accounts[i]).Error
		}); err != nil {
			return err
		}
		return db.Transaction(func(tx *gorm.DB) error {
			return tx.Model(&Entry{}).Where("id = ?", "1").Updates(map[string]any{"id": "2"}).Error
		}, &sql.TxOptions{Isolation: sql.LevelReadUncommitted})
	})
	if err != nil {
		t.Error(err)
	}
	b.Want(t, 0, "2")
	err = b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		bank, err := open(b.DB(i), b.Engine, gorm.Config{})
		if err != nil {
			return err
		}
		err = bank.db.WithContext(ctx).Transaction(func(tx *gorm.DB) error {
			return tx.Delete(&Entry{}, "1 = 1").Error
		}, &sql.TxOptions{Isolation: sql.LevelSerializable})
		if err == nil {
			t.Error("an isolation level that the branch has not was granted")
		}
		return err
	})
	if !errors.Is(err, xa.ErrRolledBack) {
		t.Errorf("got %v, want ErrRolledBack", err)
	}
	b.Want(t, 0, "2")
}

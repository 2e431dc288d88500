//go:build cgo

package xa_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/xa"
)

// A function in a transaction: its error undoes everything. After a deadlock and its like it is tried again.
func ExampleManager_Do() {
	m, close := openShop()
	defer close()
	order := func(n int) error {
		opts := &xa.TxOptions{Timeout: 10 * time.Second, Retry: xa.Retry{Attempts: 5}}
		return m.Do(ctx, opts, func(ctx context.Context, tx *xa.Tx) error {
			b, err := tx.Branches(ctx, "orders", "stock")
			if err != nil {
				return err
			}
			tx.AfterCompletion(func(err error) { fmt.Println("committed:", err == nil) })
			if _, err := b[0].ExecContext(ctx, "INSERT INTO orders VALUES ('book', ?)", n); err != nil {
				return err
			}
			_, err = b[1].ExecContext(ctx, "UPDATE stock SET n = n - ? WHERE item = 'book'", n)
			return err
		})
	}
	for _, n := range []int{3, 4} {
		err := order(n)
		switch cause, _ := errors.AsType[sqlite3.Error](err); {
		case err == nil:
		case errors.Is(err, xa.ErrRolledBack) && cause.Code == sqlite3.ErrConstraint:
			fmt.Println("there are not enough: nothing was changed anywhere")
		default:
			fmt.Println(err)
		}
	}
	fmt.Println(left(m, "book"))
	// Output:
	// committed: true
	// committed: false
	// there are not enough: nothing was changed anywhere
	// 2 3
}

// A transaction that spans calls: Rollback may be deferred, it does nothing after Commit.
func ExampleManager_Begin() {
	m, close := openShop()
	defer close()
	tx, err := m.Begin(ctx, nil)
	check(err)
	defer tx.Rollback(ctx)

	orders, err := tx.Branch(ctx, "orders")
	check(err)
	_, err = orders.ExecContext(ctx, "INSERT INTO orders VALUES ('book', 1)")
	check(err)
	stock, err := tx.Branch(ctx, "stock")
	check(err)
	var n int
	err = stock.QueryRowContext(ctx, "UPDATE stock SET n = n - 1 WHERE item = 'book' RETURNING n").Scan(&n)
	check(err)

	check(tx.Commit(ctx))
	fmt.Println(n, "are left")
	// Output: 4 are left
}

// Repository knows no more than *sql.DB, as code from before the second database does, or an ORM.
type Repository struct{ db *sql.DB }

// Order inserts an order in a transaction of its own.
func (r Repository) Order(ctx context.Context, item string, n int) error {
	tx, err := r.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "INSERT INTO orders VALUES (?, ?)", item, n); err != nil {
		return err
	}
	return tx.Commit()
}

// Code that knows only *sql.DB joins unchanged: it gets the manager's handle, once, and the transaction's context, at each call.
func ExampleManager_DB() {
	m, close := openShop()
	defer close()
	repository := Repository{m.DB("orders")}

	err := m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		if err := repository.Order(ctx, "book", 2); err != nil {
			return err
		}
		_, err := m.DB("stock").ExecContext(ctx, "UPDATE stock SET n = n - 9 WHERE item = 'book'")
		return err
	})
	fmt.Println("inside:", errors.Is(err, xa.ErrRolledBack))
	fmt.Println(left(m, "book"))

	err = repository.Order(ctx, "book", 1) // under any other context it is an ordinary handle
	fmt.Println("outside:", err)
	fmt.Println(left(m, "book"))
	// Output:
	// inside: true
	// 5 0
	// outside: <nil>
	// 5 1
}

// The driver's own connection, for what database/sql has no words for. With pgx, postgres.Conn gives the *pgx.Conn.
func ExampleBranch_Raw() {
	m, close := openShop()
	defer close()
	err := m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		b, err := tx.Branch(ctx, "orders")
		if err != nil {
			return err
		}
		return b.Raw(func(driverConn any) error {
			conn := driverConn.(*sqlite3.SQLiteConn)
			fmt.Println("limit of a statement's variables:", conn.GetLimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) > 0)
			return nil
		})
	})
	fmt.Println(err)
	// Output:
	// limit of a statement's variables: true
	// <nil>
}

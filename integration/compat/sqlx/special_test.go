package sqlx

import (
	"context"
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/xa"
)

// What this library alone has, inside of global transactions.
func TestInside(t *testing.T) {
	compat.Each(t, library, compat.Engines, []compat.Test{
		{Name: "statements prepared before run inside", Run: statementsPreparedBeforeRunInside},
		{Name: "tx and conn of sqlx", Run: txAndConnOfSqlx},
		{Name: "limits of the handle and statements without context", Run: limitsOfTheHandleAndStatementsWithoutContext},
	})
}

// An extended handle and an extended connection, statements prepared before the global transaction and used inside, and named ones.
func statementsPreparedBeforeRunInside(t *testing.T, b *compat.Banks) {
	var insert [2]*sqlx.NamedStmt
	var balance [2]*sqlx.Stmt
	var handles [2]*sqlx.DB
	for i := range handles {
		db := sqlx.NewDb(b.DB(i), driverName(b.Engine))
		var err error
		if insert[i], err = db.PrepareNamedContext(t.Context(),
			"INSERT INTO entries (id, account_id, amount, created_at) VALUES (:id, :account_id, :amount, :created_at)"); err != nil {
			t.Fatal(err)
		}
		defer insert[i].Close()
		if balance[i], err = db.PreparexContext(t.Context(), db.Rebind("SELECT * FROM accounts WHERE id = ?")); err != nil {
			t.Fatal(err)
		}
		defer balance[i].Close()
		handles[i] = db
	}
	post := func(ctx context.Context, i int, id string) error {
		if _, err := insert[i].ExecContext(ctx, Entry{ID: id, AccountID: b.Accounts[i], Amount: 7, CreatedAt: time.Now()}); err != nil {
			return err
		}
		db := handles[i]
		if _, err := db.ExecContext(ctx, db.Rebind("UPDATE accounts SET balance = balance + 7 WHERE id = ?"), b.Accounts[i]); err != nil {
			return err
		}
		var a Account
		return balance[i].QueryRowxContext(ctx, b.Accounts[i]).StructScan(&a)
	}
	err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		return errors.Join(post(ctx, i, "undone"), sql.ErrNoRows)
	})
	if !errors.Is(err, xa.ErrRolledBack) {
		t.Errorf("got %v, want ErrRolledBack", err)
	}
	b.Want(t, 0)
	if err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error { return post(ctx, i, "done") }); err != nil {
		t.Error(err)
	}
	b.Want(t, 7, "done")
	for i := range b.Pools {
		if err := post(t.Context(), i, "outside"); err != nil {
			t.Error(err)
		}
	}
	b.Want(t, 14, "done", "outside")
}

// A *sqlx.Tx runs statements that were prepared on the handle, and a *sqlx.Conn joins as well.
func txAndConnOfSqlx(t *testing.T, b *compat.Banks) {
	err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error {
		db := sqlx.NewDb(b.DB(i), driverName(b.Engine))
		stmt, err := db.PreparexContext(ctx, db.Rebind("INSERT INTO entries (id, account_id, amount, created_at) VALUES (?, ?, 0, '2026-01-02 03:04:05')"))
		if err != nil {
			return err
		}
		defer stmt.Close()
		tx, err := db.BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		if _, err := tx.StmtxContext(ctx, stmt).ExecContext(ctx, "1", b.Accounts[i]); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		conn, err := db.Connx(ctx)
		if err != nil {
			return err
		}
		defer conn.Close()
		var entries []Entry
		query, args, err := sqlx.In("SELECT * FROM entries WHERE id IN (?)", []string{"1", "2"})
		if err != nil {
			return err
		}
		if err := conn.SelectContext(ctx, &entries, conn.Rebind(query), args...); err != nil {
			return err
		}
		if len(entries) != 1 || entries[0].CreatedAt.Year() != 2026 {
			t.Errorf("inside: %+v, want entry 1", entries)
		}
		rows, err := db.QueryxContext(ctx, "SELECT * FROM accounts")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := rows.MapScan(map[string]any{}); err != nil {
				return err
			}
		}
		return rows.Err()
	})
	if err != nil {
		t.Error(err)
	}
	b.Want(t, 0, "1")
}

// A handle with an application's usual limits, and a Tx whose own statements are called without a context.
func limitsOfTheHandleAndStatementsWithoutContext(t *testing.T, b *compat.Banks) {
	var handles [2]*sqlx.DB
	for i := range handles {
		handles[i] = sqlx.NewDb(b.DB(i), driverName(b.Engine))
		handles[i].SetMaxOpenConns(1)
		handles[i].SetMaxIdleConns(1)
		handles[i].SetConnMaxLifetime(time.Minute)
	}
	post := func(ctx context.Context, i int, id string, finish func(*sqlx.Tx) error) error {
		tx, err := handles[i].BeginTxx(ctx, nil)
		if err != nil {
			return err
		}
		_, err = tx.NamedExec("INSERT INTO entries (id, account_id, amount, created_at) VALUES (:id, :account_id, 0, :created_at)",
			Entry{ID: id, AccountID: b.Accounts[i], CreatedAt: time.Now()})
		if err != nil {
			return err
		}
		var balance int64
		if err := tx.Get(&balance, tx.Rebind("SELECT balance FROM accounts WHERE id = ?"), b.Accounts[i]); err != nil {
			return err
		}
		stmt, err := tx.Preparex(tx.Rebind("UPDATE accounts SET balance = ? WHERE id = ?"))
		if err != nil {
			return err
		}
		tx.MustExec("DELETE FROM entries WHERE id = 'nothing'")
		if _, err := stmt.Exec(balance+1, b.Accounts[i]); err != nil {
			return err
		}
		return finish(tx)
	}
	for id, finish := range map[string]func(*sqlx.Tx) error{"done": (*sqlx.Tx).Commit, "undone": (*sqlx.Tx).Rollback} {
		err := b.Do(t.Context(), func(ctx context.Context, _ *xa.Tx, i int) error { return post(ctx, i, id, finish) })
		if want := id == "undone"; errors.Is(err, xa.ErrRolledBack) != want {
			t.Errorf("%s: %v", id, err)
		}
	}
	b.Want(t, 1, "done")
	for i := range handles {
		if err := post(t.Context(), i, "outside", (*sqlx.Tx).Commit); err != nil {
			t.Error(err)
		}
	}
	b.Want(t, 2, "done", "outside")
}

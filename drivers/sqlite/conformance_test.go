//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/drivertest"
)

func TestConformance(t *testing.T) {
	drivertest.Run(t, func(t *testing.T) drivertest.Harness {
		path, _ := newFile(t, "CREATE TABLE kv(k TEXT PRIMARY KEY, v TEXT)")
		return drivertest.Harness{
			Driver: New(),
			Open:   func() (*sql.DB, error) { return sql.Open("sqlite3", dsn(path, "")) },
			Put:    "REPLACE INTO kv(k, v) VALUES (?, ?)",
			Insert: "INSERT INTO kv(k, v) VALUES (?, ?)",
			Get:    "SELECT v FROM kv WHERE k = ?",
			Settings: `SELECT printf('%d %d %d %d %d %d', (SELECT * FROM pragma_synchronous), (SELECT * FROM pragma_busy_timeout), (SELECT * FROM pragma_foreign_keys),
				(SELECT * FROM pragma_recursive_triggers), (SELECT * FROM pragma_ignore_check_constraints), (SELECT count(*) FROM temp.sqlite_schema))`,
			SessionBound: true,
			SingleWriter: true,
			Isolation: []sql.IsolationLevel{sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelWriteCommitted,
				sql.LevelRepeatableRead, sql.LevelSnapshot, sql.LevelSerializable},
			ReadOnlyTx: true,
			Refused:    []string{"CREATE TABLE n(a)", "CREATE TEMP TABLE n(a)", "ATTACH ':memory:' AS a", "BEGIN", "COMMIT", "ROLLBACK"},
			Poison:     poison,
			Block:      func(context.Context) (func() error, error) { return block(path) },
			Stranger:   func(ctx context.Context) (drivertest.Stranger, error) { return stranger(ctx, path) },
			Another: func() (*sql.DB, error) {
				return sql.Open("sqlite3", dsn(path+".another", ""))
			},
		}
	})
}

// poison makes SQLite roll the transaction back by itself.
func poison(ctx context.Context, conn *sql.Conn) error {
	for range 2 {
		if _, err := conn.ExecContext(ctx, "INSERT OR ROLLBACK INTO kv VALUES ('poison', '')"); err != nil {
			return nil
		}
	}
	return fmt.Errorf("a duplicate key was taken")
}

// block takes the write lock as another process would.
func block(path string) (func() error, error) {
	db, err := sql.Open("sqlite3", dsn(path, ""))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(context.Background())
	if err == nil {
		_, err = conn.ExecContext(context.Background(), "BEGIN IMMEDIATE")
	}
	return func() error {
		discard(conn)
		return db.Close()
	}, err
}

// stranger prepares a branch with another program's format id.
func stranger(ctx context.Context, path string) (s drivertest.Stranger, err error) {
	db, err := sql.Open("sqlite3", dsn(path, ""))
	if err != nil {
		return s, err
	}
	defer db.Close()
	conn, err := db.Conn(ctx)
	if err != nil {
		return s, err
	}
	s.XID = drivers.XID{FormatID: 7, GTRID: "not ours: \xff", BQual: "'"}
	b, err := New().Begin(ctx, conn, s.XID, nil)
	if err != nil {
		return s, err
	}
	if _, err := conn.ExecContext(ctx, "INSERT INTO kv VALUES ('stranger', '')"); err != nil {
		return s, err
	}
	_, err = b.Prepare(ctx)
	discard(conn)
	s.Remove = func(ctx context.Context) error {
		db, err := sql.Open("sqlite3", dsn(path, ""))
		if err != nil {
			return err
		}
		defer db.Close()
		return New().RollbackPrepared(ctx, db, s.XID)
	}
	return s, err
}

package xa_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/handletest"
	"github.com/xasql/xasql/xa"
)

// Savepoints are statements, on the branch and on the handle: what is rolled back to one is undone, the rest is committed.
func TestSavepointsInABranch(t *testing.T) {
	pool := sqliteFile(t, handletest.Config{})
	m := openSQLite(t, pool)
	err := m.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
		b, err := tx.Branch(ctx, "file")
		if err != nil {
			return err
		}
		local, err := m.DB("file").BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer local.Rollback()
		for id, on := range map[int]interface {
			ExecContext(context.Context, string, ...any) (sql.Result, error)
		}{1: b, 2: local} {
			for _, s := range []string{"SAVEPOINT mine", "INSERT INTO handletest VALUES (?1, 0, 'undone')", "ROLLBACK TO mine",
				"INSERT INTO handletest VALUES (?1, 0, 'kept')", "RELEASE mine"} {
				var args []any
				if s[0] == 'I' {
					args = []any{id}
				}
				if _, err := on.ExecContext(ctx, s, args...); err != nil {
					t.Errorf("%s: %v", s, err)
				}
			}
		}
		// A nested transaction of an ORM's: what failed inside of it costs only it.
		for _, s := range []string{"SAVEPOINT sp1", "INSERT INTO handletest VALUES (1, 0, 'twice')", "ROLLBACK TO SAVEPOINT sp1"} {
			local.ExecContext(ctx, s)
		}
		return local.Commit()
	})
	if err != nil {
		t.Fatal(err)
	}
	var n, kept int
	if err := pool.QueryRow("SELECT count(*), sum(s = 'kept') FROM handletest").Scan(&n, &kept); err != nil || n != 2 || kept != 2 {
		t.Errorf("%d rows, %d of them kept, %v", n, kept, err)
	}
}

// A COMMIT of the application's own is refused where the engine can, and nothing is half done.
func TestEndingABranchAsSQLIsRefused(t *testing.T) {
	pool := sqliteFile(t, handletest.Config{})
	m := openSQLite(t, pool)
	for _, statement := range []string{"COMMIT", "ROLLBACK", "BEGIN"} {
		err := m.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			b, err := tx.Branch(ctx, "file")
			if err == nil {
				_, err = b.ExecContext(ctx, "INSERT INTO handletest VALUES (1, 0, '')")
			}
			if err == nil {
				err = xa.Raw(conn(t, ctx, m.DB("file")), func(c any) error {
					_, err := c.(*sqlite3.SQLiteConn).Exec(statement, nil)
					return err
				})
			}
			return err
		})
		if !errors.Is(err, drivers.ErrNotSupported) || !errors.Is(err, xa.ErrRolledBack) {
			t.Errorf("%s: %v", statement, err)
		}
	}
	var n int
	if err := pool.QueryRow("SELECT count(*) FROM handletest").Scan(&n); err != nil || n != 0 {
		t.Errorf("%d rows, %v", n, err)
	}
}

func conn(t *testing.T, ctx context.Context, db *sql.DB) *sql.Conn {
	t.Helper()
	c, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// What the engine's own driver calls busy is an abort after which Do tries again.
func TestRetryGoesByTheEnginesDriver(t *testing.T) {
	m := openSQLite(t, sqliteFile(t, handletest.Config{}))
	for code, want := range map[sqlite3.ErrNo]int{sqlite3.ErrBusy: 3, sqlite3.ErrConstraint: 1, sqlite3.ErrFull: 1} {
		n := 0
		err := m.Do(t.Context(), &xa.TxOptions{Retry: xa.Retry{Attempts: 3, MinBackoff: 1, MaxBackoff: 1}}, func(ctx context.Context, tx *xa.Tx) error {
			n++
			if _, err := tx.Branch(ctx, "file"); err != nil {
				return err
			}
			return sqlite3.Error{Code: code}
		})
		if n != want || !errors.Is(err, xa.ErrRolledBack) {
			t.Errorf("%v: %d attempts, want %d; %v", code, n, want, err)
		}
	}
}

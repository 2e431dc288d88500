package xa_test

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers/sqlite"
	"github.com/xasql/xasql/internal/handletest"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

var handleSeed = flag.Uint64("handle.seed", 0, "first seed of the differential tests of Manager.DB")

// sequences is how many random sequences each differential test makes.
const sequences = 8

// Outside of a global transaction the handle answers each call as the plain one does.
func TestHandleOutsideAnswersAsThePlainOne(t *testing.T) {
	for n := range uint64(sequences) {
		cfg := handletest.Config{Seed: *handleSeed + n}
		t.Run(fmt.Sprint("seed ", cfg.Seed), func(t *testing.T) {
			plain, pool := sqliteFile(t, cfg), sqliteFile(t, cfg)
			m := openSQLite(t, pool)
			handletest.Outside(t, cfg, handletest.Side{DB: plain}, handletest.Side{DB: m.DB("file"), Raw: xa.Raw})
			if n := pool.Stats().InUse; n != 0 {
				t.Errorf("%d of the pool's connections were not given back", n)
			}
		})
	}
}

// Inside of one it answers as a plain *sql.Tx does, and leaves the same in the table.
func TestHandleInsideAnswersAsAPlainTransaction(t *testing.T) {
	for n := range uint64(sequences) {
		cfg := handletest.Config{Seed: *handleSeed + n}
		t.Run(fmt.Sprint("seed ", cfg.Seed), func(t *testing.T) {
			plain, pool := sqliteFile(t, cfg), sqliteFile(t, cfg)
			m := openSQLite(t, pool)
			local, err := plain.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer local.Rollback()
			err = m.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
				b, err := tx.Branch(ctx, "file")
				if err == nil {
					handletest.Inside(t, cfg, local, handletest.Joined{DB: m.DB("file"), Ctx: ctx, Branch: b})
				}
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := local.Commit(); err != nil {
				t.Fatal(err)
			}
			after := handletest.Config{Seed: cfg.Seed, Steps: 1} // its end compares what is in the tables
			handletest.Outside(t, after, handletest.Side{DB: plain}, handletest.Side{DB: m.DB("file"), Raw: xa.Raw})
		})
	}
}

// sqliteFile returns a pool on a new file with the table of the differential tests.
func sqliteFile(t testing.TB, cfg handletest.Config) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(t.TempDir(), "db")+"?_journal_mode=WAL&_busy_timeout=5000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	if err := cfg.Create(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	return db
}

// openSQLite returns a manager over the resource "file".
func openSQLite(t testing.TB, pool *sql.DB) *xa.Manager {
	t.Helper()
	m, err := xa.Open(t.Context(), xa.Config{
		Log:       logtest.NewMemory(),
		Resources: []xa.Resource{{Name: "file", DB: pool, Driver: sqlite.New()}},
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

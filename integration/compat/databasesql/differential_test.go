package databasesql

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"net/url"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/xasql/xasql/integration/compat"
	bank "github.com/xasql/xasql/integration/compat/sqlx"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/internal/handletest"
	"github.com/xasql/xasql/xa"
)

func TestMain(m *testing.M) { compat.Main(m, library) }

var library = compat.Library{
	OnHandle: func(db *sql.DB, engine string) (compat.Bank, error) {
		return bank.New(db, map[string]string{engines.Postgres: "pgx", engines.MySQL: "mysql"}[engine]), nil
	},
	// In pgx's other modes a statement whose context has ended before costs the connection, and where that is a *sql.Conn with a *sql.Tx
	// open on it database/sql waits for itself for ever.
	Options: map[string]url.Values{engines.Postgres: {"default_query_exec_mode": {"exec"}}},
}

var (
	seed      = flag.Uint64("handle.seed", 0, "first seed")
	sequences = flag.Uint64("handle.sequences", 4, "how many random sequences to make, of each sort on each engine")
)

// servers are the engines that the comparison is made on; package xa makes it on SQLite.
var servers = []string{engines.Postgres, engines.MySQL}

func TestHandleAnswersAsThePlainOne(t *testing.T) {
	compat.Each(t, library, servers, []compat.Test{{Name: "outside", Run: outside}, {Name: "inside", Run: inside}})
}

// Outside of a global transaction the handle answers each call as the plain one does.
func outside(t *testing.T, b *compat.Banks) {
	for n := range *sequences {
		cfg := config(b, *seed+n)
		create(t, cfg, b)
		handletest.Outside(t, cfg, handletest.Side{DB: b.Pools[0]}, handletest.Side{DB: b.DB(1), Raw: xa.Raw})
	}
}

// Inside of one it answers as a plain *sql.Tx does, and leaves the same in the table.
func inside(t *testing.T, b *compat.Banks) {
	for n := range *sequences {
		cfg := config(b, *seed+n)
		create(t, cfg, b)
		plain, err := b.Pools[0].BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer plain.Rollback()
		global := b.Manager.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			handletest.Inside(t, cfg, plain, handletest.Joined{DB: b.DB(1), Ctx: ctx, Branch: b.Branch(ctx, t, tx, 1)})
			return nil
		})
		if local := plain.Commit(); (local == nil) != (global == nil) {
			t.Fatalf("seed %d: the plain transaction ends with %v, and the global one with %v", cfg.Seed, local, global)
		}
		cfg.Steps = 1 // its end compares what is in the tables
		handletest.Outside(t, cfg, handletest.Side{DB: b.Pools[0]}, handletest.Side{DB: b.DB(1), Raw: xa.Raw})
	}
}

func config(b *compat.Banks, seed uint64) handletest.Config {
	cfg := handletest.Config{Seed: seed}
	if b.Engine != engines.Postgres {
		return cfg
	}
	cfg.Aborts = true
	var n int
	cfg.Rebind = func(query string) string {
		// No text comes twice: pgx asks the server for nothing that it has prepared on a connection before, and which connections
		// have seen what is no business of this test.
		n++
		return fmt.Sprintf("%s -- %d", sqlx.Rebind(sqlx.DOLLAR, query), n)
	}
	return cfg
}

// create makes the table anew in both databases.
func create(t *testing.T, cfg handletest.Config, b *compat.Banks) {
	t.Helper()
	for i, pool := range b.Pools {
		_, err := pool.ExecContext(t.Context(), "DROP TABLE IF EXISTS handletest")
		if err == nil {
			err = cfg.Create(t.Context(), pool)
		}
		if err != nil {
			t.Fatal(fmt.Errorf("database %d: %w", i, err))
		}
	}
}

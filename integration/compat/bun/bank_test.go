package bun

import (
	"database/sql"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/mysqldialect"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/dialect/sqlitedialect"
	"github.com/uptrace/bun/schema"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { compat.Main(m, library) }

var library = compat.Library{OnHandle: open}

// open is all that an application changes: bun takes the manager's handle where it took a pool.
func open(db *sql.DB, engine string) (compat.Bank, error) {
	return New(bun.NewDB(db, dialect(engine))), nil
}

func dialect(engine string) schema.Dialect {
	switch engine {
	case engines.Postgres:
		return pgdialect.New()
	case compat.SQLite:
		return sqlitedialect.New()
	default:
		return mysqldialect.New()
	}
}

func TestBankTakesPartUnchanged(t *testing.T) { compat.Run(t, library) }

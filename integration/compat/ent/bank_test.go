package ent

import (
	"database/sql"
	"testing"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/compat/ent/generated"
	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { compat.Main(m, library) }

var library = compat.Library{OnHandle: open}

// open is all that an application changes: ent's driver takes the manager's handle where it took a pool.
func open(db *sql.DB, engine string) (compat.Bank, error) {
	return New(generated.NewClient(generated.Driver(entsql.OpenDB(dialectOf(engine), db)))), nil
}

func dialectOf(engine string) string {
	switch engine {
	case engines.Postgres:
		return dialect.Postgres
	case compat.SQLite:
		return dialect.SQLite
	default:
		return dialect.MySQL
	}
}

func TestBankTakesPartUnchanged(t *testing.T) { compat.Run(t, library) }

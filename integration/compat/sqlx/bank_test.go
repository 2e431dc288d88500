package sqlx

import (
	"database/sql"
	"testing"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { compat.Main(m, library) }

var library = compat.Library{OnHandle: open}

// open is all that an application changes: sqlx takes the manager's handle where it took a pool.
func open(db *sql.DB, engine string) (compat.Bank, error) {
	return New(db, driverName(engine)), nil
}

func driverName(engine string) string {
	switch engine {
	case engines.Postgres:
		return "pgx"
	case compat.SQLite:
		return "sqlite3"
	default:
		return "mysql"
	}
}

func TestBankTakesPartUnchanged(t *testing.T) { compat.Run(t, library) }

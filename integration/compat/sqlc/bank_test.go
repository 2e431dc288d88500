package sqlc

import (
	"database/sql"
	"testing"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/compat/sqlc/mysql"
	"github.com/xasql/xasql/integration/compat/sqlc/postgres"
	"github.com/xasql/xasql/integration/compat/sqlc/sqlite"
	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { compat.Main(m, library) }

var library = compat.Library{OnHandle: open}

// open is all that an application changes: the generated code takes the manager's handle where it took a pool.
func open(db *sql.DB, engine string) (compat.Bank, error) {
	switch engine {
	case engines.Postgres:
		return NewPostgres(db, postgres.New(db)), nil
	case compat.SQLite:
		return NewSQLite(db, sqlite.New(db)), nil
	default:
		return NewMySQL(db, mysql.New(db)), nil
	}
}

func TestBankTakesPartUnchanged(t *testing.T) { compat.Run(t, library) }

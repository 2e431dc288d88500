package sqlx

import (
	"database/sql"
	"testing"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { compat.Main(m, open) }

func open(db *sql.DB, engine string) (compat.Bank, error) {
	return New(db, map[string]string{engines.Postgres: "pgx", engines.MySQL: "mysql", engines.MariaDB: "mysql", compat.SQLite: "sqlite3"}[engine]), nil
}

func TestBankTakesPartUnchanged(t *testing.T) { compat.Run(t, open) }

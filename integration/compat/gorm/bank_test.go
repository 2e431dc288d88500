package gorm

import (
	"database/sql"
	"testing"

	"gorm.io/driver/mysql"
	"gorm.io/driver/postgres"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/xasql/xasql/integration/compat"
	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { compat.Main(m, library, prepareStmt, skipDefaultTransaction) }

var (
	library                = configured("default", gorm.Config{})
	prepareStmt            = configured("PrepareStmt", gorm.Config{PrepareStmt: true})
	skipDefaultTransaction = configured("SkipDefaultTransaction", gorm.Config{SkipDefaultTransaction: true})
)

func configured(name string, config gorm.Config) compat.Library {
	return compat.Library{Name: name, OnHandle: func(db *sql.DB, engine string) (compat.Bank, error) {
		return open(db, engine, config)
	}}
}

// open is all that an application changes: GORM takes the manager's handle where it took a pool.
func open(conn gorm.ConnPool, engine string, config gorm.Config) (*Bank, error) {
	config.Logger = logger.Discard
	db, err := gorm.Open(dialector(conn, engine), &config)
	if err != nil {
		return nil, err
	}
	return New(db), nil
}

func dialector(conn gorm.ConnPool, engine string) gorm.Dialector {
	switch engine {
	case engines.Postgres:
		return postgres.New(postgres.Config{Conn: conn})
	case compat.SQLite:
		return sqlite.New(sqlite.Config{Conn: conn})
	default:
		return mysql.New(mysql.Config{Conn: conn})
	}
}

func TestBankTakesPartUnchanged(t *testing.T) { compat.Run(t, library) }

// GORM's own cache of prepared statements outlives transactions: statements are prepared on the handle before, and used inside.
func TestBankTakesPartWithPreparedStatements(t *testing.T) {
	compat.Run(t, prepareStmt, somePairs...)
}

// Without GORM's own transactions around single statements.
func TestBankTakesPartWithoutDefaultTransactions(t *testing.T) {
	compat.Run(t, skipDefaultTransaction, somePairs...)
}

// somePairs have each engine once.
var somePairs = [][2]string{{engines.Postgres, engines.MySQL}, {compat.SQLite, compat.SQLite}}

package engines

import (
	"database/sql"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Open opens a pool on a URL as [Server.NewDatabase] returns it. Programs that tests start use it; tests
// use [Server.Open].
func Open(databaseURL string) (*sql.DB, error) {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return nil, fmt.Errorf("engines: %w", err)
	}
	switch u.Scheme {
	case "postgres":
		config, err := pgx.ParseConfig(databaseURL)
		if err != nil {
			return nil, fmt.Errorf("engines: %w", err)
		}
		return stdlib.OpenDB(*config), nil
	case "mysql":
		config, err := mysqlConfig(u)
		if err != nil {
			return nil, fmt.Errorf("engines: %w", err)
		}
		connector, err := mysql.NewConnector(config)
		if err != nil {
			return nil, fmt.Errorf("engines: %w", err)
		}
		return sql.OpenDB(connector), nil
	}
	return nil, fmt.Errorf("engines: scheme %q is neither postgres nor mysql", u.Scheme)
}

// mysqlConfig reads mysql://user:password@host:port/database?options, with the options of go-sql-driver's DSN.
func mysqlConfig(u *url.URL) (*mysql.Config, error) {
	config, err := mysql.ParseDSN("/?" + u.RawQuery)
	if err != nil {
		return nil, err
	}
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.Net, config.Addr = "tcp", u.Host
	config.DBName = strings.TrimPrefix(u.Path, "/")
	// The driver logs every connection that a killed server breaks; the tests see the errors.
	config.Logger = &mysql.NopLogger{}
	return config, nil
}

func openFor(t testing.TB, s *Server, databaseURL string) *sql.DB {
	t.Helper()
	db, err := Open(databaseURL)
	if err != nil {
		t.Fatalf("%s: open: %v", s.Engine, err)
	}
	return db
}

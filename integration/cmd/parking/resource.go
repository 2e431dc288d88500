package main

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/xasql/xasql/drivers"
	mysqlxa "github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/crash"
	"github.com/xasql/xasql/internal/connect"
)

// resource is one of a trial's databases.
type resource struct {
	drivers.Resource
	tap        *tap
	statements statements // nil: there is no server
}

// statements are what the two-phase statement has in it that brings forth a reply.
type statements map[string]string

var (
	ofPostgres = statements{
		"prepare-reply": "PREPARE TRANSACTION", "commit-reply": "COMMIT PREPARED", "rollback-reply": "ROLLBACK PREPARED",
		"one-phase-reply": "; COMMIT\x00",
	}
	ofMySQL = statements{
		"prepare-reply": "XA PREPARE", "commit-reply": "XA COMMIT", "rollback-reply": "XA ROLLBACK", "one-phase-reply": "ONE PHASE",
	}
)

// open opens the pool of a side. It keeps one connection: there are many trials, and servers take some hundred connections.
func (t *trial) open(s crash.Side) (*resource, error) {
	r := &resource{Resource: drivers.Resource{Name: s.Name}, tap: &tap{t: t, side: s.Name[:1]}}
	connector, err := r.connector(s.URL)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", s.Name, err)
	case connector != nil:
		r.DB = sql.OpenDB(connector)
	default:
		if r.Resource, err = connect.Resource(s.Name, s.URL); err != nil {
			return nil, err
		}
	}
	r.DB.SetMaxIdleConns(1)
	r.Driver, err = t.watch(r.Driver, r.tap.side)
	return r, err
}

// connector leads to the server over wires; nil: there is no server.
func (r *resource) connector(raw string) (driver.Connector, error) {
	switch scheme, _, _ := strings.Cut(raw, ":"); scheme {
	case "postgres":
		r.Driver, r.statements = postgres.New(), ofPostgres
		config, err := pgx.ParseConfig(raw)
		if err != nil {
			return nil, err
		}
		config.DialFunc = r.tap.dial
		return stdlib.GetConnector(*config), nil
	case "mysql":
		r.Driver, r.statements = mysqlxa.New(), ofMySQL
		u, err := url.Parse(raw)
		if err != nil {
			return nil, err
		}
		config := mysql.NewConfig()
		config.User = u.User.Username()
		config.Passwd, _ = u.User.Password()
		config.Net, config.Addr, config.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
		config.Logger = &mysql.NopLogger{}
		config.DialFunc = r.tap.dial
		return mysql.NewConnector(config)
	}
	return nil, nil
}

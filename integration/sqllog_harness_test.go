package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/txlog/sqllog"
)

// logEngines are those that the log is tested on: one of each kind. XA_LOG_ENGINES=all: every one.
func logEngines(t *testing.T) []engines.Engine {
	t.Helper()
	if os.Getenv("XA_LOG_ENGINES") == "all" {
		return engines.All()
	}
	return []engines.Engine{named(t, "postgres:17"), named(t, "mysql:9.7"), named(t, "mariadb:11.8")}
}

func dialectOf(e engines.Engine) sqllog.Dialect {
	if e.Kind == engines.Postgres {
		return sqllog.Postgres
	}
	return sqllog.MySQL
}

func quietLogger() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// logConnector returns how to connect to the URL, with pgx or go-sql-driver/mysql.
func logConnector(t testing.TB, databaseURL string) driver.Connector {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	if u.Scheme == "postgres" {
		config, err := pgx.ParseConfig(databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		return stdlib.GetConnector(*config)
	}
	config, err := mysql.ParseDSN("/?" + u.RawQuery)
	if err != nil {
		t.Fatal(err)
	}
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.Net, config.Addr, config.DBName = "tcp", u.Host, u.Path[1:]
	config.Logger = &mysql.NopLogger{}
	connector, err := mysql.NewConnector(config)
	if err != nil {
		t.Fatal(err)
	}
	return connector
}

// cleaner is what openings of a log need of a test or of a case of the suite.
type cleaner interface {
	Context() context.Context
	Cleanup(func())
	Fatalf(string, ...any)
}

// serverLog is a log on a server, over a pool of its own with faults.
type serverLog struct {
	*sqllog.Log
	db     *sql.DB
	faults *faults
}

func openServerLog(t cleaner, connector driver.Connector, d sqllog.Dialect, opts sqllog.Options) *serverLog {
	f := newFaults()
	db := sql.OpenDB(faultyConnector{connector, f})
	if opts.Logger == nil {
		opts.Logger = quietLogger()
	}
	l, err := sqllog.Open(t.Context(), db, d, &opts)
	if err != nil {
		db.Close()
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		l.Close()
		db.Close()
	})
	return &serverLog{l, db, f}
}

// logPlaces returns a function that makes an empty place for a log on the server, and returns how to get there. It is cheap: with PostgreSQL a
// schema of one database.
func logPlaces(t *testing.T, s *engines.Server) func() driver.Connector {
	t.Helper()
	if s.Engine.Kind != engines.Postgres {
		return func() driver.Connector { return logConnector(t, s.NewDatabase(t)) }
	}
	databaseURL := s.NewDatabase(t)
	db := s.Open(t, databaseURL)
	n := 0
	return func() driver.Connector {
		n++
		pgExec(t, db, fmt.Sprintf("create schema log%d", n))
		return logConnector(t, fmt.Sprintf("%s&search_path=log%d", databaseURL, n))
	}
}

func TestSQLLogConforms(t *testing.T) {
	es := logEngines(t)
	engines.Start(es...)
	for _, e := range es {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel() // most of it is waiting
			place := logPlaces(t, e.Server(t))
			logtest.Run(t, func(c logtest.TB) logtest.Harness { return serverHarness(c, place(), dialectOf(e)) })
		})
	}
}

// serverHarness tells the conformance suite about a log on a server.
func serverHarness(c logtest.TB, connector driver.Connector, d sqllog.Dialect) logtest.Harness {
	another := func(c logtest.TB) txlog.Log {
		return openServerLog(c, connector, d, sqllog.Options{Existing: true, Lease: briefLease})
	}
	l := openServerLog(c, connector, d, sqllog.Options{Lease: briefLease, Name: "the log"})
	return logtest.Harness{
		Log:     l,
		Reopen:  another,
		Crash:   another,
		Another: another,
		ReadOnly: func(c logtest.TB) txlog.Log {
			return openServerLog(c, connector, d, sqllog.Options{ReadOnly: true})
		},
		Break:    func(logtest.TB) { l.faults.loseNext("INSERT INTO xasql_decision") },
		FindsOut: true,
		Pause:    func(c logtest.TB) func() { return suspendLog(c, l) },
	}
}

// suspendLog ends all leases, as a standstill of the machine does. The members of the log that is named so can't renew theirs until resume is called, as
// no row is under their token; the others do.
func suspendLog(c logtest.TB, l *serverLog) (resume func()) {
	change := func(expires string) {
		if _, err := l.db.ExecContext(c.Context(), "update xasql_member set token = case name when 'the log' then -token else token end, expires = "+expires); err != nil {
			c.Errorf("suspend: %v", err)
		}
	}
	change(fmt.Sprintf("expires - %d", 2*longLease.Microseconds()))
	return func() { change("expires") }
}

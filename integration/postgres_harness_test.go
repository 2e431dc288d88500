package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/lib/pq"

	"github.com/xasql/xasql/drivers/drivertest"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/engines"
)

// pgClient is a way of a database/sql program to talk to PostgreSQL.
type pgClient struct {
	name      string
	connector func(databaseURL string) (driver.Connector, error)
}

// pgClients returns the two client libraries, pgx in each of its ways to send a statement.
func pgClients() []pgClient {
	modes := []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, // the default
		pgx.QueryExecModeExec,
		pgx.QueryExecModeSimpleProtocol,
	}
	clients := []pgClient{{"pq", func(databaseURL string) (driver.Connector, error) {
		u, err := url.Parse(databaseURL)
		if err != nil {
			return nil, err
		}
		q := u.Query()
		q.Set("sslmode", "disable") // the servers of the tests have no certificates
		u.RawQuery = q.Encode()
		return pq.NewConnector(u.String())
	}}}
	for _, mode := range modes {
		clients = append(clients, pgClient{"pgx " + mode.String(), func(databaseURL string) (driver.Connector, error) {
			config, err := pgx.ParseConfig(databaseURL)
			if err != nil {
				return nil, err
			}
			config.DefaultQueryExecMode = mode
			return stdlib.GetConnector(*config), nil
		}})
	}
	return clients
}

func (c pgClient) open(databaseURL string) (*sql.DB, error) {
	connector, err := c.connector(databaseURL)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func TestPostgresDriverConforms(t *testing.T) {
	engines.Start(engines.Of(engines.Postgres)...)
	for _, e := range engines.Of(engines.Postgres) {
		for _, c := range pgClients()[:2] { // pgx's other ways differ in nothing that the suite sees
			t.Run(e.Name+"/"+c.name, func(t *testing.T) {
				s := e.Server(t)
				drivertest.Run(t, func(t *testing.T) drivertest.Harness { return postgresHarness(t, s, c) })
			})
		}
	}
}

// postgresHarness tells the conformance suite about PostgreSQL.
func postgresHarness(t *testing.T, s *engines.Server, c pgClient) drivertest.Harness {
	t.Helper()
	databaseURL := s.NewDatabase(t)
	admin := s.Open(t, databaseURL)
	pgExec(t, admin, "create table item (k text primary key, v text)")
	backends := regexp.MustCompile(`^(SAVEPOINT|COMMIT PREPARED|ROLLBACK PREPARED)`)
	return drivertest.Harness{
		Driver: postgres.New(),
		Open:   func() (*sql.DB, error) { return c.open(databaseURL) },
		Put:    "insert into item values ($1, $2) on conflict (k) do update set v = excluded.v",
		Insert: "insert into item values ($1, $2)",
		Get:    "select v from item where k = $1",
		Settings: `select concat_ws(' ', current_setting('transaction_isolation'), current_setting('transaction_read_only'),
			current_setting('transaction_deferrable'), current_setting('synchronous_commit'), 'mark', nullif(current_setting('xasql.branch', true), ''))`,
		Isolation: []sql.IsolationLevel{sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelRepeatableRead,
			sql.LevelSnapshot, sql.LevelSerializable},
		ReadOnlyTx: true,
		Refused: []string{
			"create temp table scratch (n int)",
			"listen news",
			"notify news",
			"declare c cursor with hold for select 1",
			"select pg_export_snapshot()",
		},
		Poison: func(ctx context.Context, conn *sql.Conn) error {
			if _, err := conn.ExecContext(ctx, "select 1 / 0"); err == nil {
				return errors.New("1 / 0 is no error")
			}
			return nil
		},
		Break: func(ctx context.Context, conn *sql.Conn) error {
			var pid int
			if err := conn.QueryRowContext(ctx, "select pg_backend_pid()").Scan(&pid); err != nil {
				return err
			}
			return pgTerminate(ctx, admin, pid)
		},
		Crash: func(context.Context) error {
			s.Kill(t)
			s.Start(t)
			return nil
		},
		Block: func(ctx context.Context) (func() error, error) { return pgWithholdCommits(ctx, admin) },
		Stranger: func(ctx context.Context) (drivertest.Stranger, error) {
			return drivertest.Stranger{Raw: "131077_Zm9v_it's other\nprogram's", Remove: func(ctx context.Context) error {
					return pgOnConn(ctx, admin, "rollback prepared E'131077_Zm9v_it''s other\\nprogram''s'")
				}}, pgOnConn(ctx, admin, "begin", "insert into item values ('stranger', '')",
					"prepare transaction E'131077_Zm9v_it''s other\\nprogram''s'")
		},
		Lossy: func() (drivertest.Lossy, error) {
			connector, err := c.connector(databaseURL)
			if err != nil {
				return drivertest.Lossy{}, err
			}
			return drivertest.NewLossy(connector, backends), nil
		},
		Another: func() (*sql.DB, error) { return c.open(s.NewDatabase(t)) },
	}
}

// pgWithholdCommits makes every commit and prepare wait for a standby that doesn't exist, after its record is on disk, until
// release is called.
func pgWithholdCommits(ctx context.Context, admin *sql.DB) (release func() error, err error) {
	set := func(ctx context.Context, to string) error {
		// It is the checkpointer that puts the setting into effect, once it has no checkpoint on its hands.
		return pgOnConn(ctx, admin, "alter system set synchronous_standby_names = '"+to+"'", "select pg_reload_conf()", "checkpoint")
	}
	if err := set(ctx, "nobody"); err != nil {
		return nil, err
	}
	release = func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return set(ctx, "")
	}
	// The server has taken the setting in as soon as a commit waits.
	for {
		waits, err := pgCommitWaits(ctx, admin)
		if err != nil {
			return nil, errors.Join(err, release())
		}
		if waits {
			return release, nil
		}
	}
}

// pgCommitWaits commits something, and tells whether that waited for a standby.
func pgCommitWaits(ctx context.Context, admin *sql.DB) (bool, error) {
	conn, err := admin.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	var pid int
	if err := conn.QueryRowContext(ctx, "select pg_backend_pid()").Scan(&pid); err != nil {
		return false, err
	}
	done := make(chan error, 1)
	go func() {
		_, err := conn.ExecContext(ctx, "select pg_current_xact_id(), pg_logical_emit_message(true, '', 'a commit that wrote nothing would not wait')")
		done <- err
	}()
	for {
		select {
		case err := <-done:
			return false, err
		default:
		}
		var waits bool
		err := admin.QueryRowContext(ctx, "select coalesce(wait_event = 'SyncRep', false) from pg_stat_activity where pid = $1", pid).Scan(&waits)
		if err != nil {
			return false, err
		}
		if waits {
			// A cancelled wait ends with a warning; the commit stands.
			if _, err := admin.ExecContext(ctx, "select pg_cancel_backend($1)", pid); err != nil {
				return false, err
			}
			return true, <-done
		}
	}
}

// pgTerminate ends a session, and returns when it is gone.
func pgTerminate(ctx context.Context, admin *sql.DB, pid int) error {
	var gone bool
	if err := admin.QueryRowContext(ctx, "select pg_terminate_backend($1, 30000)", pid).Scan(&gone); err != nil {
		return err
	}
	if !gone {
		return fmt.Errorf("session %d is still there", pid)
	}
	return nil
}

// pgOnConn executes statements on one connection, which is then discarded.
func pgOnConn(ctx context.Context, db *sql.DB, statements ...string) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, s := range statements {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

func pgExec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	if err := pgOnConn(t.Context(), db, statements...); err != nil {
		t.Fatal(err)
	}
}

package engines

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// limit bounds every step that waits for a server: far above what a loaded machine needs, since reaching it
// fails the test.
const limit = 3 * time.Minute

// Server is a running server of one engine.
type Server struct {
	Engine Engine

	admin     *url.URL   // an administrator's account, without a database
	db        *sql.DB    // of that account
	container *container // nil when the server came from the environment
	names     atomic.Int64
}

// URL returns the URL of an administrator's account on the named database.
func (s *Server) URL(database string) string {
	u := *s.admin
	u.Path = "/" + database
	return u.String()
}

// NewDatabase creates an empty database and returns its URL, which stays valid when the server is killed
// and started again. The database is dropped when the test ends; a prepared branch that is left in it fails the test.
func (s *Server) NewDatabase(t testing.TB) string {
	t.Helper()
	name := s.newName()
	s.exec(t, "create database "+name)
	t.Cleanup(func() { s.drop(t, name) })
	return s.URL(name)
}

// NewUser creates a user without any privilege but to do what it likes in the database of that URL, and returns the
// same URL for that user. It is dropped when the test ends.
func (s *Server) NewUser(t testing.TB, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatalf("%s: database url: %v", s.Engine, err)
	}
	database, name := strings.TrimPrefix(u.Path, "/"), s.newName()
	u.User = url.UserPassword(name, "plain")
	if s.Engine.Kind == Postgres {
		s.exec(t, "create role "+name+" login password 'plain'")
		s.exec(t, "grant all on database "+database+" to "+name)
		owner := s.Open(t, databaseURL)
		if _, err := owner.ExecContext(t.Context(), "grant all on schema public to "+name); err != nil {
			t.Fatalf("%s: grant to %s: %v", s.Engine, name, err)
		}
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), limit)
			defer cancel()
			// What the user owns goes with it; a role that owns something can't be dropped.
			db := openFor(t, s, databaseURL)
			defer db.Close()
			if _, err := db.ExecContext(ctx, "drop owned by "+name); err != nil {
				t.Errorf("%s: drop what %s owns: %v", s.Engine, name, err)
			}
			if _, err := s.db.ExecContext(ctx, "drop role "+name); err != nil {
				t.Errorf("%s: drop role %s: %v", s.Engine, name, err)
			}
		})
		return u.String()
	}
	s.exec(t, "create user "+name+" identified by 'plain'")
	s.exec(t, "grant all on "+database+".* to "+name)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		if _, err := s.db.ExecContext(ctx, "drop user "+name); err != nil {
			t.Errorf("%s: drop user %s: %v", s.Engine, name, err)
		}
	})
	return u.String()
}

// Open opens a pool on the URL, with pgx or go-sql-driver/mysql. It is closed when the test ends.
func (s *Server) Open(t testing.TB, databaseURL string) *sql.DB {
	t.Helper()
	db := openFor(t, s, databaseURL)
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Errorf("%s: close pool: %v", s.Engine, err)
		}
	})
	return db
}

// Kill ends all processes of the server with SIGKILL, and returns when they are gone. A test that
// wants to kill a server that came from the environment is skipped like one without a server.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.needContainer(t)
	if err := s.container.kill(); err != nil {
		t.Fatalf("%s: kill: %v", s.Engine, err)
	}
}

// Start starts a killed server, on the same address, and returns when it answers.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	s.needContainer(t)
	if err := s.container.start(); err != nil {
		t.Fatalf("%s: start: %v", s.Engine, err)
	}
	if err := s.await(); err != nil {
		t.Fatalf("%s: start: %v", s.Engine, err)
	}
}

func (s *Server) needContainer(t testing.TB) {
	t.Helper()
	if s.container == nil {
		s.Engine.missing(t, fmt.Errorf("the server of %s can't be killed by this test: unset it, so that Docker is used", s.Engine.Env()))
	}
}

// await returns when the server answers a query over the address that tests use, or has died.
func (s *Server) await() error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var one int
		err := s.db.QueryRowContext(ctx, "select 1").Scan(&one)
		if err == nil {
			return nil
		}
		if s.container != nil {
			if died := s.container.died(); died != nil {
				return died
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no answer within %v: %w", limit, err)
		case <-tick.C:
		}
	}
}

// drop drops a database at the end of a test.
func (s *Server) drop(t testing.TB, name string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	if s.Engine.Kind == Postgres {
		s.dropPostgres(ctx, t, name)
		return
	}
	s.dropMySQL(ctx, t, name)
}

// dropPostgres drops a database, and every prepared branch in it: the branch has failed the test already, and
// would else stay in the way of the server's other tests.
func (s *Server) dropPostgres(ctx context.Context, t testing.TB, name string) {
	t.Helper()
	var left []string
	if err := scanAll(ctx, s.db, &left, "select gid from pg_prepared_xacts where database = $1", name); err != nil {
		t.Errorf("%s: list prepared branches: %v", s.Engine, err)
	}
	if len(left) > 0 {
		t.Errorf("%s: prepared branches left in %s: %q", s.Engine, name, left)
		inside := openFor(t, s, s.URL(name))
		defer inside.Close()
		for _, gid := range left {
			if _, err := inside.ExecContext(ctx, "rollback prepared '"+strings.ReplaceAll(gid, "'", "''")+"'"); err != nil {
				t.Errorf("%s: roll back %q: %v", s.Engine, gid, err)
			}
		}
	}
	if _, err := s.db.ExecContext(ctx, "drop database "+name+" with (force)"); err != nil {
		t.Errorf("%s: drop database %s: %v", s.Engine, name, err)
	}
}

// dropMySQL drops a database. These engines don't tell which database a prepared branch changed: one that is left holds locks that make
// the drop time out.
func (s *Server) dropMySQL(ctx context.Context, t testing.TB, name string) {
	t.Helper()
	conn, err := s.db.Conn(ctx)
	if err != nil {
		t.Errorf("%s: drop database %s: %v", s.Engine, name, err)
		return
	}
	defer conn.Close()
	if _, err := conn.ExecContext(ctx, "set session lock_wait_timeout = 5"); err != nil {
		t.Errorf("%s: drop database %s: %v", s.Engine, name, err)
	}
	// What nothing prepared holds up is held up by a session that is just ending.
	for _, err = conn.ExecContext(ctx, "drop database "+name); err != nil; _, err = conn.ExecContext(ctx, "drop database "+name) {
		if prepared := s.Prepared(t); len(prepared) > 0 || !isLockWait(err) {
			t.Errorf("%s: drop database %s: %v; prepared on this server: %q", s.Engine, name, err, prepared)
			return
		}
	}
}

func isLockWait(err error) bool {
	var refused *mysql.MySQLError
	return errors.As(err, &refused) && refused.Number == 1205
}

// Prepared lists what the server holds prepared, in all databases, as the server itself spells it. It uses no code
// of this project's drivers, so that a test can check them by it.
func (s *Server) Prepared(t testing.TB) []string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var got []string
	if s.Engine.Kind == Postgres {
		if err := scanAll(ctx, s.db, &got, "select gid from pg_prepared_xacts order by gid"); err != nil {
			t.Errorf("%s: list prepared branches: %v", s.Engine, err)
		}
		return got
	}
	rows, err := s.db.QueryContext(ctx, "xa recover")
	if err != nil {
		t.Errorf("%s: list prepared branches: %v", s.Engine, err)
		return nil
	}
	defer rows.Close()
	for rows.Next() {
		var format int64
		var gtrid, bqual int
		var data string
		if err := rows.Scan(&format, &gtrid, &bqual, &data); err != nil {
			t.Errorf("%s: list prepared branches: %v", s.Engine, err)
			return nil
		}
		got = append(got, data[:gtrid]+"/"+data[gtrid:])
	}
	if err := rows.Err(); err != nil {
		t.Errorf("%s: list prepared branches: %v", s.Engine, err)
	}
	return got
}

// AwaitNoSessions returns when no session is left in the database of that URL: what a killed client had sent is then
// done or will never be.
func (s *Server) AwaitNoSessions(t testing.TB, databaseURL string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatalf("%s: database url: %v", s.Engine, err)
	}
	query := "select count(*) from information_schema.processlist where db = ?"
	if s.Engine.Kind == Postgres {
		query = "select count(*) from pg_stat_activity where datname = $1"
	}
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for n := 1; n > 0; <-tick.C {
		if err := s.db.QueryRowContext(ctx, query, strings.TrimPrefix(u.Path, "/")).Scan(&n); err != nil {
			t.Fatalf("%s: wait for %d sessions to end: %v", s.Engine, n, err)
		}
	}
}

// exec runs a statement as the administrator.
func (s *Server) exec(t testing.TB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	if _, err := s.db.ExecContext(ctx, statement); err != nil {
		t.Fatalf("%s: %s: %v", s.Engine, statement, err)
	}
}

// newName returns a name that no other database or user on the server has: the server may be one of the
// environment, and hold what another process made.
func (s *Server) newName() string {
	return fmt.Sprintf("xat_%d_%d", time.Now().UnixNano()/1000, s.names.Add(1))
}

func scanAll(ctx context.Context, db *sql.DB, to *[]string, query string, args ...any) error {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return err
		}
		*to = append(*to, s)
	}
	return rows.Err()
}

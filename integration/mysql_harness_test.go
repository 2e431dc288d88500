package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/drivertest"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/integration/engines"
)

func TestMySQLDriverConforms(t *testing.T) {
	for _, e := range engines.Of(engines.MySQL, engines.MariaDB) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			drivertest.Run(t, func(t *testing.T) drivertest.Harness { return mysqlHarness(t, s) })
		})
	}
}

// mysqlHarness is the driver for MySQL and MariaDB with a database of its own.
func mysqlHarness(t *testing.T, s *engines.Server) drivertest.Harness {
	database := s.NewDatabase(t)
	admin := s.Open(t, database)
	mustExec(t, admin, "create table kv (k varchar(64) primary key, v text) engine=innodb")
	mustExec(t, admin, "create table poison (id int primary key, v int) engine=innodb")
	maria := s.Engine.Kind == engines.MariaDB
	h := drivertest.Harness{
		Driver:     mysql.New(),
		Open:       func() (*sql.DB, error) { return engines.Open(database) },
		Put:        "replace into kv (k, v) values (?, ?)",
		Insert:     "insert into kv (k, v) values (?, ?)",
		Get:        "select v from kv where k = ?",
		Settings:   "select concat_ws(' ', @@transaction_isolation, @@transaction_read_only, @@autocommit, @@sql_log_bin)",
		Isolation:  []sql.IsolationLevel{sql.LevelReadUncommitted, sql.LevelReadCommitted, sql.LevelRepeatableRead},
		ReadOnlyTx: true,
		Refused:    []string{"create table other (id int)", "lock tables kv write", "commit", "begin"},
		Poison:     func(ctx context.Context, conn *sql.Conn) error { return deadlock(ctx, conn, admin) },
		Crash:      func(context.Context) error { s.Kill(t); s.Start(t); return nil },
		Block:      func(ctx context.Context) (func() error, error) { return blockCommits(ctx, admin) },
		Stranger:   func(ctx context.Context) (drivertest.Stranger, error) { return mysqlStranger(ctx, admin) },
		Lossy:      func() (drivertest.Lossy, error) { return mysqlLossy(database) },
	}
	if maria {
		h.SessionBound, h.NoIdentity = true, true
		h.Isolation = append(h.Isolation, sql.LevelSerializable)
		h.Settings = strings.Replace(h.Settings, "@@transaction_isolation, @@transaction_read_only", "@@tx_isolation, @@tx_read_only", 1)
	} else {
		h.Refused = append(h.Refused, "create temporary table mine (id int)")
	}
	return h
}

func mustExec(t testing.TB, x interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, query string, args ...any) {
	t.Helper()
	if _, err := x.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// deadlock makes the transaction of conn a deadlock's victim: the servers choose the one that changed less.
func deadlock(ctx context.Context, conn *sql.Conn, admin *sql.DB) error {
	var rows []string
	for id := range 100 {
		rows = append(rows, fmt.Sprintf("(%d, 0)", id))
	}
	if _, err := admin.ExecContext(ctx, "replace into poison values "+strings.Join(rows, ", ")); err != nil {
		return err
	}
	other, err := admin.Conn(ctx)
	if err != nil {
		return err
	}
	defer other.Close()
	var id int64
	if err := other.QueryRowContext(ctx, "select connection_id()").Scan(&id); err != nil {
		return err
	}
	tx, err := other.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "update poison set v = v + 1 where id > 0"); err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, "update poison set v = v + 1 where id = 0"); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		_, err := tx.ExecContext(ctx, "update poison set v = v + 1 where id = 0")
		done <- err
	}()
	if err := awaitLockWait(ctx, admin, id); err != nil {
		return err
	}
	_, err = conn.ExecContext(ctx, "update poison set v = v + 1 where id = 1")
	if won := <-done; won != nil {
		return fmt.Errorf("the other transaction was the victim: %w", won)
	}
	if victim, ok := errors.AsType[*driver.MySQLError](err); !ok || victim.Number != 1213 && victim.Number != 1614 {
		return fmt.Errorf("want a deadlock, got %w", err)
	}
	return nil
}

// awaitLockWait returns when that session waits for a row lock. It must not ask often: the servers answer from a cache
// that is renewed only after nobody has read it for 100 ms.
func awaitLockWait(ctx context.Context, admin *sql.DB, id int64) error {
	tick := time.NewTicker(150 * time.Millisecond)
	defer tick.Stop()
	for {
		var n int
		err := admin.QueryRowContext(ctx,
			"select count(*) from information_schema.innodb_trx where trx_mysql_thread_id = ? and trx_state = 'LOCK WAIT'", id).Scan(&n)
		if err != nil || n > 0 {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// blockCommits makes the server keep every commit waiting.
func blockCommits(ctx context.Context, admin *sql.DB) (release func() error, err error) {
	conn, err := admin.Conn(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.ExecContext(ctx, "flush tables with read lock"); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return func() error {
		_, err := conn.ExecContext(ctx, "unlock tables")
		return errors.Join(err, conn.Close())
	}, nil
}

// mysqlStranger prepares a branch as another program does: with a format id of its own, and without a bqual.
func mysqlStranger(ctx context.Context, admin *sql.DB) (drivertest.Stranger, error) {
	conn, err := admin.Conn(ctx)
	if err != nil {
		return drivertest.Stranger{}, err
	}
	xid := drivers.XID{FormatID: 1, GTRID: fmt.Sprintf("stranger\x00\xff'%d", time.Now().UnixNano())}
	x := fmt.Sprintf("x'%x'", xid.GTRID)
	for _, statement := range []string{"xa start " + x, "insert into kv values ('stranger', '')", "xa end " + x, "xa prepare " + x} {
		if _, err := conn.ExecContext(ctx, statement); err != nil {
			return drivertest.Stranger{}, err
		}
	}
	return drivertest.Stranger{XID: xid, Remove: func(ctx context.Context) error {
		_, err := conn.ExecContext(ctx, "xa rollback "+x)
		return errors.Join(err, conn.Close())
	}}, nil
}

func mysqlLossy(database string) (drivertest.Lossy, error) {
	u, err := url.Parse(database)
	if err != nil {
		return drivertest.Lossy{}, err
	}
	config := driver.NewConfig()
	config.User = u.User.Username()
	config.Passwd, _ = u.User.Password()
	config.Net, config.Addr, config.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	config.Logger = &driver.NopLogger{}
	connector, err := driver.NewConnector(config)
	if err != nil {
		return drivertest.Lossy{}, err
	}
	return drivertest.NewLossy(connector, regexp.MustCompile(`XA (PREPARE|COMMIT|ROLLBACK)`)), nil
}

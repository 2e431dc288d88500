package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The key's collation pads with blanks: no key holds one (see encode). READ COMMITTED and the like are the session's.
const mysqlSchema = `CREATE TABLE IF NOT EXISTS xasql_log (
	singleton TINYINT NOT NULL PRIMARY KEY CHECK (singleton = 1),
	version   INT NOT NULL,
	id        VARCHAR(16) NOT NULL, -- empty until the log is opened for the first time
	made_at   BIGINT NOT NULL,      -- all times are microseconds since 1970
	barrier   BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin;
CREATE TABLE IF NOT EXISTS xasql_decision (
	id         VARCHAR(255) NOT NULL PRIMARY KEY,
	outcome    VARCHAR(9) NOT NULL CHECK (outcome IN ('committed', 'aborted')),
	resources  TEXT NOT NULL,            -- names, with blanks between them
	evidence   TEXT NOT NULL,            -- of each resource, with blanks between, or nothing
	decided_at BIGINT NOT NULL,
	settled_at BIGINT NOT NULL,          -- 0 until every branch has confirmed
	asked      BIGINT NOT NULL DEFAULT 0, -- how often it was to be decided again
	INDEX xasql_decision_settled (settled_at, decided_at, id)
) ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin;
CREATE TABLE IF NOT EXISTS xasql_resource (
	name     VARCHAR(255) NOT NULL PRIMARY KEY,
	identity TEXT NOT NULL
) ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin;
CREATE TABLE IF NOT EXISTS xasql_member (
	mark    VARCHAR(5) NOT NULL PRIMARY KEY,
	name    VARCHAR(255) NOT NULL,
	token   BIGINT NOT NULL,
	since   BIGINT NOT NULL,
	expires BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin;
CREATE TABLE IF NOT EXISTS xasql_claim (
	id         VARCHAR(255) NOT NULL PRIMARY KEY,
	mark       VARCHAR(5) NOT NULL,
	name       VARCHAR(255) NOT NULL,
	claimed_at BIGINT NOT NULL
) ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin;
CREATE TABLE IF NOT EXISTS xasql_note (
	id       VARCHAR(255) NOT NULL,
	kind     VARCHAR(20) NOT NULL,
	resource VARCHAR(255) NOT NULL, -- empty: about the whole transaction
	noted_by TEXT NOT NULL,
	text     TEXT NOT NULL,
	noted_at BIGINT NOT NULL,
	PRIMARY KEY (id, kind, resource)
) ENGINE = InnoDB CHARACTER SET ascii COLLATE ascii_bin;
INSERT INTO xasql_log (singleton, version, id, made_at, barrier) VALUES (1, 1, '', 0, 0) ON DUPLICATE KEY UPDATE singleton = 1;
`

// mysqlSettings undoes whatever the server, the account or the DSN says that would leave a statement of the log uncommitted, or make it
// fail, or do less than it says; and ends the session of a process that was stopped, or has vanished, soon. MariaDB passes over what is in /*! */, MySQL over what is in /*M! */.
const mysqlSettings = `SET SESSION autocommit = 1, sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', completion_type = 'NO_CHAIN',
	sql_safe_updates = 0, sql_select_limit = DEFAULT, unique_checks = 1, innodb_lock_wait_timeout = 5, lock_wait_timeout = 5, wait_timeout = 30
	/*!80029 , max_execution_time = 0 */ /*M!100502 , max_statement_time = 0 */`

func mysqlGrammar() *grammar {
	return &grammar{
		schema:    mysqlSchema,
		now:       "TIMESTAMPDIFF(MICROSECOND, '1970-01-01 00:00:00', UTC_TIMESTAMP(6))",
		probe:     "SELECT @@version_comment",
		sessionID: "SELECT CONNECTION_ID()",
		sessions:  2,
		begin:     "START TRANSACTION",
		lock:      "SELECT version FROM xasql_log WHERE singleton = 1 FOR UPDATE",
		keep:      "ON DUPLICATE KEY UPDATE id = id",
		conflict:  "ON DUPLICATE KEY UPDATE asked = asked + 1",
		// InnoDB shows a commit to others before it is on the disk, unless the server keeps a binary log. What is committed
		// after it can't be on the disk without it.
		barrier:  "UPDATE xasql_log SET barrier = barrier + 1 WHERE singleton = 1",
		tries:    1,
		prepare:  prepareMySQL,
		tables:   mysqlTables,
		withLock: lockMySQL,
	}
}

func prepareMySQL(ctx context.Context, conn *sql.Conn, opts Options) error {
	if _, err := conn.ExecContext(ctx, mysqlSettings); err != nil {
		return err
	}
	var schema, flush string
	var readOnly string
	var logged bool
	var sync int64
	err := conn.QueryRowContext(ctx, "SELECT COALESCE(DATABASE(), ''), @@global.innodb_flush_log_at_trx_commit, @@log_bin AND @@sql_log_bin, @@global.sync_binlog, @@global.read_only").
		Scan(&schema, &flush, &logged, &sync, &readOnly)
	switch {
	case err != nil:
		return err
	case schema == "":
		return errors.New("no database is chosen: name one in the DSN")
	}
	// With gaps unlocked, batches of several processes don't run into each other. A binary log of statements forbids that.
	isolation, access := "READ COMMITTED", "READ WRITE"
	var name, format string
	err = conn.QueryRowContext(ctx, "SHOW VARIABLES LIKE 'binlog_format'").Scan(&name, &format)
	if err == nil && logged && strings.EqualFold(format, "STATEMENT") {
		isolation = "REPEATABLE READ"
	} else if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if opts.ReadOnly {
		access = "READ ONLY"
	}
	if _, err := conn.ExecContext(ctx, "SET SESSION TRANSACTION ISOLATION LEVEL "+isolation+", "+access); err != nil {
		return err
	}
	if opts.ReadOnly || opts.RelaxedDurability {
		return nil
	}
	const otherwise = ", or set RelaxedDurability if that does not matter"
	switch {
	case !slices.Contains([]string{"1", "3"}, flush):
		return fmt.Errorf("innodb_flush_log_at_trx_commit is %s on this server: a crash loses decisions: set it to 1%s", flush, otherwise)
	case logged && sync != 1:
		return fmt.Errorf("sync_binlog is %d on this server: a crash of the machine loses decisions: set it to 1%s", sync, otherwise)
	}
	return nil
}

func mysqlTables(ctx context.Context, conn *sql.Conn) (map[string]bool, error) {
	rows, err := conn.QueryContext(ctx, `SELECT table_name, COALESCE(engine, '') FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name LIKE 'xasql\_%'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var name, engine string
		if err := rows.Scan(&name, &engine); err != nil {
			return nil, err
		}
		if isTable(name) && !strings.EqualFold(engine, "InnoDB") {
			return nil, fmt.Errorf("table %s has the storage engine %q, which keeps no promise: ALTER TABLE %s ENGINE = InnoDB", name, engine, name)
		}
		found[name] = true
	}
	return found, rows.Err()
}

// lockMySQL takes a named lock, since DDL commits what it stands in. It ends with the session at the latest.
func lockMySQL(ctx context.Context, conn *sql.Conn, f func() error) error {
	const name = "CONCAT('xasql_log.', LEFT(SHA2(DATABASE(), 256), 32))"
	for got := 0; got != 1; {
		if err := conn.QueryRowContext(ctx, "SELECT COALESCE(GET_LOCK("+name+", 1), 0)").Scan(&got); err != nil {
			return err
		}
	}
	err := f()
	if unlock := ask(ctx, conn, "SELECT RELEASE_LOCK("+name+")"); unlock != nil {
		return errors.Join(err, unlock, errLost)
	}
	return err
}

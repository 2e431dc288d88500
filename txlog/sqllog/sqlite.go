package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

const sqliteSchema = `CREATE TABLE IF NOT EXISTS xasql_log (
	singleton INTEGER NOT NULL PRIMARY KEY CHECK (singleton = 1),
	version   INTEGER NOT NULL,
	id        TEXT NOT NULL,   -- empty until the log is opened for the first time
	made_at   INTEGER NOT NULL -- all times are microseconds since 1970
);
CREATE TABLE IF NOT EXISTS xasql_decision (
	id         TEXT NOT NULL PRIMARY KEY,
	outcome    TEXT NOT NULL CHECK (outcome IN ('committed', 'aborted')),
	resources  TEXT NOT NULL,             -- names, with blanks between them
	evidence   TEXT NOT NULL,             -- of each resource, with blanks between, or nothing
	decided_at INTEGER NOT NULL,
	settled_at INTEGER NOT NULL,          -- 0 until every branch has confirmed
	asked      INTEGER NOT NULL DEFAULT 0 -- how often it was to be decided again
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS xasql_decision_settled ON xasql_decision (settled_at, decided_at, id);
CREATE TABLE IF NOT EXISTS xasql_resource (
	name     TEXT NOT NULL PRIMARY KEY,
	identity TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS xasql_member (
	mark    TEXT NOT NULL PRIMARY KEY,
	name    TEXT NOT NULL,
	token   INTEGER NOT NULL,
	since   INTEGER NOT NULL,
	expires INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS xasql_claim (
	id         TEXT NOT NULL PRIMARY KEY,
	mark       TEXT NOT NULL,
	name       TEXT NOT NULL,
	claimed_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS xasql_note (
	id       TEXT NOT NULL,
	kind     TEXT NOT NULL,
	resource TEXT NOT NULL, -- empty: about the whole transaction
	noted_by TEXT NOT NULL,
	text     TEXT NOT NULL,
	noted_at INTEGER NOT NULL,
	PRIMARY KEY (id, kind, resource)
) WITHOUT ROWID;
INSERT INTO xasql_log (singleton, version, id, made_at) VALUES (1, 1, '', 0) ON CONFLICT DO NOTHING;
`

// SQLite's own wait for a busy file does not obey the context: it is cut into slices of this many milliseconds, and the statement
// tried again. An error that is not about a busy file comes at once, so that trying again costs nothing.
const (
	sqliteSlice = "100"
	sqliteTries = 100
)

func sqliteGrammar() *grammar {
	return &grammar{
		schema:    sqliteSchema,
		now:       "(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000)",
		probe:     "SELECT sqlite_version()",
		sessionID: "SELECT 1",
		sessions:  1, // the file has one writer at a time anyway, and a connection to a file does not break
		begin:     "BEGIN IMMEDIATE",
		keep:      "ON CONFLICT DO NOTHING",
		conflict:  "ON CONFLICT (id) DO UPDATE SET asked = asked + 1 RETURNING id, outcome",
		returns:   true,
		atomic:    true,
		tries:     sqliteTries,
		prepare:   prepareSQLite,
		tables:    sqliteTables,
		withLock:  lockSQLite,
	}
}

func prepareSQLite(ctx context.Context, conn *sql.Conn, opts Options) error {
	readOnly := "0"
	if opts.ReadOnly {
		readOnly = "1"
	}
	settings := []string{"busy_timeout = " + sqliteSlice, "locking_mode = NORMAL", "synchronous = EXTRA", "fullfsync = 1",
		"ignore_check_constraints = 0", "read_uncommitted = 0", "query_only = " + readOnly}
	for _, s := range settings {
		if _, err := conn.ExecContext(ctx, "PRAGMA "+s); err != nil {
			return err
		}
	}
	var file, journal string
	if err := conn.QueryRowContext(ctx, "SELECT file FROM pragma_database_list WHERE name = 'main'").Scan(&file); err != nil {
		return err
	}
	if file == "" {
		return errors.New("the database is in memory, or temporary: a log needs a file")
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA journal_mode").Scan(&journal); err != nil {
		return err
	}
	if slices.Contains([]string{"memory", "off"}, strings.ToLower(journal)) && !opts.ReadOnly && !opts.RelaxedDurability {
		return fmt.Errorf("journal_mode is %s: a crash destroys the file: use WAL, or set RelaxedDurability if that does not matter", journal)
	}
	return nil
}

func sqliteTables(ctx context.Context, conn *sql.Conn) (map[string]bool, error) {
	rows, err := conn.QueryContext(ctx, `SELECT name FROM main.sqlite_master WHERE type IN ('table', 'view') AND name GLOB '*xa*'`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		if name == "_xa_prepared" || name == "_xa_identity" {
			return nil, errors.New("the file is a resource as well: its branches, while they are prepared, keep everybody else from writing, Decide too: give the log a file of its own")
		}
		found[name] = true
	}
	return found, rows.Err()
}

func lockSQLite(ctx context.Context, conn *sql.Conn, f func() error) error {
	return sqliteGrammar().inTx(ctx, conn, f)
}

package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const postgresSchema = `CREATE TABLE IF NOT EXISTS xasql_log (
	singleton smallint NOT NULL PRIMARY KEY CHECK (singleton = 1),
	version   integer NOT NULL,
	id        text NOT NULL,   -- empty until the log is opened for the first time
	made_at   bigint NOT NULL  -- all times are microseconds since 1970
);
CREATE TABLE IF NOT EXISTS xasql_decision (
	id         text COLLATE "C" NOT NULL PRIMARY KEY,
	outcome    text NOT NULL CHECK (outcome IN ('committed', 'aborted')),
	resources  text NOT NULL,            -- names, with blanks between them
	evidence   text NOT NULL,            -- of each resource, with blanks between, or nothing
	decided_at bigint NOT NULL,
	settled_at bigint NOT NULL,          -- 0 until every branch has confirmed
	asked      bigint NOT NULL DEFAULT 0 -- how often it was to be decided again
);
CREATE INDEX IF NOT EXISTS xasql_decision_settled ON xasql_decision (settled_at, decided_at, id);
CREATE TABLE IF NOT EXISTS xasql_resource (
	name     text COLLATE "C" NOT NULL PRIMARY KEY,
	identity text NOT NULL
);
CREATE TABLE IF NOT EXISTS xasql_member (
	mark    text COLLATE "C" NOT NULL PRIMARY KEY,
	name    text NOT NULL,
	token   bigint NOT NULL,
	since   bigint NOT NULL,
	expires bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS xasql_claim (
	id         text COLLATE "C" NOT NULL PRIMARY KEY,
	mark       text NOT NULL,
	name       text NOT NULL,
	claimed_at bigint NOT NULL
);
CREATE TABLE IF NOT EXISTS xasql_note (
	id       text COLLATE "C" NOT NULL,
	kind     text COLLATE "C" NOT NULL,
	resource text COLLATE "C" NOT NULL, -- empty: about the whole transaction
	noted_by text NOT NULL,
	text     text NOT NULL,
	noted_at bigint NOT NULL,
	PRIMARY KEY (id, kind, resource)
);
INSERT INTO xasql_log (singleton, version, id, made_at) VALUES (1, 1, '', 0) ON CONFLICT DO NOTHING;
`

// postgresSettings turns off whatever the role, the database or the DSN says that would make a statement of the log
// fail, wait less than it should, or be acknowledged before it is on the disk; and ends soon what a process that was stopped, or has vanished, has
// left half-done. Settings that the version lacks are left out.
const postgresSettings = `SELECT pg_catalog.count(pg_catalog.set_config(w.name, w.value, false))
	FROM (VALUES ('default_transaction_isolation', 'read committed'), ('default_transaction_read_only', '%s'),
		('default_transaction_deferrable', 'off'), ('statement_timeout', '0'), ('lock_timeout', '0'), ('transaction_timeout', '0'),
		('idle_in_transaction_session_timeout', '30s'), ('idle_session_timeout', '0'),
		('synchronous_commit', CASE pg_catalog.current_setting('synchronous_commit') WHEN 'off' THEN 'on' END)) AS w (name, value)
	WHERE w.value IS NOT NULL AND EXISTS (SELECT 1 FROM pg_catalog.pg_settings s WHERE s.name = w.name)`

func postgresGrammar() *grammar {
	return &grammar{
		schema:    postgresSchema,
		now:       "(pg_catalog.date_part('epoch', pg_catalog.clock_timestamp()) * 1000000)::bigint",
		numbered:  true,
		probe:     "SELECT pg_catalog.current_setting('server_version_num')",
		sessionID: "SELECT pg_catalog.pg_backend_pid()",
		sessions:  2,
		begin:     "BEGIN",
		lock:      "SELECT version FROM xasql_log WHERE singleton = 1 FOR UPDATE",
		keep:      "ON CONFLICT DO NOTHING",
		conflict:  "ON CONFLICT (id) DO UPDATE SET asked = xasql_decision.asked + 1 RETURNING id, outcome",
		returns:   true,
		tries:     1,
		prepare:   preparePostgres,
		tables:    postgresTables,
		withLock:  lockPostgres,
	}
}

func preparePostgres(ctx context.Context, conn *sql.Conn, opts Options) error {
	readOnly := "off"
	if opts.ReadOnly {
		readOnly = "on"
	}
	if err := ask(ctx, conn, fmt.Sprintf(postgresSettings, readOnly)); err != nil {
		return err
	}
	var standby, fsync bool
	err := conn.QueryRowContext(ctx, `SELECT pg_catalog.pg_is_in_recovery(), pg_catalog.current_setting('fsync') = 'on'`).Scan(&standby, &fsync)
	switch {
	case err != nil:
		return err
	case standby:
		return errors.New("the server is a standby, which may lag behind what was decided: connect to the primary (with several hosts in the URL: target_session_attrs=read-write)")
	case !fsync && !opts.ReadOnly && !opts.RelaxedDurability:
		return errors.New("fsync is off on this server: a crash of the machine loses decisions: set fsync = on, or set RelaxedDurability if that does not matter")
	}
	return nil
}

func postgresTables(ctx context.Context, conn *sql.Conn) (map[string]bool, error) {
	rows, err := conn.QueryContext(ctx, `SELECT relname::text, relpersistence = 'p', relkind::text FROM pg_catalog.pg_class
		WHERE relname LIKE 'xasql\_%' AND relkind <> 'i' AND pg_catalog.pg_table_is_visible(oid)`)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]bool{}
	for rows.Next() {
		var name, kind string
		var permanent bool
		if err := rows.Scan(&name, &permanent, &kind); err != nil {
			return nil, err
		}
		if isTable(name) && !permanent {
			return nil, fmt.Errorf("table %s is unlogged or temporary: a crash empties it: ALTER TABLE %s SET LOGGED", name, name)
		}
		found[name] = true
	}
	return found, rows.Err()
}

// lockPostgres: two that create a table at once would meet in the catalog, IF NOT EXISTS or not.
func lockPostgres(ctx context.Context, conn *sql.Conn, f func() error) error {
	return postgresGrammar().inTx(ctx, conn, func() error {
		if err := ask(ctx, conn, "SELECT pg_catalog.pg_advisory_xact_lock(pg_catalog.hashtext('xasql_log'))::text"); err != nil {
			return err
		}
		return f()
	})
}

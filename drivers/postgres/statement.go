package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/xasql/xasql/drivers"
)

// Every statement is sent without arguments: PREPARE TRANSACTION and its kin take no parameters
// (42601), and without arguments both pgx and lib/pq send an Exec as one simple-protocol message, in
// which several statements cost one round trip and the first error stops the rest.
//
// # The mark
//
// An application that sends COMMIT or ROLLBACK as SQL ends its branch behind our back, and what it
// sends next takes effect outside. The mark, a setting that Begin makes twice, tells: SET LOCAL's value
// lasts until the transaction ends, SET's shows through after a commit, and neither survives a rollback.
// PREPARE and COMMIT take it back within the transaction, so that no session ever keeps it.

func activeMark(gid string) string    { return "active " + gid }
func committedMark(gid string) string { return "committed " + gid }

// The guard fails outside a transaction (25P01) and in one that has failed (25P02), where a bare PREPARE
// TRANSACTION or COMMIT would be answered with success though it did nothing, or rolled back.
const guard = "SAVEPOINT xasql; RESET xasql.branch; "

// beginSQL starts a transaction and marks it. BEGIN inside a transaction is only a warning, but its
// NOT DEFERRABLE, whatever the setting was, is an error (25001) in one that has run a query.
func beginSQL(gid string, opts *sql.TxOptions) (string, error) {
	if opts == nil {
		opts = &sql.TxOptions{}
	}
	level := ""
	switch opts.Isolation {
	case sql.LevelDefault:
	case sql.LevelReadUncommitted, sql.LevelReadCommitted:
		level = " ISOLATION LEVEL READ COMMITTED" // PostgreSQL never reads what is uncommitted
	case sql.LevelRepeatableRead, sql.LevelSnapshot:
		level = " ISOLATION LEVEL REPEATABLE READ" // which is snapshot isolation in PostgreSQL
	case sql.LevelSerializable:
		level = " ISOLATION LEVEL SERIALIZABLE"
	default:
		return "", fmt.Errorf("postgres: begin: %w: isolation level %s: use read committed, repeatable read or serializable",
			drivers.ErrNotSupported, opts.Isolation)
	}
	if opts.ReadOnly {
		level += " READ ONLY"
	}
	return fmt.Sprintf("BEGIN%s NOT DEFERRABLE; SET xasql.branch = '%s'; SET LOCAL xasql.branch = '%s'",
		level, committedMark(gid), activeMark(gid)), nil
}

func prepareSQL(gid string) string {
	return guard + "PREPARE TRANSACTION '" + gid + "'"
}

// leaveSQL ends a transaction that has changed nothing.
const leaveSQL = guard + "COMMIT"

// commitSQL forces the flush that a session with synchronous_commit = off would leave for later: nil
// from CommitOnePhase means durable. (PREPARE TRANSACTION and COMMIT PREPARED always flush.)
const commitSQL = guard + "SELECT pg_catalog.set_config('synchronous_commit', 'local', true)" +
	" WHERE pg_catalog.current_setting('synchronous_commit') = 'off'; COMMIT"

// rollbackSQL fails with a division by zero (22012) if the mark shows that the application has committed
// the branch: there is nothing left to roll back then, and nobody must be told that it was.
func rollbackSQL(gid string) string {
	return "ROLLBACK; SELECT 1 / (pg_catalog.current_setting('xasql.branch', true) IS DISTINCT FROM '" + committedMark(gid) + "')::int"
}

func commitPreparedSQL(gid string) string   { return "COMMIT PREPARED '" + gid + "'" }
func rollbackPreparedSQL(gid string) string { return "ROLLBACK PREPARED '" + gid + "'" }

const markSQL = "SELECT COALESCE(pg_catalog.current_setting('xasql.branch', true), '')"

// askSQL returns the mark, the evidence where the transaction has an ID, and whether ending the transaction
// early gives up nothing.
//
// A transaction gets its ID with its first change, be it of data, schema, sequence or row lock. One
// without has changed nothing in this database, but it may hold locks that the application asked for
// (LOCK TABLE, pg_advisory_xact_lock) and means to hold to the end; and a write through a foreign table, which
// gets no ID here, shows as a lock, too. Reading takes AccessShareLock. Only transactions without an
// ID pay for the look into pg_locks.
const askSQL = `SELECT COALESCE(pg_catalog.current_setting('xasql.branch', true), ''),
	CASE WHEN pg_catalog.pg_current_xact_id_if_assigned() IS NULL THEN ''
		ELSE ` + historySQL + ` || '/' || pg_catalog.pg_current_xact_id_if_assigned()::text END,` + readOnlySQL

// askBlindSQL is askSQL without evidence, for a role that may not have it.
const askBlindSQL = "SELECT COALESCE(pg_catalog.current_setting('xasql.branch', true), ''), ''," + readOnlySQL

const readOnlySQL = `
	CASE WHEN pg_catalog.pg_current_xact_id_if_assigned() IS NOT NULL THEN false
		WHEN pg_catalog.current_setting('transaction_isolation') = 'serializable' THEN false
		ELSE NOT EXISTS (SELECT FROM pg_catalog.pg_locks
			WHERE pid = pg_catalog.pg_backend_pid() AND locktype <> 'virtualxid' AND mode <> 'AccessShareLock')
	END`

func ownerSQL(gid string) string {
	return "SELECT pg_catalog.quote_ident(owner) FROM pg_catalog.pg_prepared_xacts WHERE gid = '" + gid + "'"
}

// exec sends statements without arguments over conn, and maps the error. Under a context that has ended nothing is
// sent: pgx would answer driver.ErrBadConn, and database/sql then closes a connection that is still good.
func exec(ctx context.Context, conn *sql.Conn, step step, statements string) error {
	if err := ctx.Err(); err != nil {
		return &failure{step: step, text: "not sent", cause: err, is: []error{err}}
	}
	_, err := conn.ExecContext(ctx, statements)
	return mapError(step, err)
}

// ask is exec for a query of one row.
func ask(ctx context.Context, conn asker, step step, query string, dest ...any) error {
	if err := ctx.Err(); err != nil {
		return &failure{step: step, text: "not sent", cause: err, is: []error{err}}
	}
	return mapError(step, conn.QueryRowContext(ctx, query).Scan(dest...))
}

const preparedSQL = `SELECT gid, prepared, owner::text FROM pg_catalog.pg_prepared_xacts
	WHERE database = pg_catalog.current_database()`

// preparingSQL finds sessions that execute prepareSQL; of other roles' sessions only a superuser sees what they execute.
const preparingSQL = `SELECT pg_catalog.split_part(query, '''', 2), query_start, usename::text FROM pg_catalog.pg_stat_activity
	WHERE datname = pg_catalog.current_database() AND state = 'active' AND pid <> pg_catalog.pg_backend_pid()
	AND pg_catalog.starts_with(query, '` + guard + `PREPARE TRANSACTION ''')`

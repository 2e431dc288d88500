package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// A branch has a lock of its own on each table of which it has changed or locked a row, also after the server's restart. What it has only read it keeps
// from being altered, but that is noted under a thread, which a restart makes another's.
const lockedSQL = `SELECT DISTINCT b.trx_id, CONCAT(l.OBJECT_SCHEMA, '.', l.OBJECT_NAME) FROM information_schema.innodb_trx b
	JOIN performance_schema.data_locks l ON l.ENGINE_TRANSACTION_ID = b.trx_id AND l.LOCK_TYPE = 'TABLE' WHERE b.trx_mysql_thread_id = %d`

// maxTogether is how many tables are named that belong to several branches.
const maxTogether = 10

// LockedTables implements drivers.Locker, on MySQL: the tables that the branch has changed, or of which it has locked rows; what it has only read is not
// among them. What goes for Blocking goes for it: the user needs PROCESS and SELECT on performance_schema, and of several branches that no session
// holds the error is ErrNotSupported, and names the tables that they have locked together. On MariaDB it is ErrNotSupported.
func (engine) LockedTables(ctx context.Context, db *sql.DB, xid drivers.XID) ([]string, error) {
	tables, err := lockedTables(ctx, db, xid)
	if err != nil {
		return nil, fmt.Errorf("mysql: which tables %s has locked: %w", xid, err)
	}
	return tables, nil
}

func lockedTables(ctx context.Context, db *sql.DB, xid drivers.XID) ([]string, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, translate(err)
	}
	defer conn.Close()
	listed, session, free, err := whereIs(ctx, conn, xid)
	if err != nil || !listed {
		return nil, err
	}
	maria, err := observed(ctx, conn)
	switch {
	case err != nil:
		return nil, err
	case maria:
		return nil, fmt.Errorf("%w: MariaDB names the table of a lock only while somebody waits for it", drivers.ErrNotSupported)
	}
	var transactions int
	var tables []string
	err = look(ctx, session, free, func() (int, error) {
		transactions, tables, err = tablesOf(ctx, conn, session)
		return transactions, err
	})
	switch {
	case err != nil:
		return nil, err
	case len(tables) == 0:
		return nil, fmt.Errorf("%w: the server shows no lock on a table that can be this branch's", drivers.ErrNotSupported)
	case session == 0 && free > 1, transactions > 1:
		return nil, fmt.Errorf("%w: the server does not tell which of its %d prepared branches has locked what: together they have locked %s",
			drivers.ErrNotSupported, max(free, transactions), some(tables))
	}
	return tables, nil
}

// some names the tables, or, where there are many, the first ones.
func some(tables []string) string {
	if more := len(tables) - maxTogether; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(tables[:maxTogether], ", "), more)
	}
	return strings.Join(tables, ", ")
}

// tablesOf asks how many transactions of a session have locked anything, or, of session 0, how many that have left theirs, and what they have locked together.
func tablesOf(ctx context.Context, conn *sql.Conn, session int64) (transactions int, tables []string, err error) {
	rows, err := conn.QueryContext(ctx, fmt.Sprintf(lockedSQL, session))
	if err != nil {
		return 0, nil, sightless(err, seesMySQL)
	}
	defer rows.Close()
	locked := map[string][]string{}
	for rows.Next() {
		var transaction, table string
		if err := rows.Scan(&transaction, &table); err != nil {
			return 0, nil, translate(err)
		}
		locked[transaction] = append(locked[transaction], table)
	}
	for _, its := range locked {
		if !slices.ContainsFunc(its, ownTable) {
			transactions++
			tables = append(tables, its...)
		}
	}
	slices.Sort(tables)
	return transactions, slices.Compact(tables), sightless(rows.Err(), seesMySQL)
}

// ownTable tells whether a table is the server's, such as gtid_executed, into which it writes by itself every now and then.
func ownTable(name string) bool { return strings.HasPrefix(name, "mysql.") }

package postgres

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/xasql/xasql/drivers"
)

var _ drivers.Locker = (*Driver)(nil)

const stepLocked step = "tables that are locked"

// The locks are found as in blockingSQL. What has no lock on its own id is between two states: it has just been listed, or is about to go. A table
// that the branch has made itself nobody else sees, and pg_class does not show it.
const lockedSQL = `WITH p AS MATERIALIZED (SELECT transaction AS x, database FROM pg_catalog.pg_prepared_xacts WHERE gid = $1),
	l AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks WHERE pid IS NULL AND granted),
	v AS (SELECT l.virtualtransaction AS v FROM l, p WHERE l.locktype = 'transactionid' AND l.transactionid = p.x),
	t AS (SELECT DISTINCT n.nspname || '.' || c.relname AS name FROM l JOIN v ON l.virtualtransaction = v.v
		JOIN pg_catalog.pg_class c ON c.oid = l.relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
		WHERE l.locktype = 'relation' AND c.relkind IN ('r', 'p', 'm', 'f') AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')
SELECT p.database, p.database = pg_catalog.current_database(), EXISTS (SELECT FROM v), COALESCE(t.name, '') FROM p LEFT JOIN t ON TRUE
ORDER BY t.name COLLATE "C"`

// LockedTables implements [drivers.Locker]: tables that the branch has only read are among them, since nobody can alter those either; indexes,
// sequences, system catalogs, and what it has made itself are not. A branch of another database in the same cluster is [drivers.ErrNotSupported].
func (*Driver) LockedTables(ctx context.Context, db *sql.DB, xid drivers.XID) ([]string, error) {
	gid, err := gidOf(xid)
	if err != nil {
		return nil, err
	}
	rows, err := db.QueryContext(ctx, lockedSQL, gid)
	if err != nil {
		return nil, mapError(stepLocked, err)
	}
	defer rows.Close()
	var tables []string
	for rows.Next() {
		var database, table string
		var here, settled bool
		if err := rows.Scan(&database, &here, &settled, &table); err != nil {
			return nil, mapError(stepLocked, err)
		}
		switch {
		case !here:
			return nil, &failure{step: stepLocked, text: fmt.Sprintf("it was prepared in database %q of this cluster, which alone knows their names: ask there", database),
				is: []error{drivers.ErrNotSupported}}
		case !settled:
			return nil, &failure{step: stepLocked, text: "it is only just being prepared, or finished: ask again"}
		case table != "":
			tables = append(tables, table)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, mapError(stepLocked, err)
	}
	return tables, nil
}

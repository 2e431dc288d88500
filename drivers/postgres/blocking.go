package postgres

import (
	"context"
	"database/sql"

	"github.com/xasql/xasql/drivers"
)

// A prepared transaction has no backend: its locks are those of its virtual transaction, whose form depends on the version, but which holds
// the lock on the transaction's own id. To who waits for it pg_blocking_pids names pid 0. Of those who want one row only the first waits for
// the transaction; the next one waits for the first, and so on.
const blockingSQL = `WITH RECURSIVE p AS (SELECT transaction AS x FROM pg_catalog.pg_prepared_xacts WHERE database = pg_catalog.current_database() AND gid = $1),
	l AS MATERIALIZED (SELECT * FROM pg_catalog.pg_locks),
	v AS (SELECT l.virtualtransaction AS v FROM l, p
		WHERE l.pid IS NULL AND l.granted AND l.locktype = 'transactionid' AND l.transactionid = p.x),
	h AS (SELECT l.* FROM l, v WHERE l.pid IS NULL AND l.virtualtransaction = v.v),
	w AS MATERIALIZED (SELECT l.*, pg_catalog.pg_blocking_pids(l.pid) AS behind FROM l WHERE NOT l.granted AND EXISTS (SELECT FROM h)),
	waiting AS (SELECT w.pid FROM w, h WHERE w.locktype = h.locktype
			AND w.database IS NOT DISTINCT FROM h.database AND w.relation IS NOT DISTINCT FROM h.relation
			AND w.transactionid IS NOT DISTINCT FROM h.transactionid AND w.objid IS NOT DISTINCT FROM h.objid
			AND 0 = ANY (w.behind)
		UNION SELECT w.pid FROM w, waiting WHERE waiting.pid = ANY (w.behind))
SELECT (SELECT pg_catalog.count(*) FROM h), (SELECT pg_catalog.count(*) FROM waiting),
	COALESCE((SELECT pg_catalog.age(x) FROM p), 0)`

// Blocking returns how many locks the prepared branch holds, how many sessions wait for them, in line behind each other too, and by how many transactions
// it keeps VACUUM, of the whole cluster, from removing dead rows.
func (*Driver) Blocking(ctx context.Context, db *sql.DB, xid drivers.XID) (locks, waiting int, xminAge int64, err error) {
	gid, err := gidOf(xid)
	if err != nil {
		return 0, 0, 0, err
	}
	if err := db.QueryRowContext(ctx, blockingSQL, gid).Scan(&locks, &waiting, &xminAge); err != nil {
		return 0, 0, 0, mapError(stepList, err)
	}
	return locks, waiting, xminAge, nil
}

package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/xasql/xasql/drivers"
)

// The servers tell of an InnoDB transaction its session, 0 once it is prepared and has left it, and never its XID.
const (
	locksSQL = `SELECT COUNT(*), COALESCE(SUM(trx_rows_locked + trx_tables_locked), 0) FROM information_schema.innodb_trx WHERE trx_mysql_thread_id = %d`

	waitingMariaDB = `SELECT COUNT(DISTINCT w.requesting_trx_id) FROM information_schema.innodb_lock_waits w
		JOIN information_schema.innodb_trx b ON b.trx_id = w.blocking_trx_id WHERE b.trx_mysql_thread_id = %d`

	// A prepared branch also keeps the locks on its tables' definitions, under the thread that had taken them, which may be gone.
	waitingMySQL = `WITH held AS (SELECT l.ENGINE_TRANSACTION_ID AS trx, l.THREAD_ID AS thread FROM performance_schema.data_locks l
			JOIN information_schema.innodb_trx b ON b.trx_id = l.ENGINE_TRANSACTION_ID WHERE b.trx_mysql_thread_id = %d)
		SELECT COUNT(*) FROM (
			SELECT w.REQUESTING_THREAD_ID AS thread FROM performance_schema.data_lock_waits w WHERE w.BLOCKING_ENGINE_TRANSACTION_ID IN (SELECT trx FROM held)
			UNION
			SELECT p.OWNER_THREAD_ID FROM performance_schema.metadata_locks p JOIN performance_schema.metadata_locks h USING (OBJECT_TYPE, OBJECT_SCHEMA, OBJECT_NAME)
			WHERE p.LOCK_STATUS = 'PENDING' AND h.LOCK_STATUS = 'GRANTED' AND h.OWNER_THREAD_ID IN (SELECT thread FROM held)) waiting`
)

// Blocking implements drivers.Blocker: the row and table locks that InnoDB has recorded for the branch, and the sessions that wait for one of
// them, on MySQL also those that wait for a table's definition. A row that was inserted has no recorded lock before somebody wants it.
//
// The servers don't tell which of their transactions is which branch. It is known where the branch is held by a session, and where it is the
// only one on the server that is not: else the error is ErrNotSupported, and tells what they hold together. The user needs PROCESS and, on MySQL,
// SELECT on performance_schema. The last result is always 0.
func (engine) Blocking(ctx context.Context, db *sql.DB, xid drivers.XID) (locks, waiting int, xminAge int64, err error) {
	if locks, waiting, err = blocking(ctx, db, xid); err != nil {
		return 0, 0, 0, fmt.Errorf("mysql: what %s blocks: %w", xid, err)
	}
	return locks, waiting, 0, nil
}

func blocking(ctx context.Context, db *sql.DB, xid drivers.XID) (locks, waiting int, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, 0, translate(err)
	}
	defer conn.Close()
	listed, session, free, err := whereIs(ctx, conn, xid)
	if err != nil || !listed {
		return 0, 0, err
	}
	var transactions int
	err = look(ctx, session, free, func() (int, error) {
		transactions, locks, waiting, err = held(ctx, conn, session)
		return transactions, err
	})
	switch {
	case err != nil:
		return 0, 0, err
	case transactions == 0:
		return 0, 0, fmt.Errorf("%w: the server shows no transaction that can be this branch", drivers.ErrNotSupported)
	case session == 0 && free > 1, transactions > 1:
		return 0, 0, fmt.Errorf("%w: the server does not tell which of its %d prepared branches holds what: together they hold %d row and table locks, and %d sessions wait",
			drivers.ErrNotSupported, max(free, transactions), locks, waiting)
	}
	return locks, waiting, nil
}

// whereIs tells whether the branch is prepared, the session that holds it, 0 where none does, and how many branches on the server no session holds.
func whereIs(ctx context.Context, conn *sql.Conn, xid drivers.XID) (listed bool, session int64, free int, err error) {
	branches, err := list(ctx, conn)
	if err != nil || !slices.ContainsFunc(branches, func(p drivers.Prepared) bool { return p.Raw == "" && p.XID == xid }) {
		return false, 0, 0, err
	}
	if err := markHeld(ctx, conn, branches); err != nil {
		return false, 0, 0, err
	}
	for _, p := range branches {
		if !p.Held {
			free++
		}
	}
	session, err = holder(ctx, conn, xid)
	return true, session, free, err
}

// looks is how often it is asked what has no session.
const looks = 4

// look asks for the transactions of a session, or for those without one, until there are as many as branches, a few times: what has only just left its
// session is shown late, and the server has transactions of its own without one, which come and go.
func look(ctx context.Context, session int64, free int, ask func() (transactions int, err error)) error {
	branches := 1
	if session == 0 {
		branches = free
	}
	for n := 1; ; n++ {
		transactions, err := ask()
		if err != nil || transactions == branches || n == looks {
			return err
		}
		if err := stale(ctx); err != nil {
			return err
		}
	}
}

// stale returns when the server will answer anew: it answers from what it gathered before, unless nobody has asked for a tenth of a second.
func stale(ctx context.Context) error {
	t := time.NewTimer(150 * time.Millisecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

const (
	seesMariaDB = "PROCESS on *.*"
	seesMySQL   = "PROCESS on *.* and SELECT on performance_schema.*"
)

// observed tells whether the server is a MariaDB. Any other must have its performance_schema on.
func observed(ctx context.Context, conn *sql.Conn) (maria bool, err error) {
	var on bool
	if err := conn.QueryRowContext(ctx, "SELECT @@performance_schema, 0 /*M! + 1 */").Scan(&on, &maria); err != nil {
		return false, translate(err)
	}
	if !maria && !on {
		return false, fmt.Errorf("%w: performance_schema is off on this server", drivers.ErrNotSupported)
	}
	return maria, nil
}

// sightless explains an error of a user who lacks the privileges.
func sightless(err error, privileges string) error {
	switch number(err) {
	case errAccessDenied, errTableDenied:
		return fmt.Errorf("this user may not see it: grant it %s: %w", privileges, err)
	}
	return translate(err)
}

// held asks what the transactions of a session hold, or, of session 0, those that have left theirs.
func held(ctx context.Context, conn *sql.Conn, session int64) (transactions, locks, waiting int, err error) {
	maria, err := observed(ctx, conn)
	if err != nil {
		return 0, 0, 0, err
	}
	query, privileges := waitingMySQL, seesMySQL
	if maria {
		query, privileges = waitingMariaDB, seesMariaDB
	}
	err = conn.QueryRowContext(ctx, fmt.Sprintf(locksSQL, session)).Scan(&transactions, &locks)
	if err == nil {
		err = conn.QueryRowContext(ctx, fmt.Sprintf(query, session)).Scan(&waiting)
	}
	return transactions, locks, waiting, sightless(err, privileges)
}

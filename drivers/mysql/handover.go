package mysql

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"time"

	"github.com/xasql/xasql/drivers"
)

// MariaDB lets others finish a branch before the session that prepared it has handed the transaction over to InnoDB (sql_class.cc: THD::cleanup, and only then
// free_connection). XA COMMIT and XA ROLLBACK in between answer OK, the XID is gone, and InnoDB has done nothing until the server starts
// again: measured on 10.11 and 11.8.
//
// Such a session is marked as killed before it gives up anything; its user-level locks come next; then the process list drops it, and then it hands over. InnoDB
// shows the session's id with its transaction until that moment, and 0 from then on. So a branch is finished only when its lock is free and then, for
// a user with PROCESS, InnoDB shows no transaction of a session that has left the list; for one without, who sees
// its own sessions only, when none in the list is killed, and handover has passed since.

// handover is how long a session that has left the process list may take for the rest of its end, where nobody can see it: some instructions, for which a
// thread on an overloaded machine may have to wait.
const handover = 500 * time.Millisecond

// guarded is the statement that finishes a branch from outside, in one round trip; on MariaDB it answers XAER_NOTA, as for a branch that is held,
// while the branch's session may be at its end.
func guarded(verb string, xid drivers.XID) string {
	const held = ` THEN SIGNAL SQLSTATE 'XAE04' SET MYSQL_ERRNO = 1397, MESSAGE_TEXT = 'its session is ending'; END IF; `
	return `/*M!100502 BEGIN NOT ATOMIC IF IS_USED_LOCK('` + lockName(xid) + `') IS NOT NULL` + held +
		`IF EXISTS (SELECT 1 FROM information_schema.processlist WHERE command = 'Killed')` + held +
		`*/` + verb + literal(xid) + `/*M!100502 ; END */`
}

// awaitHandover makes sure that what is listed and not held may be finished at once: it waits, or marks as held what may be of a session that is ending.
func awaitHandover(ctx context.Context, conn *sql.Conn, list []drivers.Prepared) error {
	var free []*drivers.Prepared
	for i := range list {
		if p := &list[i]; p.Raw == "" && p.XID.FormatID == drivers.FormatID && !p.Held {
			free = append(free, p)
		}
	}
	if len(free) == 0 {
		return nil
	}
	over, err := handedOver(ctx, conn)
	if err != nil || over {
		return err
	}
	for _, p := range free {
		p.Held = true
	}
	return nil
}

// handedOver tells whether every session that had given up its locks before the call has handed over what it had prepared. Where it can't see that it
// waits, for as long as handover.
func handedOver(ctx context.Context, conn *sql.Conn) (bool, error) {
	var maria, ending bool
	err := conn.QueryRowContext(ctx, `SELECT 0 /*M!100502 + 1 */,
		0 /*M!100502 + EXISTS (SELECT 1 FROM information_schema.processlist WHERE command = 'Killed') */`).Scan(&maria, &ending)
	if err != nil {
		return false, fmt.Errorf("whether their sessions have ended: %w", translate(err))
	}
	if ending || !maria {
		return !ending, nil
	}
	over, err := watch(ctx, conn)
	if err != nil {
		return false, fmt.Errorf("whether their sessions have handed over: %w", translate(err))
	}
	return over, nil
}

// watch looks at InnoDB's transactions until none is left of those that belonged, at the first look, to a session that is at its end. It gives up after the
// time of handover, and then answers false only if it has seen such a one last.
func watch(ctx context.Context, conn *sql.Conn) (over bool, err error) {
	limit := time.NewTimer(handover)
	defer limit.Stop()
	// A snapshot shows the server's transactions among which this one is: it was taken after this one began.
	if err := exec(ctx, conn, "START TRANSACTION WITH CONSISTENT SNAPSHOT"); err != nil {
		return false, err
	}
	defer func() {
		ctx, cancel := outlast(ctx)
		defer cancel()
		err = errors.Join(err, exec(ctx, conn, "ROLLBACK"))
	}()
	mark := rand.Text()
	var leaving []int64 // of the first look, and of all since
	for seen := false; ; {
		now, fresh, err := sessionsLeaving(ctx, conn, mark)
		if err != nil && number(err) == 0 {
			return false, err
		}
		if fresh && !seen {
			leaving = now
		}
		if seen = seen || fresh; fresh {
			leaving = slices.DeleteFunc(leaving, func(id int64) bool { return !slices.Contains(now, id) })
			if len(leaving) == 0 {
				return true, nil
			}
		}
		pause := refresh + mathrand.N(refresh) // so that two that watch don't keep each other's answers from growing old
		if err != nil {
			pause = handover // this user may not see it
		}
		select {
		case <-time.After(pause):
		case <-limit.C:
			return len(leaving) == 0, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// mostTransactions are surely shown: of all of them the server shows what has room in 16 MB, at 1.6 KB at most for each.
const mostTransactions = 8000

// refresh is how long nobody may have read InnoDB's transactions for the server to look at them anew: it answers from what it gathered before.
const refresh = 110 * time.Millisecond

// sessionsLeaving returns the sessions that are at their end, or have left the process list, and have a transaction in InnoDB. It is fresh if the server
// gathered its answer while it executed a query with this mark, and has surely left out nothing.
func sessionsLeaving(ctx context.Context, conn *sql.Conn, mark string) (ids []int64, fresh bool, err error) {
	rows, err := conn.QueryContext(ctx, fmt.Sprintf(`SELECT t.trx_mysql_thread_id, t.trx_mysql_thread_id <> 0 AND (p.id IS NULL OR p.command = 'Killed'),
		COALESCE(t.trx_query LIKE '%%%s%%', 0) FROM information_schema.innodb_trx t LEFT JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id`, mark))
	if err != nil {
		return nil, false, err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var id int64
		var left, ours bool
		if err := rows.Scan(&id, &left, &ours); err != nil {
			return nil, false, err
		}
		if left {
			ids = append(ids, id)
		}
		fresh = fresh || ours
	}
	return ids, fresh && n < mostTransactions, rows.Err()
}

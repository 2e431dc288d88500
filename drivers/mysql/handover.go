package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/xasql/xasql/drivers"
)

// MariaDB lets others finish a branch before the session that prepared it has handed the transaction over to InnoDB (sql_class.cc: THD::cleanup, and only then
// free_connection). XA COMMIT and XA ROLLBACK in between answer OK, the XID is gone, and InnoDB has done nothing until the server starts
// again: measured on 10.11 and 11.8.
//
// Such a session is marked as killed before it gives up anything; its user-level locks come next; then the process list drops it, and then it hands over, which
// nothing shows to a plain user. So a branch is finished only when its lock is free, no session in the list is killed, looked at in this
// order, and handover has passed since. A user without PROCESS sees its own sessions only.

// handover is how long a session that has left the process list may take for the rest of its end: some instructions, for which a thread on an
// overloaded machine may have to wait.
const handover = 500 * time.Millisecond

// guarded is the statement that finishes a branch from outside, in one round trip; on MariaDB it answers XAER_NOTA, as for a branch that is held,
// while the branch's session may not have ended, and pauses before it acts.
func guarded(verb string, xid drivers.XID, pause time.Duration) string {
	const held = ` THEN SIGNAL SQLSTATE 'XAE04' SET MYSQL_ERRNO = 1397, MESSAGE_TEXT = 'its session is ending'; END IF; `
	return `/*M!100502 BEGIN NOT ATOMIC IF IS_USED_LOCK('` + lockName(xid) + `') IS NOT NULL` + held +
		`IF EXISTS (SELECT 1 FROM information_schema.processlist WHERE command = 'Killed')` + held +
		fmt.Sprintf(`DO SLEEP(%g); */`, pause.Seconds()) + verb + literal(xid) + `/*M!100502 ; END */`
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
	var maria, ending bool
	err := conn.QueryRowContext(ctx, `SELECT 0 /*M!100502 + 1 */,
		0 /*M!100502 + EXISTS (SELECT 1 FROM information_schema.processlist WHERE command = 'Killed') */`).Scan(&maria, &ending)
	switch {
	case err != nil:
		return fmt.Errorf("whether their sessions have ended: %w", translate(err))
	case ending:
		for _, p := range free {
			p.Held = true
		}
		return nil
	case !maria:
		return nil
	}
	t := time.NewTimer(handover)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

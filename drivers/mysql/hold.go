package mysql

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/xasql/xasql/drivers"
)

// EndSession implements drivers.SessionEnder. The session is found by the user-level lock that it took when the branch began,
// and ended with KILL; EndSession returns when it is gone. A user needs no privilege to end its own sessions, and CONNECTION_ADMIN
// (MariaDB: CONNECTION ADMIN) to end another user's.
//
// nil also means that no session holds such a lock any more. A session whose application called
// RELEASE_ALL_LOCKS can't be found so: CommitPrepared and RollbackPrepared then still return ErrHeld.
func (engine) EndSession(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	if err := endSession(ctx, db, xid); err != nil {
		return fmt.Errorf("mysql: end the session that holds %s: %w", xid, err)
	}
	return nil
}

func endSession(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	if xid.FormatID != drivers.FormatID {
		return fmt.Errorf("%w: another program's branch, whose session is not recorded: look for it in the server's process list", drivers.ErrNotSupported)
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return translate(err)
	}
	defer conn.Close()
	// A session that is still before XA PREPARE has the lock too, and is left alone.
	listed, err := isPrepared(ctx, conn, xid)
	if err != nil || !listed {
		return err
	}
	id, err := holder(ctx, conn, xid)
	if err != nil || id == 0 {
		return err
	}
	if err := exec(ctx, conn, fmt.Sprintf("KILL CONNECTION %d", id)); err != nil {
		switch number(err) {
		case errNoSuchThread:
			return nil
		case errKillDenied:
			return fmt.Errorf("session %d is another user's: recover as that user, or grant CONNECTION_ADMIN: %w", id, err)
		}
		return err
	}
	return awaitEnd(ctx, conn, xid, id)
}

// awaitEnd returns when the session has given up its locks. It may not have ended to its end: see handover.
func awaitEnd(ctx context.Context, conn *sql.Conn, xid drivers.XID, id int64) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		now, err := holder(ctx, conn, xid)
		if err != nil || now != id {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("session %d was told to end, and has not yet: %w", id, context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// holder returns the connection id of the session that holds the branch; 0 where none does.
func holder(ctx context.Context, conn *sql.Conn, xid drivers.XID) (int64, error) {
	var id sql.NullInt64
	err := conn.QueryRowContext(ctx, "SELECT IS_USED_LOCK('"+lockName(xid)+"')").Scan(&id)
	return id.Int64, translate(err)
}

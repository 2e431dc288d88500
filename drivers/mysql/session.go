package mysql

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/xasql/xasql/drivers"
)

// flavour is the kind of server.
type flavour uint8

const (
	mySQL flavour = iota + 1
	mariaDB
)

// session is what a branch must know of the session that it is pinned to.
type session struct {
	flavour      flavour
	serializable bool // its transactions are serializable where Begin asks for no level
	unlogged     bool // it keeps its changes out of the binary log that the server writes
	// lock is the user-level lock by which others find the session; "" where the branch leaves its session at XA PREPARE.
	lock string
}

// inspect asks the session what it is, and takes the branch's lock where prepared branches stay with their session: one
// round trip. Servers execute the comments that are meant for them, from the version on that keeps a prepared branch
// when its session ends (MariaDB 10.5.2) or can detach it (MySQL 8.0.29).
func inspect(ctx context.Context, conn *sql.Conn, xid drivers.XID) (session, error) {
	name := lockName(xid)
	query := `SELECT @@log_bin AND NOT @@sql_log_bin` +
		` /*!80029 , 1, @@transaction_isolation, IF(@@xa_detach_on_prepare, -1, GET_LOCK('` + name + `', 0)) */` +
		` /*M!100502 , 2, @@tx_isolation, GET_LOCK('` + name + `', 0) */`
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return session{}, translate(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return session{}, translate(err)
	}
	if len(columns) != 4 {
		return session{}, fmt.Errorf("%w: this server is older than MySQL 8.0.29 or MariaDB 10.5.2: upgrade it", drivers.ErrNotSupported)
	}
	var s session
	var isolation string
	var locked sql.NullInt64
	if !rows.Next() {
		return session{}, fmt.Errorf("session's settings: %w", translate(rows.Err()))
	}
	if err := rows.Scan(&s.unlogged, &s.flavour, &isolation, &locked); err != nil {
		return session{}, fmt.Errorf("session's settings: %w", err)
	}
	if err := rows.Close(); err != nil {
		return session{}, translate(err)
	}
	s.serializable = isolation == "SERIALIZABLE"
	switch {
	case locked.Valid && locked.Int64 == 1:
		s.lock = name
	case !locked.Valid || locked.Int64 == 0:
		return session{}, fmt.Errorf("another session works on a branch of this xid")
	}
	return s, nil
}

// characteristics returns the statement that gives the next transaction, and only that, the isolation level and access
// mode of opts; "" where it needs none.
func characteristics(opts sql.TxOptions) (string, error) {
	level := ""
	switch opts.Isolation {
	case sql.LevelDefault:
	case sql.LevelReadUncommitted:
		level = "ISOLATION LEVEL READ UNCOMMITTED"
	case sql.LevelReadCommitted:
		level = "ISOLATION LEVEL READ COMMITTED"
	case sql.LevelRepeatableRead:
		level = "ISOLATION LEVEL REPEATABLE READ"
	case sql.LevelSerializable:
		level = "ISOLATION LEVEL SERIALIZABLE"
	default:
		return "", fmt.Errorf("%w: isolation level %s: use read uncommitted, read committed, repeatable read or, on MariaDB, serializable",
			drivers.ErrNotSupported, opts.Isolation)
	}
	switch {
	case level != "" && opts.ReadOnly:
		return "SET TRANSACTION " + level + ", READ ONLY", nil
	case level != "":
		return "SET TRANSACTION " + level, nil
	case opts.ReadOnly:
		return "SET TRANSACTION READ ONLY", nil
	}
	return "", nil
}

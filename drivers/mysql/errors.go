package mysql

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"

	"github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/drivers"
)

// The servers' error numbers that mean something to this driver. MySQL and MariaDB share all but those that are
// named for one of them.
const (
	errRecordChanged     = 1020 // MariaDB with innodb_snapshot_isolation: first committer wins
	errDuplicateKey      = 1022
	errNull              = 1048
	errServerShutdown    = 1053
	errDuplicate         = 1062
	errSyntax            = 1064
	errNoSuchThread      = 1094
	errKillDenied        = 1095
	errTableDenied       = 1142
	errNetPacket         = 1158
	errNetRead           = 1159
	errNetReadTimeout    = 1160
	errNetWriteTimeout   = 1161
	errDuplicateUnique   = 1169
	errNewAbortedConn    = 1184
	errLockTimeout       = 1205
	errDeadlock          = 1213
	errNoReferencedRow   = 1216
	errRowIsReferenced   = 1217
	errAccessDenied      = 1227
	errReadOnlyServer    = 1290
	errNoDefault         = 1364
	errUnknownXID        = 1397 // XAER_NOTA
	errXAState           = 1399 // XAER_RMFAIL
	errXAFailed          = 1401 // XAER_RMERR
	errXARolledBack      = 1402 // XA_RBROLLBACK
	errForeignParent     = 1451
	errForeignChild      = 1452
	errDuplicateNamed    = 1586
	errXATimeout         = 1613 // XA_RBTIMEOUT
	errXADeadlock        = 1614 // XA_RBDEADLOCK
	errForeignDuplicate  = 1761
	errForeignDuplicate2 = 1762
	errKilledMariaDB     = 1927
	errCertification     = 3101 // group replication rolled the transaction back
	errKilledMySQL       = 3169
	errNoWait            = 3572
	errCheckMySQL        = 3819
	errCheckMariaDB      = 4025
	errIdleMySQL         = 4031
)

// number returns the server's error number, or 0 where err is no answer of a server.
func number(err error) uint16 {
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		return e.Number
	}
	return 0
}

// translate puts the answer to an XA statement in the contract's terms. It is the only place that does.
func translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, driver.ErrBadConn):
		// It must not be read as "not executed" by a caller, nor make one send the statement again (rule P11).
		return mysql.ErrInvalidConn
	}
	switch number(err) {
	case errUnknownXID:
		return fmt.Errorf("%w: %w", drivers.ErrUnknownXID, err)
	case errXARolledBack, errXATimeout, errXADeadlock:
		return fmt.Errorf("%w: %w", drivers.ErrRolledBack, err)
	}
	return err
}

// classify tells what kind of failure err is.
func classify(err error) drivers.Class {
	switch number(err) {
	case 0:
		if lost(err) {
			return drivers.ClassConnection
		}
	case errRecordChanged, errCertification:
		return drivers.ClassSerialization
	case errDeadlock, errXADeadlock:
		return drivers.ClassDeadlock
	case errLockTimeout, errNoWait, errXATimeout:
		return drivers.ClassLockTimeout
	case errNull, errDuplicate, errDuplicateUnique, errDuplicateKey, errDuplicateNamed, errNoDefault,
		errNoReferencedRow, errRowIsReferenced, errForeignParent, errForeignChild, errForeignDuplicate, errForeignDuplicate2,
		errCheckMySQL, errCheckMariaDB:
		return drivers.ClassConstraint
	case errServerShutdown, errKilledMariaDB, errKilledMySQL, errIdleMySQL, errNewAbortedConn,
		errNetPacket, errNetRead, errNetReadTimeout, errNetWriteTimeout:
		return drivers.ClassConnection
	}
	return drivers.ClassOther
}

// lost tells whether err means that the connection is gone.
func lost(err error) bool {
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return true
	}
	for _, gone := range []error{driver.ErrBadConn, mysql.ErrInvalidConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, net.ErrClosed} {
		if errors.Is(err, gone) {
			return true
		}
	}
	return false
}

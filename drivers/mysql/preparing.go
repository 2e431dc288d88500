package mysql

import (
	"context"
	"database/sql"
	"encoding/hex"
	"regexp"
	"slices"
	"strconv"

	"github.com/xasql/xasql/drivers"
)

// preparing lists the branches of ours whose XA PREPARE a session is just executing, as far as this user sees that session: its
// client may be dead, and the branch in doubt a moment later (rule P2). XA RECOVER does not list them yet.
func preparing(ctx context.Context, conn *sql.Conn) ([]drivers.Prepared, error) {
	rows, err := conn.QueryContext(ctx, "SHOW FULL PROCESSLIST")
	if err != nil {
		return nil, translate(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, translate(err)
	}
	var user, statement sql.NullString
	row := make([]any, len(columns)) // MariaDB has one column more than MySQL
	for i, name := range columns {
		switch name {
		case "User":
			row[i] = &user
		case "Info":
			row[i] = &statement
		default:
			row[i] = new(sql.RawBytes)
		}
	}
	var list []drivers.Prepared
	for rows.Next() {
		if err := rows.Scan(row...); err != nil {
			return nil, translate(err)
		}
		if xid, ok := preparedBy(statement.String); ok {
			list = append(list, drivers.Prepared{XID: xid, Owner: user.String, Held: true})
		}
	}
	return list, translate(rows.Err())
}

// preparedBy reads the XID out of the statement by which this driver prepares a branch: on MariaDB it may be shown within
// its block, or alone.
func preparedBy(statement string) (drivers.XID, bool) {
	m := regexp.MustCompile(`^(?:BEGIN NOT ATOMIC XA END .*; )?XA PREPARE x'([0-9a-f]*)',x'([0-9a-f]*)',([0-9]+)(?:; END)?$`).FindStringSubmatch(statement)
	if m == nil {
		return drivers.XID{}, false
	}
	gtrid, err1 := hex.DecodeString(m[1])
	bqual, err2 := hex.DecodeString(m[2])
	format, err3 := strconv.ParseInt(m[3], 10, 32)
	if err1 != nil || err2 != nil || err3 != nil || int32(format) != drivers.FormatID {
		return drivers.XID{}, false
	}
	return drivers.XID{FormatID: int32(format), GTRID: string(gtrid), BQual: string(bqual)}, true
}

// merge adds to the prepared branches those that are about to be.
func merge(prepared, preparing []drivers.Prepared) []drivers.Prepared {
	for _, p := range preparing {
		if !slices.ContainsFunc(prepared, func(q drivers.Prepared) bool { return q.XID == p.XID && q.Raw == "" }) {
			prepared = append(prepared, p)
		}
	}
	return prepared
}

package mysql

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math"

	"github.com/xasql/xasql/drivers"
)

// literal writes an XID as the XA statements take it, which have no bind parameters. Hex literals mean the same
// bytes under every character set and sql_mode.
func literal(xid drivers.XID) string {
	return rawLiteral(int64(xid.FormatID), xid.GTRID, xid.BQual)
}

func rawLiteral(format int64, gtrid, bqual string) string {
	return fmt.Sprintf("x'%x',x'%x',%d", gtrid, bqual, format)
}

// fromRecover reads one row of XA RECOVER. A stranger's XID that drivers.XID can't hold is returned as the text that
// XA COMMIT takes: MySQL's format ids go up to 2^32-1.
func fromRecover(format, gtridLen, bqualLen int64, data []byte) drivers.Prepared {
	n := int64(len(data))
	if gtridLen < 0 || bqualLen < 0 || gtridLen > n || bqualLen != n-gtridLen {
		return drivers.Prepared{Raw: fmt.Sprintf("x'%x' (%d+%d bytes),%d", data, gtridLen, bqualLen, format)}
	}
	gtrid, bqual := string(data[:gtridLen]), string(data[gtridLen:])
	if format < math.MinInt32 || format > math.MaxInt32 {
		return drivers.Prepared{Raw: rawLiteral(format, gtrid, bqual)}
	}
	return drivers.Prepared{XID: drivers.XID{FormatID: int32(format), GTRID: gtrid, BQual: bqual}}
}

// lockName is the name of the user-level lock that a session holds for as long as it holds the branch. The servers
// take at most 64 characters and ignore case, hence a hash.
func lockName(xid drivers.XID) string {
	sum := sha256.Sum256([]byte(literal(xid)))
	return "xasql:" + hex.EncodeToString(sum[:20])
}

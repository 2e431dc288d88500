package mysql

import (
	"testing"

	"github.com/xasql/xasql/drivers"
)

func TestPreparedByReadsOurOwnStatementsOnly(t *testing.T) {
	xid := drivers.XID{FormatID: drivers.FormatID, GTRID: "k7f3q2ma.01ARZ3NDEKTSV4RRFFQ69G5FAV", BQual: "orders"}
	x := literal(xid)
	for statement, ours := range map[string]bool{
		"XA PREPARE " + x: true,
		"BEGIN NOT ATOMIC XA END " + x + "; XA PREPARE " + x + "; END": true,
		"XA COMMIT " + x:                              false,
		"SELECT 'XA PREPARE " + x + "'":               false,
		"XA PREPARE x'61',x'62',1":                    false,
		"XA PREPARE x'6',x'62',1480676177":            false,
		"XA PREPARE x'61',x'62',99999999999999999999": false,
		"": false,
	} {
		got, ok := preparedBy(statement)
		if ok != ours || ok && got != xid {
			t.Errorf("%s: %v, %v", statement, got, ok)
		}
	}
}

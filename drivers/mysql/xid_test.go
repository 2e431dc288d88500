package mysql

import (
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

func TestLiteralHoldsEveryByte(t *testing.T) {
	for _, tt := range []struct {
		xid  drivers.XID
		want string
	}{
		{drivers.XID{FormatID: drivers.FormatID, GTRID: "log.1", BQual: "orders"}, "x'6c6f672e31',x'6f7264657273',1480676177"},
		{drivers.XID{FormatID: 0, GTRID: "\x00\xff'\\", BQual: "\n"}, `x'00ff275c',x'0a',0`},
		{drivers.XID{FormatID: 1<<31 - 1, GTRID: "é", BQual: ""}, "x'c3a9',x'',2147483647"},
	} {
		if got := literal(tt.xid); got != tt.want {
			t.Errorf("literal(%+v) = %s, want %s", tt.xid, got, tt.want)
		}
	}
}

func TestRecoverRowsThatAreNoXIDAreKeptAsText(t *testing.T) {
	for _, tt := range []struct {
		name                     string
		format, gtridLen, bqualN int64
		data                     string
		want                     drivers.Prepared
	}{
		{"ours", int64(drivers.FormatID), 2, 1, "abc", drivers.Prepared{XID: drivers.XID{FormatID: drivers.FormatID, GTRID: "ab", BQual: "c"}}},
		{"no bqual", 1, 3, 0, "abc", drivers.Prepared{XID: drivers.XID{FormatID: 1, GTRID: "abc"}}},
		{"no gtrid", 1, 0, 3, "abc", drivers.Prepared{XID: drivers.XID{FormatID: 1, BQual: "abc"}}},
		{"a format id of MySQL's", 1 << 31, 2, 1, "abc", drivers.Prepared{Raw: "x'6162',x'63',2147483648"}},
		{"data that is too short", 1, 2, 2, "abc", drivers.Prepared{Raw: "x'616263' (2+2 bytes),1"}},
		{"data that is too long", 1, 1, 1, "abc", drivers.Prepared{Raw: "x'616263' (1+1 bytes),1"}},
		{"a negative length", 1, -1, 4, "abc", drivers.Prepared{Raw: "x'616263' (-1+4 bytes),1"}},
	} {
		if got := fromRecover(tt.format, tt.gtridLen, tt.bqualN, []byte(tt.data)); got != tt.want {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

// GET_LOCK takes at most 64 characters, and ignores case.
func TestLockNameFitsAndTellsXIDsApart(t *testing.T) {
	seen := map[string]drivers.XID{}
	long := strings.Repeat("x", drivers.MaxGTRID)
	for _, xid := range []drivers.XID{
		{FormatID: 1, GTRID: long, BQual: long},
		{FormatID: 2, GTRID: long, BQual: long},
		{FormatID: 1, GTRID: "ab", BQual: "c"},
		{FormatID: 1, GTRID: "a", BQual: "bc"},
		{FormatID: 1, GTRID: "A", BQual: "bc"},
		{FormatID: 1, GTRID: "a", BQual: "bc "},
	} {
		name := lockName(xid)
		if len(name) > 64 || name != strings.ToLower(name) {
			t.Errorf("lockName(%s) = %q", xid, name)
		}
		if other, ok := seen[name]; ok {
			t.Errorf("%s and %s have the same lock", xid, other)
		}
		seen[name] = xid
	}
}

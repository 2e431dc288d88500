package postgres

import (
	"errors"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

func ours(gtrid, bqual string) drivers.XID {
	return drivers.XID{FormatID: drivers.FormatID, GTRID: gtrid, BQual: bqual}
}

func TestGIDOfOurXIDIsReadable(t *testing.T) {
	for _, c := range []struct{ gtrid, bqual, want string }{
		{"k7f3q2ma.01JD8Z3V9T4N5P6Q7R8S9TAVWX", "orders", "xasql.k7f3q2ma.01JD8Z3V9T4N5P6Q7R8S9TAVWX.orders"},
		{"k7f3q2ma.01JD8Z3V9T4N5P6Q7R8S9TAVWX", "eu-1.orders_v2", "xasql.k7f3q2ma.01JD8Z3V9T4N5P6Q7R8S9TAVWX.eu-1.orders_v2"},
		{"a.b", ".", "xasql.a.b.."},
		{"a.b", "..c", "xasql.a.b...c"},
		{"single", "orders", "xasql.single.orders"},
	} {
		xid := ours(c.gtrid, c.bqual)
		got, err := gidOf(xid)
		if err != nil || got != c.want {
			t.Errorf("gidOf(%s) = %q, %v; want %q", xid, got, err, c.want)
		}
		if back, ok := parseGID(got); !ok || back != xid {
			t.Errorf("parseGID(%q) = %s, %v; want %s", got, back, ok, xid)
		}
	}
}

func TestEveryValidXIDRoundTripsWithinTheLimit(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	xids := []drivers.XID{
		ours("a", "b.c"), ours("a.b", "c"), ours("a.b.c", "d"), ours("a", "b"), ours("", ""), ours("a", ""), ours("", "b"),
		ours(".a", "b"), ours("a.", "b"), ours("a..b", "c"), ours("a'b", "c"), ours(`a\b`, "c"), ours("a:b", "c/d"), ours("Ä", "ö"),
		{FormatID: 0, GTRID: "a.b", BQual: "c"}, {FormatID: 1, GTRID: "a.b", BQual: "c"}, {FormatID: -1, GTRID: "a.b", BQual: "c"},
		{FormatID: -1 << 31, GTRID: strings.Repeat("\xff", 64), BQual: strings.Repeat("'", 64)},
		{FormatID: 1<<31 - 1, GTRID: strings.Repeat(".", 64), BQual: strings.Repeat("\x00", 64)},
		ours(strings.Repeat("a", 64), strings.Repeat("b", 64)),
	}
	for i := 0; i < 256; i += 64 {
		xids = append(xids, ours(string(every[i:i+64]), "orders"), ours("a.b", string(every[i:i+64])))
	}
	seen := map[string]drivers.XID{}
	for _, xid := range xids {
		gid, err := gidOf(xid)
		if err != nil {
			t.Errorf("gidOf(%s): %v", xid, err)
			continue
		}
		if other, ok := seen[gid]; ok {
			t.Errorf("%s and %s share %q", xid, other, gid)
		}
		seen[gid] = xid
		checkGID(t, xid, gid)
	}
}

// checkGID checks what every identifier must fulfil.
func checkGID(t *testing.T, xid drivers.XID, gid string) {
	t.Helper()
	if back, ok := parseGID(gid); !ok || back != xid {
		t.Errorf("parseGID(%q) = %s, %v; want %s", gid, back, ok, xid)
	}
	if len(gid) > maxGID {
		t.Errorf("%q has %d bytes", gid, len(gid))
	}
	if rest := strings.Trim(gid, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-:/"); rest != "" {
		t.Errorf("%q needs quoting", gid)
	}
}

func TestXIDThatDoesNotFitIsRefused(t *testing.T) {
	_, err := gidOf(ours("a.b", strings.Repeat("c", 200)))
	if !errors.Is(err, drivers.ErrNotSupported) {
		t.Errorf("gidOf of 200 bytes: %v, want ErrNotSupported", err)
	}
}

func TestStrangersIdentifiersAreNoXIDs(t *testing.T) {
	for _, gid := range []string{
		"", "xasql", "xasql.", "xasql..", "xasql.a", "xasql.a.", "xasql..a", "xasql.a..b", "xasql.a b.c.d", "xasql.a.b.c'd", "XASQL.a.b.c",
		"xasql:", "xasql:1:a", "xasql:1:YQ", "xasql:1:YQ/Y", "xasql:1:YQ==/Yg==", "xasql:01:YQ/Yg", "xasql:+1:YQ/Yg", "xasql:1:YR/Yg",
		"xasql:4294967296:YQ/Yg", "xasql:1:YQ/Yg/", "xasql:1:Y\nQ/Yg",
		"xasql:1480676177:YQ/Yg", // "a", "b" of ours has a readable form
		"131077_Zm9v_YmFy", "_atomikos", strings.Repeat("x", 199),
	} {
		if xid, ok := parseGID(gid); ok {
			t.Errorf("parseGID(%q) = %s, want none", gid, xid)
		}
	}
}

func FuzzGIDRoundTrips(f *testing.F) {
	f.Add(drivers.FormatID, "k7f3q2ma.01JD8Z3V9T4N5P6Q7R8S9TAVWX", "orders")
	f.Add(int32(-1), "", "\x00'\\")
	f.Add(drivers.FormatID, "a.b.c", "d..")
	f.Fuzz(func(t *testing.T, format int32, gtrid, bqual string) {
		xid := drivers.XID{FormatID: format, GTRID: gtrid, BQual: bqual}
		gid, err := gidOf(xid)
		if err != nil {
			if len(gtrid) <= drivers.MaxGTRID && len(bqual) <= drivers.MaxBQual {
				t.Fatal(err)
			}
			return
		}
		checkGID(t, xid, gid)
	})
}

func FuzzParsedGIDWritesItself(f *testing.F) {
	for _, gid := range []string{"xasql.a.b.c", "xasql:1:YQ/Yg", "xasql:-1:/", "xasql.a..b", "other"} {
		f.Add(gid)
	}
	f.Fuzz(func(t *testing.T, gid string) {
		xid, ok := parseGID(gid)
		if !ok {
			return
		}
		if again, err := gidOf(xid); err != nil || again != gid {
			t.Errorf("parseGID(%q) = %s, whose gid is %q, %v", gid, xid, again, err)
		}
	})
}

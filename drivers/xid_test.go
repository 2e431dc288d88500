package drivers

import (
	"math"
	"strings"
	"testing"
)

func TestXIDRoundTrips(t *testing.T) {
	for x, want := range map[XID]string{
		{FormatID, "k7f3q2ma.01ARZ3NDEKTSV4RRFFQ69G5FAV", "orders"}: "k7f3q2ma.01ARZ3NDEKTSV4RRFFQ69G5FAV/orders",
		{1, "a", "b"}:                "1:a/b",
		{math.MinInt32, "", ""}:      "-2147483648:/",
		{FormatID, "a b", "ü'\"$%/"}: "a%20b/%C3%BC%27%22%24%25%2F",
		{FormatID, "\x00", "\xff"}:   "%00/%FF",
		{FormatID, "a:b", "c:d"}:     "a%3Ab/c%3Ad",
	} {
		if got := x.String(); got != want {
			t.Errorf("String: got %s, want %s", got, want)
		}
		if got, err := ParseXID(want); err != nil || got != x {
			t.Errorf("ParseXID(%q) = %#v, %v", want, got, err)
		}
	}
}

func TestParseXIDRefusesOtherSpellings(t *testing.T) {
	for _, s := range []string{"", "a", "a/b/c", "x:a/b", "01:a/b", "1480676177:a/b", "a%2e/b", "%41/b", "a%/b", "a%2/b", "a%zz/b", "a b/c", "+1:a/b", "99999999999:a/b"} {
		if x, err := ParseXID(s); err == nil {
			t.Errorf("ParseXID(%q) = %#v", s, x)
		}
	}
}

func FuzzXID(f *testing.F) {
	f.Add(int32(1), "a", "b")
	f.Add(FormatID, "k.\x00%/:", "ü")
	f.Fuzz(func(t *testing.T, id int32, gtrid, bqual string) {
		x := XID{id, gtrid, bqual}
		if got, err := ParseXID(x.String()); err != nil || got != x {
			t.Errorf("%#v is written %q and read as %#v, %v", x, x, got, err)
		}
	})
}

func FuzzParseXID(f *testing.F) {
	f.Add("1:a/b")
	f.Add("a%2F/b")
	f.Fuzz(func(t *testing.T, s string) {
		if x, err := ParseXID(s); err == nil && x.String() != s {
			t.Errorf("%q was read as %#v, which is written %q", s, x, x)
		}
	})
}

func TestXIDIsSafeInAShell(t *testing.T) {
	for i := range 256 {
		s := XID{FormatID, string([]byte{byte(i)}), "x"}.String()
		if strings.ContainsAny(s, " \t\n'\"`$&;|<>()*?[]{}\\!#~=") {
			t.Errorf("byte %d: %s", i, s)
		}
	}
}

func TestValidate(t *testing.T) {
	long := strings.Repeat("x", 65)
	for _, x := range []XID{{-1, "a", "b"}, {1, "", "b"}, {1, "a", ""}, {1, long, "b"}, {1, "a", long}} {
		if x.Validate() == nil {
			t.Errorf("%v is valid", x)
		}
	}
	if err := (XID{1, long[:64], long[:64]}).Validate(); err != nil {
		t.Error(err)
	}
}

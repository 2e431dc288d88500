package drivers

import (
	"fmt"
	"strconv"
	"strings"
)

// FormatID is the format id of every XID that this project makes: "XASQ" in ASCII. A prepared
// branch with another format id belongs to another program, and is never touched.
const FormatID int32 = 0x58415351

// MaxGTRID and MaxBQual are the limits in bytes of the two parts of an XID, from the X/Open XA
// specification (MAXGTRIDSIZE, MAXBQUALSIZE). MySQL and MariaDB enforce them.
const (
	MaxGTRID = 64
	MaxBQual = 64
)

// XID names a branch of a global transaction: the global part is common to all its branches, the
// qualifier is the name of the branch's resource. It is comparable, and a valid map key.
type XID struct {
	FormatID int32
	GTRID    string // the global transaction's ID; at most MaxGTRID bytes
	BQual    string // the resource's name; at most MaxBQual bytes
}

// String returns the XID in its pasteable form, GTRID/BQUAL, where every byte other than an ASCII
// letter, a digit, '.', '_' or '-' is written as %XX, so that no shell needs quotes for it. An XID whose
// format id is not ours begins with that id in decimal and a colon. [ParseXID] is its inverse.
func (x XID) String() string {
	var b strings.Builder
	if x.FormatID != FormatID {
		b.WriteString(strconv.FormatInt(int64(x.FormatID), 10))
		b.WriteByte(':')
	}
	escape(&b, x.GTRID)
	b.WriteByte('/')
	escape(&b, x.BQual)
	return b.String()
}

// ParseXID reads what [XID.String] wrote. Any other spelling of the same XID is an error, so that two
// texts that differ never name the same branch.
func ParseXID(s string) (XID, error) {
	x := XID{FormatID: FormatID}
	rest := s
	if id, after, ok := strings.Cut(s, ":"); ok {
		n, err := strconv.ParseInt(id, 10, 32)
		if err != nil {
			return XID{}, fmt.Errorf("xid %q: the format id before ':' is not a 32-bit number", s)
		}
		x.FormatID, rest = int32(n), after
	}
	gtrid, bqual, ok := strings.Cut(rest, "/")
	if !ok {
		return XID{}, fmt.Errorf("xid %q: want GTRID/BQUAL", s)
	}
	x.GTRID, x.BQual = unescape(gtrid), unescape(bqual)
	if x.String() != s {
		return XID{}, fmt.Errorf("xid %q: not in its written form, which is %q", s, x)
	}
	return x, nil
}

// Validate tells whether every engine can hold this XID: both parts non-empty and within their limits.
func (x XID) Validate() error {
	switch {
	case x.FormatID < 0:
		return fmt.Errorf("xid %s: the format id is negative", x)
	case x.GTRID == "" || x.BQual == "":
		return fmt.Errorf("xid %s: both parts must be non-empty", x)
	case len(x.GTRID) > MaxGTRID:
		return fmt.Errorf("xid %s: the global part has %d bytes, the limit is %d", x, len(x.GTRID), MaxGTRID)
	case len(x.BQual) > MaxBQual:
		return fmt.Errorf("xid %s: the branch qualifier has %d bytes, the limit is %d", x, len(x.BQual), MaxBQual)
	}
	return nil
}

func plain(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

func escape(b *strings.Builder, s string) {
	for i := range len(s) {
		if plain(s[i]) {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(b, "%%%02X", s[i])
		}
	}
}

// unescape undoes escape. What is no valid escape is kept as it is: ParseXID then sees that writing
// the result again gives another text.
func unescape(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+3], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

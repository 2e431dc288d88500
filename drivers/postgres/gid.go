package postgres

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// maxGID is PostgreSQL's limit for a transaction identifier: GIDSIZE less its terminating zero.
const maxGID = 199

// A gid has one of two forms, told apart by their sixth byte:
//
//	xasql.<gtrid>.<bqual>           readable: every XID that a manager makes
//	xasql:<format id>:<gtrid>/<bqual>   both parts in unpadded base64url: every other XID
//
// The readable form is used exactly where reading it back gives the same XID. So no two XIDs share a
// gid, and every XID within the limits of [drivers.XID.Validate] fits: the longest gid has 191 bytes.
const (
	readable = "xasql."
	encoded  = "xasql:"
)

// gidOf returns the transaction identifier of xid. It consists of ASCII letters, digits and "._-:/"
// alone, so that it needs no quoting in any server encoding and at any setting of
// standard_conforming_strings.
func gidOf(xid drivers.XID) (string, error) {
	gid := readable + xid.GTRID + "." + xid.BQual
	if back, ok := parseReadable(gid); !ok || back != xid {
		gid = fmt.Sprintf("%s%d:%s/%s", encoded, xid.FormatID,
			base64.RawURLEncoding.EncodeToString([]byte(xid.GTRID)), base64.RawURLEncoding.EncodeToString([]byte(xid.BQual)))
	}
	if len(gid) > maxGID {
		return "", fmt.Errorf("postgres: %w: xid %s needs a transaction identifier of %d bytes, the limit is %d: shorten the resource's name",
			drivers.ErrNotSupported, xid, len(gid), maxGID)
	}
	return gid, nil
}

// parseGID is gidOf's inverse. It reports false for what gidOf never writes: a stranger's identifier.
func parseGID(gid string) (drivers.XID, bool) {
	xid, ok := parseReadable(gid)
	if !ok {
		xid, ok = parseEncoded(gid)
	}
	if !ok {
		return drivers.XID{}, false
	}
	if again, err := gidOf(xid); err != nil || again != gid {
		return drivers.XID{}, false
	}
	return xid, true
}

// parseReadable takes the first two words as the global part, <log id>.<ULID>, and the rest, which may
// contain dots, as the branch qualifier; of two words in all, one each.
func parseReadable(gid string) (drivers.XID, bool) {
	rest, ok := strings.CutPrefix(gid, readable)
	if !ok || strings.ContainsFunc(rest, func(r rune) bool { return !plain(r) }) {
		return drivers.XID{}, false
	}
	gtrid, bqual, ok := strings.Cut(rest, ".")
	if second, third, more := strings.Cut(bqual, "."); more {
		gtrid, bqual = gtrid+"."+second, third
	}
	if !ok || bqual == "" || strings.HasPrefix(gtrid, ".") || strings.HasSuffix(gtrid, ".") || gtrid == "" {
		return drivers.XID{}, false
	}
	return drivers.XID{FormatID: drivers.FormatID, GTRID: gtrid, BQual: bqual}, true
}

func parseEncoded(gid string) (drivers.XID, bool) {
	rest, ok := strings.CutPrefix(gid, encoded)
	if !ok {
		return drivers.XID{}, false
	}
	id, rest, _ := strings.Cut(rest, ":")
	gtrid, bqual, _ := strings.Cut(rest, "/")
	n, err := strconv.ParseInt(id, 10, 32)
	if err != nil {
		return drivers.XID{}, false
	}
	g, err := base64.RawURLEncoding.DecodeString(gtrid)
	if err != nil {
		return drivers.XID{}, false
	}
	b, err := base64.RawURLEncoding.DecodeString(bqual)
	if err != nil {
		return drivers.XID{}, false
	}
	return drivers.XID{FormatID: int32(n), GTRID: string(g), BQual: string(b)}, true
}

func plain(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-'
}

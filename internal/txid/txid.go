// Package txid makes and reads the IDs of global transactions: the log's identity, a dot, and a ULID.
// The identity says whose log may decide; the ULID carries the time, and 80 random bits.
package txid

import (
	"crypto/rand"
	"encoding/binary"
	"strings"
	"time"
)

// alphabet is Crockford's base 32, which a ULID is written in.
const alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

const (
	ulidLen = 26 // of its text: 128 bits, 5 a letter
	timeLen = 10 // the letters that hold the 48 bits of milliseconds
)

// New returns a new ID under the given log, begun at the given time. A mark ("" for none, see txlog.Shared) takes the place of the
// first of the random letters.
func New(logID, mark string, at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], uint64(at.UnixMilli())<<16)
	rand.Read(b[6:]) // never fails: crypto/rand ends the program instead
	hi, lo := binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
	var text [ulidLen]byte
	for i := ulidLen - 1; i >= 0; i-- {
		text[i] = alphabet[lo&31]
		lo = lo>>5 | hi<<59
		hi >>= 5
	}
	copy(text[timeLen:], mark)
	return logID + "." + string(text[:])
}

// Belongs tells whether the ID was made under the log of this identity.
func Belongs(id, logID string) bool {
	owner, _, ok := Split(id)
	return ok && owner == logID
}

// Split returns the identity of the log that the ID was made under, and the time at which the transaction began. It
// tells false when the text is no ID that New could have made.
func Split(id string) (logID string, at time.Time, ok bool) {
	logID, ulid, found := strings.Cut(id, ".")
	if !found || logID == "" || len(ulid) != ulidLen || ulid[0] > '7' {
		return "", time.Time{}, false
	}
	var ms int64
	for i := range ulidLen {
		n := strings.IndexByte(alphabet, ulid[i])
		if n < 0 {
			return "", time.Time{}, false
		}
		if i < timeLen {
			ms = ms<<5 | int64(n)
		}
	}
	return logID, time.UnixMilli(ms).UTC(), true
}

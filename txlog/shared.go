package txlog

import (
	"context"
	"strings"
)

// Shared is implemented by logs that several coordinators and recoveries write at once, in one process or on many machines (rule P13).
// It keeps them from doing each other's work. No outcome hangs on it: whoever writes first is right (L1), also
// when a lease was lost.
//
// The rules, each with a case of the same number in logtest:
//
//	S1  The mark of a member is five letters of the ULID alphabet, and differs from that of every other member that is alive.
//	S2  Claim refuses an ID that another living member has, and names that one. A member has the IDs that carry its
//	    mark, unless somebody else has claimed them; and those that it has claimed.
//	S3  Claim grants an ID that nobody has, or whose holder has left, or is not alive any more because its lease has
//	    expired. Of several that claim at once one is granted it; to claim again what one has is granted.
//	S4  Holders tells who has each ID, also one who is not alive any more, and changes nothing. Who lost
//	    an ID to another finds the other there, for as long as the decision is kept.
//	S5  A member stays alive until Leave, without being called, unless the log can't be reached for longer than the lease. One that comes
//	    back afterwards is alive again, and has what nobody has claimed meanwhile.
//	S6  A log that was opened to be read returns ErrReadOnly from Join; Holders works.
type Shared interface {
	// Join makes the caller a member, alive from the moment when Join returns. A coordinator puts its mark into the IDs that it makes. Closing
	// the log ends its members.
	Join(ctx context.Context) (Member, error)
	// Holders returns who has each ID; IDs that nobody has are not in the map.
	Holders(ctx context.Context, ids []string) (map[string]Holder, error)
}

// Member is one coordinator or recovery of those who share a log. Its methods are safe for concurrent use.
type Member interface {
	// Mark is what the IDs of this member's transactions carry; see [Mark].
	Mark() string
	// Claim takes the IDs for this member, durably. refused are those that another living member has; the rest is granted. On an
	// error nothing is certain: claim again.
	Claim(ctx context.Context, ids []string) (refused map[string]Holder, err error)
	// Leave ends the membership: others may claim at once what it had. Leave twice is nil.
	Leave(ctx context.Context) error
}

// Holder is a member as others see it.
type Holder struct {
	Mark  string
	Name  string // for a person: e.g. "app-7 pid 4711"
	Alive bool
}

// Letters of a mark: those of a ULID (Crockford's base 32), of which the first ten are the time, and a mark the next five.
const (
	MarkLen      = 5
	MarkAlphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

	ulidLen = 26
	timeLen = 10
)

// Mark returns the mark that the ID carries, "" where it is no ID of ours. The mark of an ID that was made without
// one is random: with great likelihood nobody's.
func Mark(id string) string {
	_, ulid, _ := strings.Cut(id, ".")
	if len(ulid) != ulidLen {
		return ""
	}
	return ulid[timeLen : timeLen+MarkLen]
}

package txlog

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Outcome is what was decided of a global transaction.
type Outcome uint8

const (
	// Undecided: the log holds no decision. Under presumed abort that means "not committed, and not yet
	// safe to roll back in another process until Aborted is written".
	Undecided Outcome = iota
	// Committed: every branch must be committed.
	Committed
	// Aborted: every branch must be rolled back.
	Aborted
)

// String returns "undecided", "committed" or "aborted".
func (o Outcome) String() string {
	switch o {
	case Undecided:
		return "undecided"
	case Committed:
		return "committed"
	case Aborted:
		return "aborted"
	}
	return "invalid"
}

// Decision is the durable outcome of one global transaction.
type Decision struct {
	ID        string    // the global transaction's ID
	Outcome   Outcome   // Committed or Aborted
	Resources []string  // the names of the resources that hold a branch of it, as written at the time
	At        time.Time // when it was decided; Decide sets it when it is zero
	// Evidence is what each branch's database needs, beside its XID, to prove afterwards what became of the branch (see drivers.EvidentBranch): by
	// the position of Resources, and "" where there is none. nil: none at all, as of an aborted decision. Of a settled one it may be dropped.
	Evidence []string
}

// Log keeps decisions. All methods are safe for concurrent use.
//
// The rules, each with a case of the same number in logtest:
//
//	L1  The first Decide of an ID stands for ever: every later Decide of that ID returns the first
//	    outcome, whatever it asked for, and changes nothing.
//	L2  When Decide returns a nil error the outcome is durable: it survives the process's and the
//	    machine's crash.
//	L3  When Decide returns an error that is ErrNotDecided the decision was not, and will never
//	    be, recorded by this call. Any other error of Decide means unknown.
//	L4  Lookup returns the outcome that stands; Undecided only when it is certain that none does. An ID whose Decide
//	    ended as unknown is an error, not Undecided, until the log has been opened again or has found out.
//	L5  Unsettled yields every decision, committed or aborted, that has not been settled, as decided, oldest first, and
//	    all of them that stood when the iteration began.
//	L6  Settle takes a decision out of Unsettled. It need not be durable when it returns: after a crash the
//	    decision may be unsettled again. Lookup and L1 hold for a settled decision until its retention is over.
//	    Settle of an unknown or settled ID is nil.
//	L7  ID is made at random when the log is created, and is the same at every later opening. It is at most 16
//	    bytes of ASCII lower-case letters and digits.
//	L8  After a write or sync of the log's own failed no later Decide is accepted until the log is opened again (rule P5): they
//	    return ErrNotDecided, except of an ID whose outcome stands, or whose own outcome is unknown. A log that leaves writing to a
//	    database need not refuse: it asks again, under the same key, what became of the failed one.
//	L9  A context that ends makes Decide return ErrNotDecided before anything was recorded, or else is ignored; it
//	    never leaves a record half-written or the log unusable.
//	L10 After Close every method but ID and Close returns ErrClosed; Close twice is nil. A Decide that Close
//	    overtakes ends with its outcome or with ErrNotDecided.
//	L11 A log opened to be read returns ErrReadOnly from Decide and Settle, and is not changed by anything.
//	L12 Unsettled yields the Evidence of a committed decision whole and at its positions. What a log has no room for, or what does not match
//	    Resources in number, it drops as a whole, and records the decision without it.
//
// ErrClosed and ErrReadOnly out of Decide are ErrNotDecided as well.
type Log interface {
	// ID returns the log's own identity, part of the ID of every transaction that it decides.
	ID() string
	// Decide records d unless a decision of d.ID stands already, and returns the outcome that stands.
	Decide(ctx context.Context, d Decision) (Outcome, error)
	// Lookup returns the outcome that stands.
	Lookup(ctx context.Context, id string) (Outcome, error)
	// Settle notes that every branch of the decision has confirmed.
	Settle(ctx context.Context, id string) error
	// Unsettled iterates over the decisions that are not settled. An error ends the iteration.
	Unsettled(ctx context.Context) iter.Seq2[Decision, error]
	// Close releases what the log holds. It waits for the calls that are under way.
	Close() error
}

// Registrar is implemented by logs that remember which database each resource's name stands for (rule P14), so
// that a name that was pointed elsewhere can't settle a decision.
type Registrar interface {
	// Register notes durably that the resource is the database of this identity, in place of what was noted before.
	Register(ctx context.Context, resource, identity string) error
	// Registered returns the identity that was noted, or "" where none was.
	Registered(ctx context.Context, resource string) (string, error)
}

// Witness is implemented by logs that may have missed decisions, as a copy of a log's files has missed what was decided
// in the original since.
type Witness interface {
	// Witnessed returns nil if the log has seen all decisions on its IDs: one that it does not hold was then never made. Otherwise the error
	// tells why not, and what a person can do: no transaction must then be taken for undecided, and no coordinator must work on the log.
	Witnessed() error
}

// Historian is implemented by logs that can list settled decisions too.
type Historian interface {
	// Entries iterates over all decisions that the log keeps, in no particular order. An error ends the iteration.
	Entries(ctx context.Context) iter.Seq2[Entry, error]
}

// Entry is a decision, and when it was settled.
type Entry struct {
	Decision
	SettledAt time.Time // zero while it is unsettled
}

// Compactor is implemented by logs that can drop, at once, the settled decisions whose retention is over. They do so by themselves as well.
type Compactor interface {
	// Compact returns once the space is given back, or may be used again. Decisions go on meanwhile. A crash, a failure or a
	// context that ends loses nothing.
	Compact(ctx context.Context) error
}

var (
	// ErrCorrupt is returned when the log is damaged; the text tells file and offset.
	ErrCorrupt = errors.New("log is corrupt")
	// ErrOwned is returned when another process, or another opening in this process, owns the log; the text
	// names its pid.
	ErrOwned = errors.New("log is owned by another process")
	// ErrReadOnly is returned when a log that was opened to be read is asked to write.
	ErrReadOnly = errors.New("log is open for reading only")
	// ErrClosed is returned when the log has been closed.
	ErrClosed = errors.New("log is closed")
	// ErrNotDecided is returned when the decision surely was not recorded.
	ErrNotDecided = errors.New("decision was not recorded")
)

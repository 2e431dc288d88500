package txlog

import (
	"context"
	"iter"
	"time"
)

// Notes is implemented by logs that keep what a person should know of a transaction, or has said of it, until it is forgotten.
//
// The rules, each with a case of the same number in logtest:
//
//	N1  A note is durable when Note returns nil. It stays until Forget, whatever becomes of the decision and its retention.
//	N2  Of several notes of one ID, kind and resource the first is kept: who finds the same thing again says nothing new.
//	N3  Noted yields the notes of one transaction, or of all with an empty ID, oldest first, as noted.
//	N4  Forget drops all notes of the transaction, durably; where there are none it is nil.
//	N5  Note and Forget return ErrReadOnly on a log that was opened to be read, and ErrClosed on a closed one; Noted works on the former.
type Notes interface {
	// Note keeps a note.
	Note(ctx context.Context, n Note) error
	// Noted iterates over notes. An error ends the iteration. The log may be used meanwhile.
	Noted(ctx context.Context, id string) iter.Seq2[Note, error]
	// Forget drops a transaction's notes.
	Forget(ctx context.Context, id string) error
}

// Note is one thing to know of a global transaction.
type Note struct {
	ID       string
	Kind     NoteKind
	Resource string    // the branch that it is about, "" for the whole transaction
	By       string    // the person who said it, or the program that found it
	Text     string    // why, or what was found
	At       time.Time // Note sets it when it is zero
}

// NoteKind is what a note is about.
type NoteKind uint8

const (
	// Heuristic: a database, or a person in it, finished the branch against the decision, or before the log held one.
	Heuristic NoteKind = iota + 1
	// CommittedByHand and AbortedByHand: a person has decided the transaction.
	CommittedByHand
	AbortedByHand
)

// String returns "heuristic", "committed by hand" or "aborted by hand".
func (k NoteKind) String() string {
	switch k {
	case Heuristic:
		return "heuristic"
	case CommittedByHand:
		return "committed by hand"
	case AbortedByHand:
		return "aborted by hand"
	}
	return "invalid"
}

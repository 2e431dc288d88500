package drivers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Resource is one database that takes part in global transactions.
type Resource struct {
	// Name is the resource's stable name. It is written to the log and, as the branch qualifier, into
	// every XID: recovery finds its branches by it, so it must not change while anything is in doubt.
	// 1 to 64 bytes of ASCII letters, digits, '.', '_' and '-'.
	Name string
	// DB is the application's own pool. It is never closed by this project.
	DB *sql.DB
	// Driver is the engine's driver, e.g. postgres.New().
	Driver Driver
}

// Validate returns an error that begins with the name of the field that is wrong, and tells what to do.
func (r Resource) Validate() error {
	switch {
	case r.Name == "":
		return errors.New("Name is empty: give the database a stable name")
	case len(r.Name) > MaxBQual:
		return fmt.Errorf("Name %q has %d bytes: it is the branch qualifier of every XID, which holds at most %d", r.Name, len(r.Name), MaxBQual)
	case strings.IndexFunc(r.Name, func(c rune) bool { return c >= 0x80 || !plain(byte(c)) }) >= 0:
		return fmt.Errorf("Name %q: use ASCII letters, digits, '.', '_' and '-' only", r.Name)
	case r.DB == nil:
		return fmt.Errorf("DB of %q is nil: open it with sql.Open", r.Name)
	case r.Driver == nil:
		return fmt.Errorf("Driver of %q is nil: use the engine's, e.g. postgres.New()", r.Name)
	}
	return nil
}

// Vote is a branch's answer to Prepare. A "no" is an error.
type Vote uint8

const (
	// VotePrepared: the branch is durable, and waits for Commit or Rollback.
	VotePrepared Vote = iota + 1
	// VoteReadOnly: the branch changed nothing and is over; it takes no part in phase two.
	VoteReadOnly
)

// String returns "prepared" or "read-only".
func (v Vote) String() string {
	switch v {
	case VotePrepared:
		return "prepared"
	case VoteReadOnly:
		return "read-only"
	}
	return "invalid"
}

// Driver maps two-phase commit to one kind of engine. It is stateless, and safe for concurrent use.
//
// The rules, each with a case of the same number in drivertest:
//
//	D1  After Prepare answered VotePrepared the branch outlives its connection and the server's
//	    crash: Prepared lists it with its XID, and no statement outside sees its changes.
//	D2  CommitPrepared applies a prepared branch from its XID alone, in any process, once the session
//	    that prepared it is gone; afterwards Prepared does not list it.
//	D3  RollbackPrepared undoes it likewise.
//	D4  CommitPrepared and RollbackPrepared of an XID that the database does not hold return
//	    ErrUnknownXID. Only where the engine proves the outcome of this very branch may CommitPrepared
//	    return nil or ErrRolledBack instead, and RollbackPrepared nil or ErrCommitted.
//	D5  Where a live session still holds a prepared branch against others, CommitPrepared and
//	    RollbackPrepared return ErrHeld, at once, and change nothing.
//	D6  Prepared lists strangers' branches too (other format ids, other programs' names), without
//	    changing them. What is no XID of ours has Raw set.
//	D7  XIDs that differ in any byte of any part are different branches.
//	D8  Begin that fails leaves nothing behind once the caller has discarded the connection. A nil error means
//	    that the branch is active: no statement on the connection can take effect outside it.
//	D9  Every method obeys its context: it returns soon after the context ends, even where the
//	    engine's own wait would not. Clean-up that must happen runs under a context of its own.
//	D10 What the engine can't do is refused with ErrNotSupported and the way out, never done halfway.
//	D11 Two-phase statements go over one connection and are never sent twice: an answer of
//	    driver.ErrBadConn does not mean that the statement was not executed (rule P11).
type Driver interface {
	// Begin starts a branch on conn, which carries no transaction. opts may be nil. The caller pins conn to
	// the branch, and discards it, rather than pooling it, when Begin fails.
	Begin(ctx context.Context, conn *sql.Conn, xid XID, opts *sql.TxOptions) (Branch, error)
	// Prepared lists every prepared branch that the database holds, in no particular order.
	Prepared(ctx context.Context, db *sql.DB) ([]Prepared, error)
	// CommitPrepared commits a prepared branch that no live session of this process works on. The
	// commit is durable when it returns nil.
	CommitPrepared(ctx context.Context, db *sql.DB, xid XID) error
	// RollbackPrepared rolls such a branch back.
	RollbackPrepared(ctx context.Context, db *sql.DB, xid XID) error
}

// Branch is one database's part in a global transaction, from Begin to Commit or Rollback. It is
// bound to the connection that Begin was given. The caller owns that connection: it runs the
// application's statements on it, refuses them once Prepare has been called, and afterwards
// pools it when the branch is known to be finished, and discards it in every other case.
//
// The rules, each with a case of the same number in drivertest:
//
//	B1  Commit after VotePrepared makes the changes visible and durable. Afterwards the connection is
//	    as before Begin: usable by anyone, carrying no transaction and none of the branch's settings.
//	B2  Rollback undoes everything: of an active branch, of one whose Prepare failed, and of a prepared
//	    one. After nil the connection is clean, as in B1. Calling it twice is harmless.
//	B3  CommitOnePhase commits an active branch without preparing it. nil: durable. An error that is
//	    ErrRolledBack: nothing was applied. Any other error: unknown.
//	B4  Prepare votes no, with an error that is ErrRolledBack, where the engine has aborted
//	    the transaction on its own, even if the application swallowed the statement's error (rule
//	    P10): part of a branch is never prepared.
//	B5  Any other error of Prepare leaves the branch's state unknown (rule P2): the caller rolls back, and leaves the
//	    rest to recovery.
//	B6  VoteReadOnly is given only when the branch surely changed nothing, and never under
//	    sql.LevelSerializable: leaving early would give up what the branch read.
//	B7  Commit of a branch that somebody else has finished is nil only where the engine proves that it
//	    was committed, ErrRolledBack where it proves the contrary, and else ErrUnknownXID
//	    (rule P1).
//	B8  What the application did in the branch holds: isolation level and read-only of Begin's opts, or
//	    ErrNotSupported at Begin.
//	B9  Rollback, and what Prepare and CommitOnePhase do to clean up, work under a context that has ended,
//	    within a limit of time of their own.
type Branch interface {
	// Prepare makes the branch durable, or answers that it changed nothing.
	Prepare(ctx context.Context) (Vote, error)
	// Commit commits the branch after VotePrepared.
	Commit(ctx context.Context) error
	// CommitOnePhase commits the branch instead of Prepare.
	CommitOnePhase(ctx context.Context) error
	// Rollback undoes the branch, at any time before Commit.
	Rollback(ctx context.Context) error
}

// Prepared is one prepared branch, as the database tells of it. The zero value of a field means that the
// engine does not tell.
type Prepared struct {
	XID   XID       // zero when Raw is set
	Raw   string    // a stranger's own text, where it is no XID
	At    time.Time // when it was prepared
	Owner string    // the database user who prepared it
	Held  bool      // a live session still holds it, or is only about to have it prepared: nobody else can finish it yet
}

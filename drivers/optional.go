package drivers

import (
	"context"
	"database/sql"
)

// Checker is implemented by drivers that can tell whether a server, as the pool's user, is fit for XA.
type Checker interface {
	// Check returns what it found, the worst first; none means fit. An error means that the
	// server could not be asked.
	Check(ctx context.Context, db *sql.DB) ([]Finding, error)
}

// Finding is one result of a Checker.
type Finding struct {
	Severity Severity
	Problem  string // what is wrong, e.g. "max_prepared_transactions is 0 on this server"
	Hint     string // what to do, e.g. "set it to at least the number of connections, and restart"
}

// Severity grades a Finding.
type Severity uint8

const (
	// Warning: works, but a person should know.
	Warning Severity = iota + 1
	// Fatal: global transactions, or their recovery, can't work.
	Fatal
)

// String returns "warning" or "fatal".
func (s Severity) String() string {
	switch s {
	case Warning:
		return "warning"
	case Fatal:
		return "fatal"
	}
	return "invalid"
}

// Classifier is implemented by drivers that can tell one kind of failure from another, by code, never by text.
type Classifier interface {
	Classify(err error) Class
}

// Class is a kind of failure.
type Class uint8

const (
	// ClassOther: none of the following, or not known.
	ClassOther Class = iota
	// ClassSerialization: a serialization failure; the whole transaction may be tried again.
	ClassSerialization
	// ClassDeadlock: the engine chose this transaction as a deadlock's victim; it may be tried again.
	ClassDeadlock
	// ClassLockTimeout: a lock was not had in time (SQLite: busy); it may be tried again.
	ClassLockTimeout
	// ClassConnection: the connection is lost; what it was doing is unknown.
	ClassConnection
	// ClassConstraint: a constraint was violated; trying again won't help.
	ClassConstraint
)

// Identifier is implemented by drivers that can tell one database from another (rule P14).
type Identifier interface {
	// Identify returns a text that stays the same for as long as the database keeps its prepared
	// branches (over restarts, and on another address), and that differs between databases.
	// ErrNotSupported where the server can't tell.
	Identify(ctx context.Context, db *sql.DB) (string, error)
}

// SessionEnder is implemented by drivers of engines whose prepared branches belong to their session
// (rule P12). A server notices a client that vanished without a word only at a timeout of hours; until then
// nobody can finish the branch.
type SessionEnder interface {
	// EndSession ends the session that holds the prepared branch xid, so that another can finish the branch: the branch itself
	// is neither committed nor rolled back. The caller must know that no live coordinator works on it.
	// nil when no such session is left, or it was told to end; ErrNotSupported when the
	// server can't tell which session it is.
	EndSession(ctx context.Context, db *sql.DB, xid XID) error
}

// Finisher is implemented by drivers that can finish many branches at less cost than one by one, when the caller has just seen them listed.
type Finisher interface {
	// FinishListed commits or rolls back, over conn, a branch that Prepared has listed, and not as held, since its session was last known to work:
	// CommitPrepared and RollbackPrepared without what they do only to be safe from a caller who knows less. nil: done, durably.
	//
	// ErrUnknownXID means less than theirs: the branch is gone, or a session holds it; Prepared tells which of the two. After any other error the
	// caller discards conn.
	FinishListed(ctx context.Context, conn *sql.Conn, xid XID, commit bool) error
}

// Prover is implemented by drivers of engines that can tell afterwards what has become of a branch.
type Prover interface {
	// Outcome tells what has become of the branch, where the database proves it. evidence is what the branch gave as an [EvidentBranch],
	// "" where it gave none, or where that is lost. proven is false where the database can't tell: the branch is
	// still prepared, was never there, or was there too long ago; the evidence is missing, or of another database. It changes nothing.
	// Recovery asks without evidence before it rolls back what is undecided: who needs evidence asks nobody then.
	Outcome(ctx context.Context, db *sql.DB, xid XID, evidence string) (committed, proven bool, err error)
}

// EvidentBranch is implemented by branches whose driver is a [Prover] that needs more than the XID: what only the branch itself can tell, such as
// the number of its transaction. The manager asks for it when all branches have prepared, and keeps it with the decision.
type EvidentBranch interface {
	// Evidence returns what Prover.Outcome needs, after Prepare has answered VotePrepared and from then on; "" where there is none. It asks
	// nobody, and is short: some tens of bytes, since each decision is kept with it.
	Evidence() string
}

// Blocker is implemented by drivers of engines that can tell what a prepared branch stands in the way of.
type Blocker interface {
	// Blocking returns how many locks the branch holds, how many sessions wait for them, and by how many transactions it holds back
	// the removal of dead rows; zeros for a branch that is not there. Where it can't tell, for this branch or this user, it returns an error that tells
	// why, and never zeros.
	Blocking(ctx context.Context, db *sql.DB, xid XID) (locks, waiting int, xminAge int64, err error)
}

// Locker is implemented by drivers of engines that can tell which tables a prepared branch has locked.
type Locker interface {
	// LockedTables returns the tables that the branch has locked, as a whole or some of their rows, each as "schema.table", sorted, none twice; none
	// for a branch that is not there. Where it can't tell, for this branch or this user, it returns an error that tells why, and never none. It
	// changes nothing.
	LockedTables(ctx context.Context, db *sql.DB, xid XID) ([]string, error)
}

// ReadOnlyBranch is implemented by branches that can tell cheaply, before Prepare, whether they changed
// anything. The manager asks all branches first: when only one of them has changed something, it
// commits that one in one phase.
type ReadOnlyBranch interface {
	// ReadOnly reports true only if Prepare would vote VoteReadOnly. The application's statements are over when it is called.
	ReadOnly(ctx context.Context) (bool, error)
}

// Explainer is implemented by branches that can tell more of a statement's error than the engine does: which rule refused it, or
// that the engine has ended the transaction.
type Explainer interface {
	// Explain returns the error that the application should see for err, which a statement of the branch returned: it may be
	// ErrNotSupported, with the way out, or ErrRolledBack. It asks nobody.
	Explain(err error) error
}

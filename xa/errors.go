package xa

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/xasql/xasql/drivers"
)

var (
	// ErrRolledBack is returned when nothing of the transaction is, or will be, applied anywhere. It may
	// be tried again. errors.As finds the cause, and a *BranchError where a branch was it.
	ErrRolledBack = errors.New("rolled back")
	// ErrOutcomeUnknown is returned when the decision could be neither confirmed nor refuted: the log failed
	// while writing it, or a one-phase commit lost its reply. Don't try again: ask recovery with the ID.
	ErrOutcomeUnknown = errors.New("outcome unknown")
	// ErrHeuristic is returned when a database finished its branch alone, against the decision, or holds it no more and can't
	// prove how it ended. A person must look.
	ErrHeuristic = errors.New("heuristic outcome")
	// ErrTxDone is returned when a transaction or branch is used after its end. It is sql.ErrTxDone as well.
	ErrTxDone = fmt.Errorf("transaction has ended already: %w", sql.ErrTxDone)
	// ErrClosed is returned when the manager has been closed, or is shutting down.
	ErrClosed = errors.New("manager is closed")
	// ErrTimeout is the cause of a rollback when the transaction's Timeout was over. It is context.DeadlineExceeded as well.
	ErrTimeout = fmt.Errorf("transaction's timeout is over: %w", context.DeadlineExceeded)
)

// Error is what the methods of a transaction return. errors.Is finds the outcome and every cause.
type Error struct {
	ID      string  // the transaction's
	Outcome error   // ErrRolledBack, ErrOutcomeUnknown, ErrHeuristic or, of a call that failed, that call's own error
	Causes  []error // why; a *BranchError where a branch was the cause
}

// Error returns e.g. "xa: k7f3q2ma.01JD…: rolled back: prepare orders: <cause>".
func (e *Error) Error() string { return "xa: " + e.ID + ": " + e.text() }

// text is Error without what the error of a transaction that it is a cause of says already.
func (e *Error) text() string {
	s := e.Outcome.Error()
	texts := make([]string, len(e.Causes))
	for i, cause := range e.Causes {
		texts[i] = cause.Error()
		if inner, ok := cause.(*Error); ok && inner.ID == e.ID {
			texts[i] = inner.text()
		}
	}
	if len(texts) > 0 {
		s += ": " + strings.Join(texts, "; ")
	}
	return s
}

// Unwrap returns the outcome and the causes.
func (e *Error) Unwrap() []error { return append([]error{e.Outcome}, e.Causes...) }

// BranchError tells which operation failed on which branch.
type BranchError struct {
	Op  string // "begin", "statement", "prepare", "commit" or "rollback"
	XID drivers.XID
	Err error
}

// Error returns e.g. "prepare orders: <cause>".
func (e *BranchError) Error() string { return fmt.Sprintf("%s %s: %v", e.Op, e.XID.BQual, e.Err) }

// Unwrap returns the cause.
func (e *BranchError) Unwrap() error { return e.Err }

// timeoutError carries the timeout that was over.
func timeoutError(d time.Duration) error { return fmt.Errorf("%w (%v)", ErrTimeout, d) }

// compact drops the nil errors.
func compact(errs []error) []error {
	var out []error
	for _, err := range errs {
		if err != nil {
			out = append(out, err)
		}
	}
	return out
}

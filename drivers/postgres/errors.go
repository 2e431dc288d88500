package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// step is what was being done when an error came; the same code means different things in each.
type step string

const (
	stepConnect          step = "connect"
	stepBegin            step = "begin"
	stepAsk              step = "ask before prepare"
	stepPrepare          step = "prepare"
	stepLeave            step = "leave as read-only"
	stepCommit           step = "commit in one phase"
	stepRollback         step = "rollback"
	stepCommitPrepared   step = "commit prepared"
	stepRollbackPrepared step = "rollback prepared"
	stepProve            step = "ask for the outcome"
	stepList             step = "list prepared transactions"
	stepCheck            step = "check"
	stepIdentify         step = "identify"
)

// failure is every error of this package that has a cause in the database or on the way to it.
type failure struct {
	step  step
	text  string  // what it means, or what to do instead; may be empty
	cause error   // may be nil
	is    []error // what errors.Is and errors.As find
	lost  bool    // no answer: what the database did is unknown
}

func (f *failure) Error() string {
	s := "postgres: " + string(f.step)
	if f.text != "" {
		s += ": " + f.text
	}
	if f.cause != nil {
		s += ": " + f.cause.Error()
	}
	return s
}

func (f *failure) Unwrap() []error { return f.is }

// meaning is what a code at a step means.
type meaning struct {
	is   []error
	text string
}

// mapError tells what err means at this step. It goes by SQLSTATE, never by text.
//
// An error without a code, or with one that says that the session is gone, is no answer. Its chain is cut, but for
// the context's own error: pgx and lib/pq pass driver.ErrBadConn also for statements that were
// executed, and whoever finds it may send them again (rule P11).
func mapError(step step, err error) error {
	if err == nil {
		return nil
	}
	code := sqlState(err)
	if noAnswer(code) {
		f := &failure{step: step, text: "no answer, what the database did is unknown", cause: err, lost: true}
		if step == stepConnect {
			f.text = "" // nothing was sent
		}
		for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, end) {
				f.is = append(f.is, end)
			}
		}
		return f
	}
	m := meaningOf(step, code)
	return &failure{step: step, text: m.text, cause: err, is: append(m.is, err)}
}

func meaningOf(step step, code string) meaning {
	switch step {
	case stepBegin:
		if code == "25001" || code == "25P02" {
			return meaning{text: "the connection is in a transaction already: use one that carries none"}
		}
	case stepAsk, stepLeave, stepPrepare, stepCommit:
		return refusal(step, code)
	case stepRollback:
		if code == "22012" { // rollbackSQL
			return committedBehind()
		}
	case stepCommitPrepared, stepRollbackPrepared:
		return meaningAtFinish(code)
	case stepIdentify:
		if code == "42501" {
			return meaning{is: []error{drivers.ErrNotSupported},
				text: "GRANT EXECUTE ON FUNCTION pg_control_system() TO this role"}
		}
	}
	return meaning{}
}

// committedBehind and endedBehind are what the mark tells of an application that ended its branch itself. The
// second is not ErrRolledBack: the branch's transaction was rolled back, but what was sent after it has taken effect.
func committedBehind() meaning {
	return meaning{is: []error{drivers.ErrCommitted},
		text: "the application has committed the branch by a statement of its own: COMMIT must not be sent on a branch's connection"}
}

func endedBehind() meaning {
	return meaning{text: "the application has ended the branch by a statement of its own: ROLLBACK and RESET ALL must not be sent on a branch's connection; " +
		"what it sent afterwards may have taken effect"}
}

// refusal is the meaning of an error that answers a PREPARE or a COMMIT: PostgreSQL has aborted the
// transaction. Errors within the server (classes 58 and XX) may also come from the cleaning up that follows the record
// on disk, and prove nothing.
func refusal(step step, code string) meaning {
	if strings.HasPrefix(code, "58") || strings.HasPrefix(code, "XX") {
		return meaning{text: "the server failed, what it did is unknown"}
	}
	m := meaning{is: []error{drivers.ErrRolledBack}}
	switch {
	case step == stepAsk && code == "42501":
		m.text = "this role may not execute a function that proves outcomes: later branches do without it, and xa-recover doctor tells what to GRANT"
	case code == "25P01":
		return endedBehind()
	case code == "25P02":
		m.text = "an earlier statement of the branch failed, and PostgreSQL has aborted the whole transaction: use a savepoint around what may fail"
	case step != stepPrepare:
	case code == "55000":
		m.text = "prepared transactions are disabled: set max_prepared_transactions to at least the number of connections, and restart the server"
	case code == "53200":
		m.text = "no slot is free for another prepared transaction: settle what is in doubt, or raise max_prepared_transactions and restart the server"
	case code == "0A000":
		m.is = append(m.is, drivers.ErrNotSupported)
		m.text = "PostgreSQL can't prepare a transaction that did this: do it outside the global transaction"
	case code == "42710":
		m.text = "another prepared transaction has this identifier"
	}
	return m
}

func meaningAtFinish(code string) meaning {
	switch code {
	case "42704":
		return meaning{is: []error{drivers.ErrUnknownXID}}
	case "0A000":
		return meaning{is: []error{drivers.ErrUnknownXID}, text: "it was prepared in another database of this server"}
	case "55000":
		return meaning{is: []error{drivers.ErrHeld}, text: "another session is just finishing it"}
	case "42501":
		return meaning{text: "only the role that prepared it, or a superuser, may finish it"}
	case "25006":
		return meaning{text: "this server only reads, it may be a standby: connect to the primary"}
	}
	return meaning{}
}

// lost tells whether err leaves open what the database did.
func lost(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.lost
}

// sqlState returns the five characters that the server sent, or "". Both *pgconn.PgError and *pq.Error
// have the method.
func sqlState(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}

// noAnswer tells whether a code says that the session is gone, or never was. (57P04, the database was dropped, and 57P05, idle for too
// long, are of that kind; 57014, a cancelled statement, is an answer.)
func noAnswer(code string) bool {
	return code == "" || strings.HasPrefix(code, "08") || strings.HasPrefix(code, "57P") || code == "40003"
}

// Classify tells the kind of a failure by its SQLSTATE; it knows the errors of pgx, of lib/pq, and of this
// package. Timeouts of statements (57014) are [drivers.ClassOther]: a lock may be the cause, or not.
func (*Driver) Classify(err error) drivers.Class {
	code := sqlState(err)
	switch {
	case lost(err):
		return drivers.ClassConnection
	case code == "40001":
		return drivers.ClassSerialization
	case code == "40P01":
		return drivers.ClassDeadlock
	case code == "55P03":
		return drivers.ClassLockTimeout
	case strings.HasPrefix(code, "23"), code == "40002":
		return drivers.ClassConstraint
	case code == "25P03", code == "25P04": // a limit of time for transactions ended the session
		return drivers.ClassConnection
	case code != "" && noAnswer(code):
		return drivers.ClassConnection
	case code != "" || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return drivers.ClassOther
	}
	var network net.Error
	if errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &network) {
		return drivers.ClassConnection
	}
	return drivers.ClassOther
}

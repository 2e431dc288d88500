//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
)

// Classify implements [drivers.Classifier].
func (driver) Classify(err error) drivers.Class {
	switch {
	case err == nil:
		return drivers.ClassOther
	case errors.Is(err, sqldriver.ErrBadConn), errors.Is(err, sql.ErrConnDone):
		return drivers.ClassConnection
	case errors.Is(err, errInDoubt):
		return drivers.ClassLockTimeout
	}
	e := sqlite3.Error{}
	if !errors.As(err, &e) {
		return drivers.ClassOther
	}
	switch e.Code {
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		return drivers.ClassLockTimeout
	case sqlite3.ErrConstraint:
		if e.ExtendedCode == sqlite3.ErrConstraintCommitHook || e.ExtendedCode == sqlite3.ErrConstraintTrigger {
			return drivers.ClassOther // a RAISE in a trigger may mean anything
		}
		return drivers.ClassConstraint
	}
	return drivers.ClassOther
}

func isBusy(err error) bool {
	e := sqlite3.Error{}
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}

// undone reports whether a failed COMMIT surely applied nothing: SQLite refused it before it wrote anything. After any
// other error the changes may be on the disk, or come back after a crash.
func undone(err error) bool {
	e := sqlite3.Error{}
	return errors.As(err, &e) && (e.Code == sqlite3.ErrConstraint || e.Code == sqlite3.ErrBusy)
}

// refusal is what the guard did not let a statement do.
type refusal struct {
	action action // 0: nothing was refused
	arg1   string
	arg2   string
	schema string
}

// action is one of SQLite's authorizer action codes.
type action int

const (
	actionDelete      action = 9
	actionInsert      action = 18
	actionPragma      action = 19
	actionTransaction action = 22
	actionUpdate      action = 23
	actionAttach      action = 24
	actionDetach      action = 25
	actionAnalyze     action = 28
	actionSavepoint   action = 32
)

// why tells what was refused, and the way out.
func (r refusal) why(cannot map[string]string, readOnly bool) string {
	switch r.action {
	case actionInsert, actionUpdate, actionDelete:
		return r.whyWrite(cannot, readOnly)
	case actionPragma:
		return fmt.Sprintf("PRAGMA %s in a branch: run it outside of the global transaction", strings.TrimSuffix(r.arg1+"="+r.arg2, "="))
	case actionTransaction:
		return fmt.Sprintf("%s in a branch: the global transaction's Commit and Rollback do that; a SAVEPOINT is allowed", r.arg1)
	case actionAttach, actionDetach:
		return "ATTACH, DETACH and VACUUM in a branch: make the other file a resource of its own, or do it outside of the global transaction"
	case actionAnalyze:
		return "ANALYZE in a branch: run it outside of the global transaction"
	case actionSavepoint:
		return fmt.Sprintf("a savepoint named %q: names that begin with %s are reserved", r.arg2, prefix)
	}
	return ddl
}

const ddl = "changing the schema in a branch: do it outside of the global transaction"

func (r refusal) whyWrite(cannot map[string]string, readOnly bool) string {
	table := strings.ToLower(r.arg1)
	switch {
	case table == "sqlite_master" || table == "sqlite_temp_master" || table == "sqlite_schema" || table == "sqlite_temp_schema":
		return ddl
	case readOnly:
		return fmt.Sprintf("writing to %q: the branch is read-only", r.arg1)
	case strings.EqualFold(r.schema, "temp"):
		return fmt.Sprintf("writing to the temporary table %q in a branch: it would not outlive the connection; use an ordinary table", r.arg1)
	case !strings.EqualFold(r.schema, "main"):
		return fmt.Sprintf("writing to %q of the attached database %q: make that file a resource of its own", r.arg1, r.schema)
	case strings.HasPrefix(table, prefix):
		return fmt.Sprintf("writing to %q: names that begin with %s belong to xasql", r.arg1, prefix)
	}
	for name, why := range cannot {
		if strings.EqualFold(name, r.arg1) {
			return fmt.Sprintf("writing to %q in a branch: %s; write to it outside of the global transaction", r.arg1, why)
		}
	}
	return fmt.Sprintf("writing to %q in a branch: its changes can't be captured", r.arg1)
}

// explain turns the error of a statement in a branch into what the application should see.
func explain(err error, r report, cannot map[string]string, readOnly, sealed bool) error {
	e := sqlite3.Error{}
	if err == nil || !errors.As(err, &e) && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	switch {
	case r.ended:
		return fmt.Errorf("sqlite: %w: SQLite has ended the branch's transaction (a conflict clause OR ROLLBACK, RAISE(ROLLBACK), an interrupted write, a full disk): %w", drivers.ErrRolledBack, err)
	case e.Code == sqlite3.ErrAuth && sealed:
		return fmt.Errorf("sqlite: the branch is prepared, and takes no more statements: %w", err)
	case e.Code == sqlite3.ErrAuth && r.action != 0:
		return fmt.Errorf("sqlite: %w: %s (%w)", drivers.ErrNotSupported, r.why(cannot, readOnly), err)
	}
	return err
}

func isReadOnly(err error) bool {
	e := sqlite3.Error{}
	return errors.As(err, &e) && e.Code == sqlite3.ErrReadonly
}

// isRefused reports whether the guard has refused the statement.
func isRefused(err error) bool {
	e := sqlite3.Error{}
	return errors.As(err, &e) && e.Code == sqlite3.ErrAuth
}

package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/drivers"
)

func serverError(number uint16) error {
	return &mysql.MySQLError{Number: number, Message: "as the server says"}
}

func TestServerErrorsMeanTheSameInTheContract(t *testing.T) {
	contract := []error{drivers.ErrUnknownXID, drivers.ErrHeld, drivers.ErrRolledBack, drivers.ErrCommitted, drivers.ErrNotSupported}
	for _, tt := range []struct {
		number uint16
		want   error // nil: none of the contract's
	}{
		{errUnknownXID, drivers.ErrUnknownXID},
		{errXARolledBack, drivers.ErrRolledBack},
		{errXATimeout, drivers.ErrRolledBack},
		{errXADeadlock, drivers.ErrRolledBack},
		{errXAState, nil},  // also of a branch that is active, prepared, or another's
		{errXAFailed, nil}, // tells nothing
		{errDeadlock, nil}, // of a statement
		{errLockTimeout, nil},
		{1440, nil},
		{1398, nil},
	} {
		err := translate(serverError(tt.number))
		for _, c := range contract {
			if got, want := errors.Is(err, c), c == tt.want; got != want {
				t.Errorf("translate of %d is %q: %t, want %t", tt.number, c, got, want)
			}
		}
		if number(err) != tt.number {
			t.Errorf("translate of %d hides the server's error: %v", tt.number, err)
		}
	}
	if err := translate(nil); err != nil {
		t.Errorf("translate(nil) = %v", err)
	}
}

// Whoever sees ErrBadConn may send the statement again.
func TestBrokenConnectionIsNeverErrBadConn(t *testing.T) {
	for _, err := range []error{driver.ErrBadConn, fmt.Errorf("wrapped: %w", driver.ErrBadConn)} {
		if got := translate(err); errors.Is(got, driver.ErrBadConn) || !errors.Is(got, mysql.ErrInvalidConn) {
			t.Errorf("translate(%v) = %v", err, got)
		}
	}
}

func TestClassifyByNumber(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want drivers.Class
	}{
		{nil, drivers.ClassOther},
		{errors.New("Error 1213: deadlock"), drivers.ClassOther},
		{context.DeadlineExceeded, drivers.ClassOther},
		{context.Canceled, drivers.ClassOther},
		{serverError(1064), drivers.ClassOther},
		{serverError(1397), drivers.ClassOther},
		{serverError(1020), drivers.ClassSerialization},
		{serverError(3101), drivers.ClassSerialization},
		{serverError(1213), drivers.ClassDeadlock},
		{serverError(1614), drivers.ClassDeadlock},
		{fmt.Errorf("prepare: %w", translate(serverError(1614))), drivers.ClassDeadlock},
		{serverError(1205), drivers.ClassLockTimeout},
		{serverError(1613), drivers.ClassLockTimeout},
		{serverError(3572), drivers.ClassLockTimeout},
		{serverError(1048), drivers.ClassConstraint},
		{serverError(1062), drivers.ClassConstraint},
		{serverError(1451), drivers.ClassConstraint},
		{serverError(1452), drivers.ClassConstraint},
		{serverError(3819), drivers.ClassConstraint},
		{serverError(4025), drivers.ClassConstraint},
		{serverError(1053), drivers.ClassConnection},
		{serverError(1927), drivers.ClassConnection},
		{serverError(4031), drivers.ClassConnection},
		{mysql.ErrInvalidConn, drivers.ClassConnection},
		{driver.ErrBadConn, drivers.ClassConnection},
		{sql.ErrConnDone, drivers.ClassConnection},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, drivers.ClassConnection},
	} {
		if got := New().(drivers.Classifier).Classify(tt.err); got != tt.want {
			t.Errorf("Classify(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

package postgres

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

// serverError stands for *pgconn.PgError and *pq.Error.
type serverError string

func (e serverError) Error() string    { return "server says " + string(e) }
func (e serverError) SQLState() string { return string(e) }

func TestErrorsAreMappedByCode(t *testing.T) {
	sentinels := []error{drivers.ErrUnknownXID, drivers.ErrHeld, drivers.ErrRolledBack, drivers.ErrCommitted, drivers.ErrNotSupported}
	is := func(errs ...error) []error { return errs }
	for _, c := range []struct {
		step step
		code string
		want []error
		text string
	}{
		{stepConnect, "55000", nil, ""},
		{stepConnect, "42501", nil, ""},
		{stepConnect, "53300", nil, ""},
		{stepBegin, "25001", nil, "in a transaction already"},
		{stepBegin, "25P02", nil, "in a transaction already"},
		{stepBegin, "42501", nil, ""},
		{stepAsk, "42501", is(drivers.ErrRolledBack), "later branches do without it"},
		{stepAsk, "25P02", is(drivers.ErrRolledBack), "an earlier statement"},
		{stepAsk, "57014", is(drivers.ErrRolledBack), ""},
		{stepAsk, "55000", is(drivers.ErrRolledBack), ""},
		{stepPrepare, "25P01", nil, "a statement of its own"},
		{stepPrepare, "25P02", is(drivers.ErrRolledBack), "an earlier statement"},
		{stepPrepare, "25P03", is(drivers.ErrRolledBack), ""},
		{stepPrepare, "55000", is(drivers.ErrRolledBack), "set max_prepared_transactions"},
		{stepPrepare, "53200", is(drivers.ErrRolledBack), "raise max_prepared_transactions"},
		{stepPrepare, "42710", is(drivers.ErrRolledBack), "has this identifier"},
		{stepPrepare, "40001", is(drivers.ErrRolledBack), ""},
		{stepPrepare, "23505", is(drivers.ErrRolledBack), ""},
		{stepPrepare, "57014", is(drivers.ErrRolledBack), ""},
		{stepPrepare, "0A000", is(drivers.ErrRolledBack, drivers.ErrNotSupported), "outside the global transaction"},
		{stepPrepare, "XX000", nil, "unknown"},
		{stepPrepare, "58030", nil, "unknown"},
		{stepCommit, "25P02", is(drivers.ErrRolledBack), "an earlier statement"},
		{stepCommit, "23503", is(drivers.ErrRolledBack), ""},
		{stepCommit, "55000", is(drivers.ErrRolledBack), ""},
		{stepCommit, "XX001", nil, "unknown"},
		{stepRollback, "22012", is(drivers.ErrCommitted), "COMMIT must not be sent"},
		{stepRollback, "XX000", nil, ""},
		{stepCommitPrepared, "42704", is(drivers.ErrUnknownXID), ""},
		{stepCommitPrepared, "0A000", is(drivers.ErrUnknownXID), "another database"},
		{stepCommitPrepared, "55000", is(drivers.ErrHeld), ""},
		{stepCommitPrepared, "42501", nil, "superuser"},
		{stepCommitPrepared, "25006", nil, "primary"},
		{stepCommitPrepared, "57014", nil, ""},
		{stepRollbackPrepared, "42704", is(drivers.ErrUnknownXID), ""},
		{stepRollbackPrepared, "55000", is(drivers.ErrHeld), ""},
		{stepIdentify, "42501", is(drivers.ErrNotSupported), "GRANT EXECUTE"},
	} {
		cause := fmt.Errorf("client library: %w", serverError(c.code))
		err := mapError(c.step, cause)
		for _, s := range sentinels {
			want := false
			for _, w := range c.want {
				want = want || w == s
			}
			if got := errors.Is(err, s); got != want {
				t.Errorf("%s %s: errors.Is(%q) is %v, want %v", c.step, c.code, s, got, want)
			}
		}
		if !errors.Is(err, cause) {
			t.Errorf("%s %s: the client library's error is not in the chain", c.step, c.code)
		}
		if lost(err) {
			t.Errorf("%s %s: taken for no answer", c.step, c.code)
		}
		if prefix := "postgres: " + string(c.step) + ": "; !strings.HasPrefix(err.Error(), prefix) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s %s: text is %q, want it to begin with %q and to contain %q", c.step, c.code, err, prefix, c.text)
		}
	}
}

func TestNoAnswerIsNoOutcome(t *testing.T) {
	for _, cause := range []error{
		driver.ErrBadConn, sql.ErrConnDone, io.EOF, io.ErrUnexpectedEOF, errors.New("conn busy"),
		serverError("57P01"), serverError("57P02"), serverError("57P05"), serverError("08006"), serverError("08P01"), serverError("40003"),
	} {
		for _, step := range []step{stepConnect, stepBegin, stepAsk, stepPrepare, stepCommit, stepRollback, stepCommitPrepared, stepRollbackPrepared} {
			err := mapError(step, fmt.Errorf("wrapped: %w", cause))
			if !lost(err) {
				t.Errorf("%s: %v is taken for an answer", step, cause)
			}
			for _, not := range []error{driver.ErrBadConn, drivers.ErrRolledBack, drivers.ErrUnknownXID, drivers.ErrCommitted, drivers.ErrHeld} {
				if errors.Is(err, not) {
					t.Errorf("%s: %v becomes %q", step, cause, not)
				}
			}
			if got := (&Driver{}).Classify(err); got != drivers.ClassConnection {
				t.Errorf("%s: %v is classified as %d", step, cause, got)
			}
		}
	}
}

func TestLostErrorIsStillTheContexts(t *testing.T) {
	for _, end := range []error{context.Canceled, context.DeadlineExceeded} {
		err := mapError(stepPrepare, fmt.Errorf("timeout: %w", end))
		if !errors.Is(err, end) || !lost(err) {
			t.Errorf("%v becomes %v", end, err)
		}
	}
}

func TestNoErrorIsNoError(t *testing.T) {
	if err := mapError(stepPrepare, nil); err != nil {
		t.Error(err)
	}
}

func TestClassGoesByCode(t *testing.T) {
	for _, c := range []struct {
		err  error
		want drivers.Class
	}{
		{serverError("40001"), drivers.ClassSerialization},
		{serverError("40P01"), drivers.ClassDeadlock},
		{serverError("55P03"), drivers.ClassLockTimeout},
		{serverError("23505"), drivers.ClassConstraint},
		{serverError("23P01"), drivers.ClassConstraint},
		{serverError("40002"), drivers.ClassConstraint},
		{serverError("08003"), drivers.ClassConnection},
		{serverError("57P01"), drivers.ClassConnection},
		{serverError("25P03"), drivers.ClassConnection},
		{serverError("25P04"), drivers.ClassConnection},
		{driver.ErrBadConn, drivers.ClassConnection},
		{io.ErrUnexpectedEOF, drivers.ClassConnection},
		{serverError("57014"), drivers.ClassOther},
		{serverError("25P02"), drivers.ClassOther},
		{context.Canceled, drivers.ClassOther},
		{errors.New("40001"), drivers.ClassOther},
		{nil, drivers.ClassOther},
		{mapError(stepPrepare, serverError("40001")), drivers.ClassSerialization},
	} {
		if got := (&Driver{}).Classify(c.err); got != c.want {
			t.Errorf("Classify(%v) = %d, want %d", c.err, got, c.want)
		}
	}
}

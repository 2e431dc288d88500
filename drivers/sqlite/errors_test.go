//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
)

func engine(code sqlite3.ErrNo) error { return sqlite3.Error{Code: code} }

func extended(code sqlite3.ErrNoExtended) error {
	return sqlite3.Error{Code: sqlite3.ErrNo(code & 0xff), ExtendedCode: code}
}

func TestErrorsAreMappedByCode(t *testing.T) {
	for _, c := range []struct {
		err    error
		class  drivers.Class
		busy   bool
		undone bool
	}{
		{nil, drivers.ClassOther, false, false},
		{errors.New("database is locked"), drivers.ClassOther, false, false},
		{engine(sqlite3.ErrBusy), drivers.ClassLockTimeout, true, true},
		{extended(sqlite3.ErrBusySnapshot), drivers.ClassLockTimeout, true, true},
		{fmt.Errorf("wrapped: %w", engine(sqlite3.ErrBusy)), drivers.ClassLockTimeout, true, true},
		{engine(sqlite3.ErrLocked), drivers.ClassLockTimeout, true, false},
		{errInDoubt, drivers.ClassLockTimeout, false, false},
		{extended(sqlite3.ErrConstraintUnique), drivers.ClassConstraint, false, true},
		{extended(sqlite3.ErrConstraintForeignKey), drivers.ClassConstraint, false, true},
		{extended(sqlite3.ErrConstraintTrigger), drivers.ClassOther, false, true},
		{extended(sqlite3.ErrConstraintCommitHook), drivers.ClassOther, false, true},
		{engine(sqlite3.ErrIoErr), drivers.ClassOther, false, false},
		{engine(sqlite3.ErrFull), drivers.ClassOther, false, false},
		{engine(sqlite3.ErrCorrupt), drivers.ClassOther, false, false},
		{sqldriver.ErrBadConn, drivers.ClassConnection, false, false},
		{sql.ErrConnDone, drivers.ClassConnection, false, false},
	} {
		if got := (driver{}).Classify(c.err); got != c.class {
			t.Errorf("Classify(%v) = %v, want %v", c.err, got, c.class)
		}
		if got := isBusy(c.err); got != c.busy {
			t.Errorf("isBusy(%v) = %v", c.err, got)
		}
		if got := undone(c.err); got != c.undone {
			t.Errorf("undone(%v) = %v", c.err, got)
		}
	}
}

func TestExplainTellsWhatTheGuardSaw(t *testing.T) {
	denied := report{found: true, refusal: refusal{action: actionInsert, arg1: "FT", schema: "main"}}
	cannot := map[string]string{"ft": "it is virtual"}
	for _, c := range []struct {
		err    error
		report report
		sealed bool
		want   error  // nil: none of ours
		text   string // part of the message
	}{
		{nil, report{ended: true}, false, nil, ""},
		{engine(sqlite3.ErrAuth), denied, false, drivers.ErrNotSupported, "it is virtual"},
		{engine(sqlite3.ErrAuth), denied, true, nil, "takes no more statements"},
		{engine(sqlite3.ErrConstraint), denied, false, nil, "constraint"},
		{engine(sqlite3.ErrConstraint), report{ended: true}, false, drivers.ErrRolledBack, "constraint"},
		{context.Canceled, report{ended: true}, false, drivers.ErrRolledBack, "canceled"},
		{context.Canceled, report{}, false, nil, "canceled"},
		{sqldriver.ErrBadConn, report{ended: true}, false, nil, "bad connection"},
	} {
		err := explain(c.err, c.report, cannot, false, c.sealed)
		if c.err != nil && !errors.Is(err, c.err) {
			t.Errorf("%v: the cause is lost: %v", c.err, err)
		}
		if ours := errors.Is(err, drivers.ErrNotSupported) || errors.Is(err, drivers.ErrRolledBack); ours != (c.want != nil) || c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%v: %v, want %v", c.err, err, c.want)
		}
		if c.text != "" && !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v: %v, want %q in it", c.err, err, c.text)
		}
	}
}

func TestIndexTermsAreSplitAsSQLiteReadsThem(t *testing.T) {
	for _, c := range []struct {
		sql   string
		terms []string
		where string
	}{
		{`CREATE UNIQUE INDEX i ON t(a)`, []string{"a"}, ""},
		{`CREATE UNIQUE INDEX i ON t(a ASC, lower(b) DESC)`, []string{"a", "lower(b)"}, ""},
		{`CREATE UNIQUE INDEX "i(,)" ON [t(](coalesce(a, ')'), 'it''s, (' || "b "",") WHERE a > (1)`, []string{`coalesce(a, ')')`, `'it''s, (' || "b "","`}, ` a > (1)`},
		{"CREATE UNIQUE INDEX i ON t( -- (\na /* ) */, b)\nwhere b", []string{"-- (\na /* ) */", "b"}, " b"},
		{"CREATE UNIQUE INDEX i ON t(a -- unfinished", nil, ""},
		{"CREATE UNIQUE INDEX i ON t(a /* unfinished", nil, ""},
		{"", nil, ""},
	} {
		terms, where := splitIndex(c.sql)
		if !slices.Equal(terms, c.terms) || where != c.where {
			t.Errorf("%s: %q where %q, want %q where %q", c.sql, terms, where, c.terms, c.where)
		}
	}
}

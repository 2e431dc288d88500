//go:build cgo && (linux || darwin)

package sqlite

import (
	sqldriver "database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

// What the error says of a prepared branch is so: nobody else writes, and readers go on.
func TestBlockingSaysThatTheWholeFileIsClosedToWriters(t *testing.T) {
	_, db := newFile(t, "CREATE TABLE a (x)", "CREATE TABLE b (x)")
	blocker := New().(drivers.Blocker)
	conn, b := branchOn(t, db, "g1", nil)
	run(t, conn, "INSERT INTO a VALUES (1)")
	if locks, waiting, _, err := blocker.Blocking(t.Context(), db, xid("g1")); err != nil || locks != 0 || waiting != 0 {
		t.Errorf("of an active branch: %d, %d, %v", locks, waiting, err)
	}
	wantPrepared(t, b)
	_ = conn.Raw(func(any) error { return sqldriver.ErrBadConn }) // as when its process ends
	locks, waiting, _, err := blocker.Blocking(t.Context(), db, xid("g1"))
	if !errors.Is(err, drivers.ErrNotSupported) || !strings.Contains(err.Error(), "all other writers out of the whole file; readers go on") || locks+waiting != 0 {
		t.Errorf("%d, %d, %v", locks, waiting, err)
	}
	if _, err := db.ExecContext(t.Context(), "INSERT INTO b VALUES (1)"); err == nil {
		t.Error("somebody else has written to another table")
	}
	if got := one(t, db, "SELECT count(*) FROM a"); got != "0" {
		t.Errorf("a reader sees %s rows", got)
	}
	if err := New().CommitPrepared(t.Context(), db, xid("g1")); err != nil {
		t.Fatal(err)
	}
	if _, _, _, err := blocker.Blocking(t.Context(), db, xid("g1")); err != nil {
		t.Errorf("of a branch that is gone: %v", err)
	}
}

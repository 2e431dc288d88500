//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

const ours = `SELECT count(*) FROM sqlite_schema WHERE name LIKE '\_xa\_%' ESCAPE '\'`

func TestRemoveLeavesTheFileAsItWas(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a INTEGER PRIMARY KEY)`, `CREATE TABLE "odd "" name"(k PRIMARY KEY) WITHOUT ROWID`)
	schema := `SELECT group_concat(type || name || sql, ';') FROM sqlite_schema`
	before := one(t, db, schema)
	wantIs(t, Remove(t.Context(), db)) // there is nothing yet
	for _, finish := range []string{"commit", "rollback"} {
		lost(t, db, finish, `INSERT INTO t VALUES (NULL)`)
		if finish == "commit" {
			wantIs(t, New().CommitPrepared(t.Context(), db, xid(finish)))
		} else {
			wantIs(t, New().RollbackPrepared(t.Context(), db, xid(finish)))
		}
		if n := one(t, db, ours); n == "0" {
			t.Fatal("there is nothing to remove")
		}
		for range 2 {
			wantIs(t, Remove(t.Context(), db))
			if after := one(t, db, schema); after != before {
				t.Errorf("after Remove: %s\nwant %s", after, before)
			}
		}
		wantList(t, db)
	}
	if got := one(t, db, `SELECT count(*) FROM t`); got != "1" {
		t.Errorf("%s rows", got)
	}
}

// TestRemoveRefusesWhileABranchIsThere: in doubt, active or prepared, in this process or another one.
func TestRemoveRefusesWhileABranchIsThere(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	refused := func(state string) {
		t.Helper()
		before := one(t, db, ours)
		err := Remove(t.Context(), db)
		if !errors.Is(err, drivers.ErrHeld) || !strings.Contains(err.Error(), xid("x").String()) {
			t.Errorf("%s: %v, want ErrHeld, and the XID", state, err)
		}
		if after := one(t, db, ours); after != before {
			t.Errorf("%s: %s objects are left, of %s", state, after, before)
		}
	}
	conn, b := branchOn(t, db, "x", nil)
	run(t, conn, `INSERT INTO t VALUES (1)`)
	refused("active")
	wantPrepared(t, b)
	refused("prepared")
	turns.mu.Lock()
	q := turns.queues[identify(path)]
	delete(turns.queues, identify(path))
	turns.mu.Unlock()
	refused("prepared in another process")
	turns.mu.Lock()
	turns.queues[identify(path)] = q
	turns.mu.Unlock()
	discard(conn)
	refused("in doubt")
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")))
	wantIs(t, Remove(t.Context(), db))

	// An active branch of another process has the write lock, and says no more.
	unlock, err := block(path)
	wantIs(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	wantIs(t, Remove(ctx, db), context.Canceled)
	wantIs(t, unlock())
}

// TestBranchAfterRemoveIsFencedAgain, also on a connection that has seen the file with its fence.
func TestBranchAfterRemoveIsFencedAgain(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	conn, b := branchOn(t, db, "one", nil)
	run(t, conn, `INSERT INTO t VALUES (1)`)
	wantIs(t, b.CommitOnePhase(t.Context()))
	wantIs(t, Remove(t.Context(), open(t, path, "")))
	b, err := New().Begin(t.Context(), conn, xid("two"), nil)
	wantIs(t, err)
	run(t, conn, `INSERT INTO t VALUES (2)`)
	wantPrepared(t, b)
	discard(conn)
	if out := unaware(t, path)(`INSERT INTO t VALUES (3)`); !strings.Contains(out, "xasql") {
		t.Errorf("a writer meets %q, want the fence", out)
	}
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("two")))
	if got := one(t, db, `SELECT group_concat(a) FROM t`); got != "1,2" {
		t.Errorf("the table holds %s", got)
	}
}

//go:build cgo && (linux || darwin)

package sqlite

import (
	"fmt"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
)

func crashBase() []string {
	return []string{`CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v UNIQUE)`, `INSERT INTO t(v) VALUES ('a'), ('b'), ('c')`}
}

func crashBody() []string {
	return []string{`UPDATE t SET v = v || '!'`, `DELETE FROM t WHERE id = 2`, `INSERT INTO t(v) VALUES ('new')`}
}

// crashStates returns what the database holds without and with the branch.
func crashStates(t *testing.T) (without, with string) {
	_, db := newFile(t, crashBase()...)
	without = dump(t.Context(), db)
	run(t, db, crashBody()...)
	return without, dump(t.Context(), db)
}

// TestCrashLeavesNothingPreparedOrDone kills the process at every step of a branch, and then at every step of its recovery.
func TestCrashLeavesNothingPreparedOrDone(t *testing.T) {
	without, with := crashStates(t)
	const nothing, prepared, done = 0, 1, 2
	for _, c := range []struct {
		then, die string
		leaves    int
	}{
		{"commit", "locked", nothing},
		{"commit", "begun", nothing},
		{"commit", "ran", nothing},
		{"commit", "captured", nothing},
		{"commit", "record written", nothing},
		{"commit", "record committed", prepared},
		{"commit", "rehearsed", prepared},
		{"commit", "prepared", prepared},
		{"commit", "committing", prepared},
		{"commit", "committed", done},
		{"commit", "", done},
		{"rollback", "undone", prepared},
		{"rollback", "finished", prepared},
		{"rollback", "", nothing},
	} {
		for _, decision := range []string{"commit", "rollback"} {
			t.Run(fmt.Sprintf("%s, killed at %q, then %s", c.then, c.die, decision), func(t *testing.T) {
				t.Parallel()
				path, db := newFile(t, crashBase()...)
				spawn(t, script{DSN: dsn(path, ""), XID: xid("x"), Steps: crashBody(), Then: c.then, Die: c.die})
				if c.leaves != prepared {
					wantList(t, db)
					wantDump(t, db, []string{nothing: without, done: with}[c.leaves])
					return
				}
				for _, die := range []string{"none", "finished"} {
					wantList(t, db, xid("x"))
					wantDump(t, db, without)
					if die != "none" {
						spawn(t, script{DSN: dsn(path, ""), XID: xid("x"), Then: decision, Die: die})
						wantList(t, db, xid("x"))
						wantDump(t, db, without)
					}
				}
				for range 2 {
					spawn(t, script{DSN: dsn(path, ""), XID: xid("x"), Then: decision})
				}
				wantList(t, db)
				wantDump(t, db, map[string]string{"commit": with, "rollback": without}[decision])
				if rows := one(t, db, "SELECT count(*) FROM _xa_redo"); rows != "0" {
					t.Fatalf("%s redo rows are left", rows)
				}
			})
		}
	}
}

// TestKilledAtAnyTimeLosesNoMoney kills a process that moves money, at times that nobody chose.
func TestKilledAtAnyTimeLosesNoMoney(t *testing.T) {
	t.Parallel()
	path, db := newFile(t, `CREATE TABLE account(id INTEGER PRIMARY KEY, n INT)`, `INSERT INTO account VALUES (1, 1000), (2, 1000)`, `CREATE TABLE moved(n INTEGER PRIMARY KEY)`)
	doubts := 0
	for i := range 12 {
		s := script{DSN: dsn(path, ""), XID: xid(fmt.Sprint(i)), Loop: true,
			Steps: []string{`UPDATE account SET n = n - 1 WHERE id = 1`, `UPDATE account SET n = n + 1 WHERE id = 2`, `INSERT INTO moved VALUES (NULL)`}}
		killAfter(t, s, time.Duration(40+7*i)*time.Millisecond)
		list, err := New().Prepared(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			doubts++
			finish := New().CommitPrepared
			if i%2 == 0 {
				finish = New().RollbackPrepared
			}
			if err := finish(t.Context(), db, p.XID); err != nil {
				t.Fatal(err)
			}
		}
		if got := one(t, db, `SELECT (SELECT sum(n) FROM account), (SELECT n - 1000 FROM account WHERE id = 2) = (SELECT count(*) FROM moved)`); got != "2000|1" {
			t.Fatalf("sum and consistency: %s", got)
		}
	}
	t.Logf("%d of 12 kills left a branch in doubt; %s transfers", doubts, one(t, db, "SELECT count(*) FROM moved"))
}

func killAfter(t *testing.T, s script, after time.Duration) {
	t.Helper()
	cmd := process(t, s)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after) // any time will do
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

// TestCopyCarriesThePreparedBranch: a backup made while a branch is in doubt knows of it.
func TestCopyCarriesThePreparedBranch(t *testing.T) {
	without, with := crashStates(t)
	path, db := newFile(t, crashBase()...)
	spawn(t, script{DSN: dsn(path, ""), XID: xid("x"), Steps: crashBody()})
	for _, commit := range []bool{true, false} {
		copied := fmt.Sprint(path, ".copy", commit)
		run(t, db, `VACUUM INTO `+literal(copied))
		c := open(t, copied, "")
		wantList(t, c, xid("x"))
		finish, want := New().RollbackPrepared, without
		if commit {
			finish, want = New().CommitPrepared, with
		}
		if err := finish(t.Context(), c, xid("x")); err != nil {
			t.Fatal(err)
		}
		wantDump(t, c, want)
	}
	wantList(t, db, xid("x"))
	wantDump(t, db, without)
}

// TestFinishedBranchProvesItsOutcome is the sum of rules D4 and B7 for a file that remembers.
func TestFinishedBranchProvesItsOutcome(t *testing.T) {
	path, db := newFile(t, crashBase()...)
	for _, x := range []drivers.XID{xid("c"), xid("r")} {
		spawn(t, script{DSN: dsn(path, ""), XID: x, Steps: []string{"INSERT INTO t(v) VALUES (hex(randomblob(9)))"},
			Then: map[string]string{"c": "commit", "r": "rollback"}[x.GTRID]})
	}
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("c")))
	wantIs(t, New().RollbackPrepared(t.Context(), db, xid("c")), drivers.ErrCommitted)
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("r")), drivers.ErrRolledBack, drivers.ErrUnknownXID)
	wantIs(t, New().RollbackPrepared(t.Context(), db, xid("r")))
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("n")), drivers.ErrUnknownXID)
	wantIs(t, New().RollbackPrepared(t.Context(), db, xid("n")), drivers.ErrUnknownXID)
}

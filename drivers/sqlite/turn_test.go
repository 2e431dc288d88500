//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
)

// waiting returns how many branches wait for their turn on the file.
func waiting(path string) int {
	turns.mu.Lock()
	defer turns.mu.Unlock()
	if q := turns.queues[identify(path)]; q != nil {
		return len(q.waiting)
	}
	return 0
}

func until(t *testing.T, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("waited for too long")
		}
		time.Sleep(time.Millisecond)
	}
}

func TestBranchesOnAFileGoFirstComeFirstServed(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	_, first := branchOn(t, db, "first", nil)
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	for i := range 8 {
		pool := db
		if i%2 == 1 {
			pool = open(t, filepath.Dir(path)+"/./"+filepath.Base(path), "") // another spelling of the same file
		}
		wg.Go(func() {
			conn, err := pool.Conn(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			b, err := New().Begin(t.Context(), conn, xid(fmt.Sprint(i)), nil)
			if err != nil {
				t.Error(err)
				return
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			wantIs(t, b.Rollback(t.Context()))
		})
		until(t, func() bool { return waiting(path) == i+1 })
	}
	wantIs(t, first.Rollback(t.Context()))
	wg.Wait()
	if !slices.IsSorted(order) {
		t.Errorf("served in the order %v", order)
	}
	if waiting(path) != 0 || len(turns.queues) > 0 && turns.queues[identify(path)] != nil {
		t.Error("a queue is left")
	}
}

func TestWaitForATurnEndsWithTheContext(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	_, first := branchOn(t, db, "first", nil)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = New().Begin(ctx, conn, xid("second"), nil)
	wantIs(t, err, context.DeadlineExceeded)
	if n := waiting(path); n != 0 {
		t.Errorf("%d still wait", n)
	}
	wantIs(t, first.Rollback(t.Context()))
	b, err := New().Begin(t.Context(), conn, xid("third"), nil)
	wantIs(t, err)
	wantIs(t, b.Rollback(t.Context()))
	conn.Close()
}

func TestHolderWhoseConnectionIsGoneIsPassedOver(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a)`)
	conn, _ := branchOn(t, db, "first", nil)
	run(t, conn, `INSERT INTO t VALUES (1)`)
	next := make(chan error, 1)
	go func() {
		c, err := db.Conn(t.Context())
		if err == nil {
			defer c.Close()
			var b drivers.Branch
			if b, err = New().Begin(t.Context(), c, xid("second"), nil); err == nil {
				err = b.Rollback(t.Context())
			}
		}
		next <- err
	}()
	discard(conn)
	wantIs(t, <-next)
	if got := one(t, db, `SELECT count(*) FROM t`); got != "0" {
		t.Errorf("%s rows of a discarded branch", got)
	}
}

// TestPreparedBranchOfALiveProcessIsHeld, as this process and another one see it.
func TestPreparedBranchOfALiveProcessIsHeld(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	conn, b := branchOn(t, db, "x", nil)
	run(t, conn, `INSERT INTO t VALUES (1)`)
	wantPrepared(t, b)
	check := func(who string) {
		t.Helper()
		list, err := New().Prepared(t.Context(), db)
		if err != nil || len(list) != 1 || !list[0].Held || time.Since(list[0].At) > time.Minute {
			t.Errorf("%s: %+v, %v, want one that is held, and fresh", who, list, err)
		}
		wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")), drivers.ErrHeld)
		wantIs(t, New().RollbackPrepared(t.Context(), db, xid("x")), drivers.ErrHeld)
	}
	check("this process")
	// Another process has no queue to look at, only the file's lock.
	turns.mu.Lock()
	q := turns.queues[identify(path)]
	delete(turns.queues, identify(path))
	turns.mu.Unlock()
	check("another process")
	turns.mu.Lock()
	turns.queues[identify(path)] = q
	turns.mu.Unlock()
	wantIs(t, b.Commit(t.Context()))
	list, err := New().Prepared(t.Context(), db)
	if err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestPreparedBranchWithoutTheLockIsHeldToo: its session could not go on holding the file, and only this process knows of it.
func TestPreparedBranchWithoutTheLockIsHeldToo(t *testing.T) {
	for _, commit := range []bool{true, false} {
		path, db := newFile(t, `CREATE TABLE t(a)`)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		b, err := driver{hook: func(step string) {
			if step == "record committed" {
				cancel()
			}
		}}.Begin(ctx, conn, xid("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		run(t, conn, `INSERT INTO t VALUES (1)`)
		if vote, err := b.Prepare(ctx); vote != drivers.VotePrepared || err != nil {
			t.Fatalf("Prepare: %v, %v", vote, err)
		}
		if out := unaware(t, path)(`INSERT INTO t VALUES (2)`); !strings.Contains(out, "xasql") {
			t.Errorf("a writer meets %q, want the fence: is the branch not without its lock?", out)
		}
		wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")), drivers.ErrHeld)
		wantIs(t, New().RollbackPrepared(t.Context(), db, xid("x")), drivers.ErrHeld)
		want := "0"
		if commit {
			wantIs(t, b.Commit(t.Context()))
			want = "1"
		} else {
			wantIs(t, b.Rollback(t.Context()))
		}
		if got := one(t, conn, `SELECT count(*) FROM t`); got != want {
			t.Errorf("%s rows, want %s", got, want)
		}
		run(t, conn, `INSERT INTO t VALUES (2)`)
		conn.Close()
	}
}

// loseLock undoes a branch's rehearsal, as if it could not have begun.
func loseLock(t *testing.T, b drivers.Branch) {
	t.Helper()
	own := b.(*branch)
	err := own.within(func(s session) error {
		s.pause()
		if err := s.undo(); err != nil {
			return err
		}
		own.state = stateRecorded
		return s.guard(guardSealed)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCommitOfABranchThatSomebodyFinishedTellsItsOutcome, where another process could finish it.
func TestCommitOfABranchThatSomebodyFinishedTellsItsOutcome(t *testing.T) {
	for _, c := range []struct {
		then           string
		commit, revert error
	}{{"commit", nil, drivers.ErrCommitted}, {"rollback", drivers.ErrRolledBack, nil}} {
		for _, commit := range []bool{true, false} {
			path, db := newFile(t, `CREATE TABLE t(a)`)
			conn, b := branchOn(t, db, "x", nil)
			run(t, conn, `INSERT INTO t VALUES (1)`)
			wantPrepared(t, b)
			loseLock(t, b)
			spawn(t, script{DSN: dsn(path, ""), XID: xid("x"), Then: c.then})
			finish, want := b.Rollback, c.revert
			if commit {
				finish, want = b.Commit, c.commit
			}
			if err := finish(t.Context()); !errors.Is(err, want) {
				t.Errorf("%s by another process, then commit=%v: %v, want %v", c.then, commit, err, want)
			}
			run(t, conn, `INSERT INTO t VALUES (2)`) // the connection is clean all the same
		}
	}
}

// TestConnectionOfAnUnfinishedBranchTakesNothing, even when its owner goes on with it.
func TestConnectionOfAnUnfinishedBranchTakesNothing(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	conn, b := branchOn(t, db, "x", nil)
	run(t, conn, `PRAGMA user_version = 7`)
	wantPrepared(t, b)
	loseLock(t, b)
	if out := unaware(t, path)(`PRAGMA user_version = 3`); out != "" {
		t.Fatal(out)
	}
	wantIs(t, b.Commit(t.Context()), ErrChanged)
	if _, err := conn.ExecContext(t.Context(), `PRAGMA user_version = 4`); !isRefused(err) {
		t.Errorf("a statement after a Commit that failed: %v, want a refusal", err)
	}
	if _, err := New().Begin(t.Context(), conn, xid("next"), nil); err == nil || !strings.Contains(err.Error(), "unfinished") {
		t.Errorf("Begin on its connection: %v", err)
	}
	wantIs(t, b.Rollback(t.Context()))
	run(t, conn, `PRAGMA user_version = 4`)
}

// TestRecordOfALaterVersionIsLeftAlone: what can't be read must not be applied in part.
func TestRecordOfALaterVersionIsLeftAlone(t *testing.T) {
	path, db := newFile(t, crashBase()...)
	spawn(t, script{DSN: dsn(path, ""), XID: xid("x"), Steps: crashBody()})
	before := dump(t.Context(), db)
	run(t, db, `UPDATE _xa_prepared SET format = 2`)
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")), drivers.ErrNotSupported)
	run(t, db, `UPDATE _xa_prepared SET format = 1, record = substr(record, 1, 40)`)
	if err := New().CommitPrepared(t.Context(), db, xid("x")); err == nil {
		t.Error("a damaged record was applied")
	}
	wantDump(t, db, before)
	wantList(t, db, xid("x"))
	wantIs(t, New().RollbackPrepared(t.Context(), db, xid("x")))
}

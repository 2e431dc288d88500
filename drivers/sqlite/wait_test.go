//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

// lost leaves a prepared branch behind whose session is gone.
func lost(t *testing.T, db *sql.DB, gtrid string, statements ...string) {
	t.Helper()
	conn, b := branchOn(t, db, gtrid, nil)
	run(t, conn, statements...)
	wantPrepared(t, b)
	discard(conn)
}

// TestBeginWaitsForRecovery in this process or another one.
func TestBeginWaitsForRecovery(t *testing.T) {
	for _, where := range []string{"this process", "another process"} {
		path, db := newFile(t, `CREATE TABLE t(a)`)
		lost(t, db, "lost", `INSERT INTO t VALUES (1)`)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		defer run(t, open(t, path, ""), `SELECT 1`) // a second connection of this process
		waits, begun := make(chan struct{}), make(chan error, 1)
		var b drivers.Branch
		d := driver{hook: func(step string) {
			if step == "waiting" {
				close(waits)
			}
		}}
		other, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		go func() {
			var err error
			b, err = d.Begin(t.Context(), conn, xid("next"), nil)
			begun <- err
		}()
		<-waits
		if where == "this process" {
			wantIs(t, New().CommitPrepared(t.Context(), db, xid("lost")))
		} else {
			spawn(t, script{DSN: dsn(path, ""), XID: xid("lost"), Then: "commit"})
		}
		wantIs(t, <-begun)
		if got := one(t, conn, `SELECT count(*) FROM t`); got != "1" {
			t.Errorf("%s: the branch sees %s rows", where, got)
		}
		wantIs(t, b.Rollback(t.Context()))
	}
}

// TestWaitForRecoveryEndsWithTheContext, and tells what it waited for.
func TestWaitForRecoveryEndsWithTheContext(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	lost(t, db, "lost", `INSERT INTO t VALUES (1)`)
	run(t, open(t, path, ""), `SELECT 1`)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer discard(conn)
	ctx, cancel := context.WithCancel(t.Context())
	_, err = driver{hook: func(step string) {
		if step == "waiting" {
			cancel()
		}
	}}.Begin(ctx, conn, xid("next"), nil)
	wantIs(t, err, context.Canceled, errInDoubt)
	for _, part := range []string{xid("lost").String(), "xa-recover", "prepared at"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v: want %q in it", err, part)
		}
	}
	if n := waiting(path); n != 0 {
		t.Errorf("%d still wait", n)
	}
	wantIs(t, New().RollbackPrepared(t.Context(), db, xid("lost")))
}

// TestBusyWriterElsewhereDoesNotStarveBranches counts what a process does that writes in a loop without a pause, while a branch gets its turn: less
// than a thousand writes. One branch in ten or two may be luckless, as when this process does not run for a while, and the other does.
func TestBusyWriterElsewhereDoesNotStarveBranches(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE n(id INTEGER PRIMARY KEY, v INT)`, `INSERT INTO n VALUES (1, 0), (2, 0)`)
	hog := process(t, script{DSN: dsn(path, "&_busy_timeout=0"), Hog: true, Steps: []string{`UPDATE n SET v = v + 1 WHERE id = 1`}})
	if err := hog.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = hog.Process.Kill(); _ = hog.Wait() }()
	writes := func() int {
		n, err := strconv.Atoi(one(t, db, `SELECT v FROM n WHERE id = 1`))
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	until(t, func() bool { return writes() > 100 })
	var others []int
	for i := range 10 {
		before := writes()
		conn, b := branchOn(t, db, fmt.Sprint(i), nil)
		run(t, conn, `UPDATE n SET v = v + 1 WHERE id = 2`)
		wantPrepared(t, b)
		wantIs(t, b.Commit(t.Context()))
		conn.Close()
		others = append(others, writes()-before)
	}
	slices.Sort(others)
	t.Logf("branches beside %d plain writes", others)
	if others[len(others)/2] > 1000 {
		t.Errorf("each branch has waited for so many plain writes: %d", others)
	}
}

// TestBranchesDoNotStarvePlainWriters: a program that knows only SQLite's own wait gets its turn beside branches without a pause.
func TestBranchesDoNotStarvePlainWriters(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE n(id INTEGER PRIMARY KEY, v INT)`, `INSERT INTO n VALUES (1, 0)`)
	busy := process(t, script{DSN: dsn(path, ""), XID: xid("loop"), Loop: true, Steps: []string{`UPDATE n SET v = v + 1`}})
	if err := busy.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = busy.Process.Kill(); _ = busy.Wait() }()
	until(t, func() bool { return one(t, db, `SELECT v > 50 FROM n`) == "1" })
	before := one(t, db, `SELECT v FROM n`)
	for range 5 {
		run(t, open(t, path, "&_busy_timeout=60000"), `UPDATE n SET v = v + 1`)
	}
	t.Logf("5 plain writes beside branches %s to %s", before, one(t, db, `SELECT v FROM n`))
}

// TestBeginGivesUpOnItsProcessesOnlyConnection: recovery may wait for that one.
func TestBeginGivesUpOnItsProcessesOnlyConnection(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a)`)
	db.SetMaxOpenConns(1)
	lost(t, db, "lost", `INSERT INTO t VALUES (1)`)
	recovered := make(chan error, 1)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	d := driver{hook: func(step string) {
		if step == "waiting" {
			go func() { recovered <- New().CommitPrepared(t.Context(), db, xid("lost")) }()
		}
	}}
	_, err = d.Begin(t.Context(), conn, xid("next"), nil)
	wantIs(t, err, errInDoubt)
	if class := New().(drivers.Classifier).Classify(err); class != drivers.ClassLockTimeout {
		t.Errorf("class %v, want one that says: try again", class)
	}
	discard(conn)
	wantIs(t, <-recovered)
	conn, b := branchOn(t, db, "next", nil)
	if got := one(t, conn, `SELECT count(*) FROM t`); got != "1" {
		t.Errorf("%s rows", got)
	}
	wantIs(t, b.Rollback(t.Context()))
	conn.Close()
}

// TestAnXIDIsTakenOnce: what the file knows of an XID must be about one branch.
func TestAnXIDIsTakenOnce(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a)`)
	lost(t, db, "x", `INSERT INTO t VALUES (1)`)
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")))
	conn, b := branchOn(t, db, "x", nil)
	run(t, conn, `INSERT INTO t VALUES (2)`)
	if _, err := b.Prepare(t.Context()); !errors.Is(err, drivers.ErrRolledBack) {
		t.Errorf("an XID is taken a second time: %v", err)
	}
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")))
	if got := one(t, db, `SELECT group_concat(a) FROM t`); got != "1" {
		t.Errorf("rows %s", got)
	}
}

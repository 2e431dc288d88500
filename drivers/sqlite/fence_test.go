//go:build cgo && (linux || darwin)

package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
)

// wantIs fails the test unless err is all of the given errors; none: nil.
func wantIs(t testing.TB, err error, want ...error) {
	t.Helper()
	if len(want) == 0 && err != nil {
		t.Errorf("got %v, want no error", err)
	}
	for _, w := range want {
		if !errors.Is(err, w) {
			t.Errorf("got %v, want %q", err, w)
		}
	}
}

// unaware runs SQL as a program that knows nothing of this package: SQLite's own command line where there is one, and
// else a plain connection.
func unaware(t *testing.T, path string) func(statement string) string {
	if cli, err := exec.LookPath("sqlite3"); err == nil {
		return func(statement string) string {
			out, _ := exec.Command(cli, "-cmd", ".timeout 2000", path, statement).CombinedOutput()
			return strings.TrimSpace(string(out))
		}
	}
	if strings.Contains(os.Getenv("XA_REQUIRE"), "all") {
		t.Fatal("the sqlite3 command line is required by XA_REQUIRE: apt-get install sqlite3")
	}
	t.Log("no sqlite3 command line here: a plain connection stands in for it (apt-get install sqlite3)")
	return func(statement string) string {
		db, err := sql.Open("sqlite3", dsn(path, ""))
		if err == nil {
			defer db.Close()
			_, err = db.ExecContext(t.Context(), statement)
		}
		if err != nil {
			return err.Error()
		}
		return ""
	}
}

// killedFile returns a file that holds the branch of a killed process.
func killedFile(t *testing.T) string {
	path, _ := newFile(t, append(crashBase(), `CREATE TABLE other(a, b TEXT UNIQUE)`, `INSERT INTO other VALUES (1, 'q')`, `CREATE TABLE w(k PRIMARY KEY) WITHOUT ROWID`, `INSERT INTO w VALUES (1)`,
		`CREATE TABLE seq(id INTEGER PRIMARY KEY AUTOINCREMENT)`)...)
	spawn(t, script{DSN: dsn(path, ""), XID: xid("x"), Steps: append(crashBody(), "PRAGMA user_version = 7")})
	return path
}

func TestFenceKeepsUnawareWritersOut(t *testing.T) {
	path := killedFile(t)
	db := open(t, path, "")
	before := dump(t.Context(), db)
	cli := unaware(t, path)
	for _, s := range []string{`INSERT INTO t(v) VALUES ('z')`, `UPDATE t SET v = 1 WHERE id = 1`, `DELETE FROM t`, `REPLACE INTO other VALUES (2, 'q')`, `DELETE FROM other`,
		`UPDATE w SET k = 2`, `INSERT INTO other SELECT a, b || b FROM other`, `INSERT OR IGNORE INTO w VALUES (5)`, `INSERT OR ROLLBACK INTO w VALUES (6)`} {
		if out := cli(s); !strings.Contains(out, "xasql") {
			t.Errorf("%s: %q, want the fence's error", s, out)
		}
	}
	wantDump(t, db, before)
	wantIs(t, New().RollbackPrepared(t.Context(), db, xid("x")))
	if out := cli(`INSERT INTO t(v) VALUES ('z')`); out != "" {
		t.Errorf("a plain write after the rollback: %s", out)
	}
}

// TestEveryTableIsFenced, whatever its name was before.
func TestEveryTableIsFenced(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`, `CREATE TABLE "odd "" name"(a)`)
	prepareOne := func(gtrid string) (end func()) {
		conn, b := branchOn(t, db, gtrid, nil)
		run(t, conn, `INSERT INTO t VALUES (1)`)
		wantPrepared(t, b)
		discard(conn)
		return func() { wantIs(t, New().RollbackPrepared(t.Context(), db, xid(gtrid))) }
	}
	prepareOne("first")()
	run(t, db, `ALTER TABLE t RENAME TO was_t`, `CREATE TABLE T(a)`, `CREATE TABLE late(a)`)
	end := prepareOne("second")
	for _, table := range []string{`t`, `was_t`, `late`, `"odd "" name"`} {
		if out := unaware(t, path)(`INSERT INTO ` + table + ` VALUES (2)`); !strings.Contains(out, "xasql") {
			t.Errorf("%s has no fence: %q", table, out)
		}
	}
	end()
	if n := one(t, db, `SELECT count(*) FROM sqlite_schema WHERE name LIKE '\_xa\_fence%' ESCAPE '\'`); n != "12" {
		t.Errorf("%s triggers for 4 tables", n)
	}
}

// TestChangedAroundTheFenceIsNotOverwritten: what the triggers don't stop is found at the commit.
func TestChangedAroundTheFenceIsNotOverwritten(t *testing.T) {
	for _, c := range []struct {
		statement string
		changed   bool
	}{
		{`VACUUM`, false},
		{`CREATE INDEX zz ON t(v)`, false},
		{`ALTER TABLE other ADD COLUMN zz`, false},
		{`PRAGMA application_id = 5`, false},
		{`ALTER TABLE t ADD COLUMN zz`, true},
		{`ALTER TABLE t RENAME TO tt`, true},
		{`DROP TABLE t`, true},
		{`DROP TRIGGER _xa_fence_update_t; UPDATE t SET v = 'evil' WHERE id = 1`, true},
		{`DROP TRIGGER _xa_fence_delete_t; DELETE FROM t WHERE id = 1`, true},
		{`DROP TRIGGER _xa_fence_insert_t; INSERT INTO t(v) VALUES ('new')`, true},
		{`CREATE UNIQUE INDEX zz ON other(a); DROP TRIGGER _xa_fence_insert_seq; INSERT INTO seq VALUES (NULL)`, true},
		{`UPDATE sqlite_sequence SET seq = 900`, true},
		{`PRAGMA user_version = 3`, true},
	} {
		t.Run(c.statement, func(t *testing.T) {
			t.Parallel()
			path := killedFile(t)
			if out := unaware(t, path)(c.statement); out != "" {
				t.Fatal(out)
			}
			db := open(t, path, "")
			before := dump(t.Context(), db)
			err := New().CommitPrepared(t.Context(), db, xid("x"))
			if !c.changed {
				wantIs(t, err)
				return
			}
			wantIs(t, err, ErrChanged)
			t.Log(err)
			wantList(t, db, xid("x"))
			wantDump(t, db, before)
			wantIs(t, New().RollbackPrepared(t.Context(), db, xid("x")))
			wantList(t, db)
			wantDump(t, db, before)
		})
	}
}

// TestHeaderChangedByTwoIsNotOverwritten: values in the file's header have no fence, so what the branch set, and another program
// after it, is found at the commit. What only the other set stays.
func TestHeaderChangedByTwoIsNotOverwritten(t *testing.T) {
	for _, pragma := range headerPragmas() {
		for _, c := range []struct {
			by      string
			changed bool
		}{{pragma + " = 3", true}, {map[string]string{"user_version": "application_id", "application_id": "user_version"}[pragma] + " = 3", false}} {
			path, db := newFile(t, `CREATE TABLE t(a)`)
			lost(t, db, "x", `INSERT INTO t VALUES (1)`, `PRAGMA `+pragma+` = 7`)
			if out := unaware(t, path)(`PRAGMA ` + c.by); out != "" {
				t.Fatal(out)
			}
			err := New().CommitPrepared(t.Context(), db, xid("x"))
			if c.changed {
				wantIs(t, err, ErrChanged, drivers.ErrHeuristic)
				wantIs(t, New().RollbackPrepared(t.Context(), db, xid("x")))
			} else {
				wantIs(t, err)
			}
			name, _, _ := strings.Cut(c.by, " ")
			if got := one(t, db, `PRAGMA `+name); got != "3" {
				t.Errorf("%s by the branch, %s by another: overwritten by %s", pragma, c.by, got)
			}
		}
	}
}

// TestRowsOfANewTableKeepTheirParents: a table that was made after the crash has no fence, and its rows may refer to what the branch removes.
func TestRowsOfANewTableKeepTheirParents(t *testing.T) {
	for _, c := range []struct {
		name, made string
		changed    bool
	}{
		{"refers to a removed row", `CREATE TABLE late(p REFERENCES T(id)); INSERT INTO late VALUES (2)`, true},
		{"refers to another row", `CREATE TABLE late(p REFERENCES t(id)); INSERT INTO late VALUES (1)`, false},
		{"was broken before", `CREATE TABLE late(p REFERENCES t(id)); INSERT INTO late VALUES (99)`, false},
		{"refers to another table", `CREATE TABLE late(p REFERENCES o(id)); INSERT INTO late VALUES (99)`, false},
	} {
		path, db := newFile(t, `CREATE TABLE t(id INTEGER PRIMARY KEY)`, `INSERT INTO t VALUES (1), (2)`, `CREATE TABLE o(id INTEGER PRIMARY KEY)`)
		lost(t, open(t, path, "&_foreign_keys=1"), "x", `DELETE FROM t WHERE id = 2`)
		if out := unaware(t, path)(c.made); out != "" {
			t.Fatal(out)
		}
		err := New().CommitPrepared(t.Context(), db, xid("x"))
		if !c.changed {
			wantIs(t, err)
			continue
		}
		wantIs(t, err, ErrChanged)
		t.Log(err)
		wantList(t, db, xid("x"))
		run(t, db, `DROP TABLE late`)
		wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")))
	}
}

// TestReadersGoOnAndWritersWait while a branch is prepared and its process lives.
func TestReadersGoOnAndWritersWait(t *testing.T) {
	path, db := newFile(t, crashBase()...)
	conn, b := branchOn(t, db, "x", nil)
	run(t, conn, crashBody()...)
	wantPrepared(t, b)
	other := open(t, path, "")
	if n := one(t, other, `SELECT count(*) FROM t WHERE v LIKE '%!'`); n != "0" {
		t.Errorf("others see %s changes of a prepared branch", n)
	}
	hasty := open(t, path, "&_busy_timeout=20")
	if _, err := hasty.ExecContext(t.Context(), `INSERT INTO t(v) VALUES ('hasty')`); !isBusy(err) {
		t.Errorf("a writer beside a prepared branch: %v, want SQLITE_BUSY", err)
	}
	if _, err := hasty.ExecContext(t.Context(), `DROP TABLE t`); !isBusy(err) {
		t.Errorf("DROP TABLE beside a prepared branch: %v, want SQLITE_BUSY", err)
	}
	waited := make(chan error, 1)
	go func() {
		_, err := other.ExecContext(t.Context(), `INSERT INTO t(v) VALUES ('waited')`)
		waited <- err
	}()
	wantIs(t, b.Commit(t.Context()))
	wantIs(t, <-waited)
	if got := one(t, db, `SELECT group_concat(v) FROM (SELECT v FROM t ORDER BY id)`); got != "a!,c!,new,waited" {
		t.Errorf("the table holds %s", got)
	}
}

// TestPlainWritersAndBranchesLoseNoUpdate: plain writers wait for branches, and never meet the fence while its process lives.
func TestPlainWritersAndBranchesLoseNoUpdate(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE n(id INTEGER PRIMARY KEY, v INT)`, `INSERT INTO n VALUES (1, 0), (2, 0)`)
	stop := time.Now().Add(2 * time.Second)
	var wg sync.WaitGroup
	var plain, branches, done atomic.Int64
	for range 2 {
		wg.Go(func() {
			d := open(t, path, "&_busy_timeout=20000")
			for time.Now().Before(stop) {
				if _, err := d.ExecContext(t.Context(), `UPDATE n SET v = v + 1`); err != nil {
					t.Errorf("plain writer: %v", err)
					return
				}
				plain.Add(1)
				time.Sleep(300 * time.Microsecond) // a program that writes now and then, not one that hogs the file
			}
		})
	}
	for g := range 3 {
		wg.Go(func() {
			d := open(t, path, "")
			for i := 0; time.Now().Before(stop); i++ {
				conn, err := d.Conn(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				err = increment(t, conn, xid(fmt.Sprint(g, ".", i)), i)
				conn.Close()
				if err != nil {
					t.Errorf("branch: %v", err)
					return
				}
				branches.Add(1)
				if i%5 != 4 {
					done.Add(1)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d plain updates, %d branches", plain.Load(), branches.Load())
	want := fmt.Sprint(plain.Load() + done.Load())
	if got := one(t, db, `SELECT min(v), max(v) FROM n`); got != want+"|"+want {
		t.Errorf("counters: %s, want %s", got, want)
	}
}

// increment adds one in a branch; every fifth is rolled back.
func increment(t *testing.T, conn *sql.Conn, x drivers.XID, i int) error {
	b, err := New().Begin(t.Context(), conn, x, nil)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(t.Context(), `UPDATE n SET v = v + 1`); err != nil {
		return err
	}
	if i%5 == 3 {
		return b.CommitOnePhase(t.Context())
	}
	if _, err := b.Prepare(t.Context()); err != nil {
		return err
	}
	if i%5 == 4 {
		return b.Rollback(t.Context())
	}
	return b.Commit(t.Context())
}

func TestIdentityIsTheFiles(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	id := func(db *sql.DB) string {
		t.Helper()
		id, err := New().(drivers.Identifier).Identify(t.Context(), db)
		wantIs(t, err)
		return id
	}
	first := id(db)
	if again := id(open(t, path, "")); first == "" || again != first {
		t.Errorf("identity %q, then %q", first, again)
	}
	if other := id(open(t, filepath.Join(t.TempDir(), "other.db"), "")); other == first {
		t.Error("two files have one identity")
	}
	_, err := New().(drivers.Identifier).Identify(t.Context(), open(t, path+".none", "&mode=memory"))
	wantIs(t, err, drivers.ErrNotSupported)
}

// TestPreparedMakesNothing: looking at a file changes nothing in it, and needs no more than reading.
func TestPreparedMakesNothing(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	before := one(t, db, `SELECT group_concat(name) FROM sqlite_schema`)
	wantList(t, db)
	if after := one(t, db, `SELECT group_concat(name) FROM sqlite_schema`); after != before {
		t.Errorf("Prepared made %s", after)
	}
	conn, b := branchOn(t, db, "x", nil)
	run(t, conn, `INSERT INTO t VALUES (1)`)
	wantPrepared(t, b)
	discard(conn)
	wantList(t, open(t, path, "&mode=ro"), xid("x"))
	wantList(t, open(t, filepath.Join(t.TempDir(), "new.db"), ""))
}

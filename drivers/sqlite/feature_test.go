//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

// scenario is a database, and the statements of a branch on it.
type scenario struct {
	name string
	dsn  string // added to the DSN
	base []string
	body []string
}

// fate of the branch after Prepare.
const (
	fateLive     = "committed"                            // by its own session
	fateDropped  = "dropped, then committed from its XID" // its connection is closed
	fateKilled   = "killed, then committed from its XID"  // by another process
	fateUndone   = "rolled back"
	fateOnePhase = "committed in one phase"
)

// reached is what came of a scenario.
type reached struct {
	results []string // of its statements
	inside  string   // what the branch saw at its end
	vote    string
	err     string // of Prepare or CommitOnePhase
}

// inBranch runs a scenario in a branch on the file, up to its fate.
func (s scenario) inBranch(t *testing.T, path, fate string) reached {
	db := open(t, path, s.dsn)
	before := dump(t.Context(), db)
	var r reached
	if fate == fateKilled {
		r = s.inChild(t, path)
		recoverIt(t, db, r, before)
		return r
	}
	conn, b := branchOn(t, db, "x", nil)
	for _, q := range s.body {
		r.results = append(r.results, result(t.Context(), conn, q, s.dsn))
	}
	r.inside = dump(t.Context(), conn)
	if fate == fateOnePhase {
		if err := b.CommitOnePhase(t.Context()); err != nil {
			r.err = err.Error()
		}
		return r
	}
	vote, err := b.Prepare(t.Context())
	if err != nil {
		r.err = err.Error()
		return r
	}
	r.vote = vote.String()
	if vote == drivers.VoteReadOnly {
		return r
	}
	if fate == fateDropped {
		discard(conn)
		recoverIt(t, db, r, before)
		return r
	}
	wantDump(t, db, before)
	finish := b.Commit
	if fate == fateUndone {
		finish = b.Rollback
	}
	if err := finish(t.Context()); err != nil {
		t.Fatalf("%s: %v", fate, err)
	}
	wantList(t, db)
	if fate == fateUndone {
		wantDump(t, db, before)
	}
	wantDump(t, db, dump(t.Context(), conn)) // the connection is fit for plain use
	return r
}

// recoverIt commits what is left of a branch whose session is gone, as recovery does.
func recoverIt(t *testing.T, db *sql.DB, r reached, before string) {
	t.Helper()
	if r.err == "" && r.vote == "prepared" {
		wantDump(t, db, before)
		wantList(t, db, xid("x"))
		for range 2 { // the second time, the file proves it
			if err := New().CommitPrepared(t.Context(), db, xid("x")); err != nil {
				t.Fatalf("CommitPrepared: %v", err)
			}
		}
	}
	wantList(t, db)
}

func (s scenario) inChild(t *testing.T, path string) (r reached) {
	inside := filepath.Join(fastDir(t), "inside")
	for _, line := range spawn(t, script{DSN: dsn(path, s.dsn), XID: xid("x"), Steps: s.body, Dump: inside}) {
		switch kind, text, _ := strings.Cut(line, " "); kind {
		case "RESULT":
			r.results = append(r.results, text)
		case "VOTE":
			r.vote = text
		case "PREPARE":
			r.err = text
		}
	}
	b, err := os.ReadFile(inside)
	if err != nil {
		t.Fatal(err)
	}
	r.inside = string(b)
	return r
}

// plainly runs a scenario as an ordinary transaction, and returns the state after it.
func (s scenario) plainly(t *testing.T, path string) (results []string, committed bool, after string) {
	db := open(t, path, s.dsn)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	// That a table has triggers at all changes the order in which SQLite visits rows, which UPDATE OR IGNORE shows.
	tables, err := all(t.Context(), conn, `SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE 'sqlite%'`)
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range tables {
		for _, when := range []string{"BEFORE", "AFTER"} {
			for _, event := range []string{"INSERT", "UPDATE", "DELETE"} {
				run(t, conn, fmt.Sprintf("CREATE TEMP TRIGGER noop%d%s%s %s %s ON main.%s BEGIN SELECT 1; END", i, when, event, when, event, quote(name)))
			}
		}
	}
	run(t, conn, "BEGIN IMMEDIATE")
	for _, q := range s.body {
		results = append(results, result(t.Context(), conn, q, s.dsn))
	}
	if _, err := conn.ExecContext(t.Context(), "COMMIT"); err == nil {
		committed = true
	} else {
		run(t, conn, "ROLLBACK")
	}
	return results, committed, dump(t.Context(), db)
}

// begin makes a file as it is before the scenario.
func (s scenario) begin(t *testing.T, path string) *sql.DB {
	db := open(t, path, s.dsn)
	for _, q := range s.base {
		_, _ = db.ExecContext(t.Context(), q) // the random ones may fail, and do so alike
	}
	return db
}

// before tells what is in the file before the scenario.
func (s scenario) before(t *testing.T) string {
	return dump(t.Context(), s.begin(t, filepath.Join(fastDir(t), "before.db")))
}

// check runs a scenario plainly and in a branch with the given fate, and compares.
func (s scenario) check(t *testing.T, fate string) {
	dir := fastDir(t)
	plain, path := filepath.Join(dir, "plain.db"), filepath.Join(dir, "branch.db")
	s.begin(t, plain)
	s.begin(t, path)
	wantResults, committed, want := s.plainly(t, plain)
	got := s.inBranch(t, path, fate)
	after := dump(t.Context(), open(t, path, s.dsn))
	story := func() string {
		return fmt.Sprintf("fate: %s\ndsn: %s\nbase:\n%s;\nbody:\n%s;", fate, s.dsn, strings.Join(s.base, ";\n"), strings.Join(s.body, ";\n"))
	}
	// SQLite 3.54.1 can leave an index without a row when RAISE(FAIL) stops a REPLACE halfway, and rows that violate a unique index when
	// RAISE(IGNORE) keeps what it would replace, plain transactions included. Applying the record puts the former right, and
	// the latter can't be applied: the branch votes no.
	if sound := "== PRAGMA integrity_check\nok\n"; !strings.Contains(got.inside, sound) && strings.Contains(after, sound) {
		if committed && got.err != "" && after == s.before(t) {
			return
		}
		cut := regexp.MustCompile(`(?s)== PRAGMA integrity_check\n.*?\n==`)
		got.inside, after, want = cut.ReplaceAllString(got.inside, "=="), cut.ReplaceAllString(after, "=="), cut.ReplaceAllString(want, "==")
	}
	if got.err == "" && fate != fateUndone && after != got.inside {
		t.Fatalf("what was committed is not what the branch saw\n%s\nwant\n%s\n%s", after, got.inside, story())
	}
	if slices.ContainsFunc(s.base, func(q string) bool { return strings.HasPrefix(q, "CREATE VIRTUAL") }) {
		// SQLite's full text search leaves last_insert_rowid() at what it wrote itself last.
		forget := func(r string) string { return regexp.MustCompile(`^(ok \d+) -?\d+$`).ReplaceAllString(r, "$1") }
		for i := range min(len(wantResults), len(got.results)) {
			wantResults[i], got.results[i] = forget(wantResults[i]), forget(got.results[i])
		}
	}
	if !slices.Equal(wantResults, got.results) {
		t.Fatalf("the statements answered\n%q\nwant\n%q\n%s", got.results, wantResults, story())
	}
	if committed != (got.err == "") {
		t.Fatalf("plain commit: %v; branch: %q\n%s", committed, got.err, story())
	}
	if fate != fateUndone && after != want {
		t.Fatalf("the branch left\n%s\nplain\n%s\n%s", after, want, story())
	}
}

func TestBranchDoesWhatAPlainTransactionDoes(t *testing.T) {
	for _, s := range features() {
		for _, fate := range []string{fateLive, fateKilled, fateUndone, fateOnePhase} {
			t.Run(s.name+"/"+fate, func(t *testing.T) {
				t.Parallel()
				s.check(t, fate)
			})
		}
	}
}

func TestNothingChangedVotesReadOnly(t *testing.T) {
	for _, body := range [][]string{
		nil,
		{"SELECT * FROM t"},
		{"UPDATE t SET a = a"},
		{"DELETE FROM t WHERE a > 100"},
		{"INSERT INTO t VALUES (5)", "DELETE FROM t WHERE a = 5"},
		{"INSERT OR IGNORE INTO u VALUES (1)", "INSERT INTO u VALUES (1) ON CONFLICT DO NOTHING"},
		{"PRAGMA user_version = 3", "PRAGMA user_version = 0"},
	} {
		_, db := newFile(t, "CREATE TABLE t(a)", "INSERT INTO t VALUES (1), (2)", "CREATE TABLE u(a UNIQUE)", "INSERT INTO u VALUES (1)")
		conn, b := branchOn(t, db, "x", nil)
		run(t, conn, body...)
		if vote, err := b.Prepare(context.WithoutCancel(t.Context())); vote != drivers.VoteReadOnly || err != nil {
			t.Errorf("%q: %v, %v", body, vote, err)
		}
		run(t, conn, "INSERT INTO t VALUES (9)") // the connection is fit for plain use
		wantList(t, db)
	}
}

// TestTriggersMadeAfterTheFenceHideNothing: SQLite fires the newest first, so a RAISE(IGNORE) of theirs skips the fence's.
func TestTriggersMadeAfterTheFenceHideNothing(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(id INTEGER PRIMARY KEY, v)`)
	_, b := branchOn(t, db, "fence", nil)
	wantIs(t, b.Rollback(t.Context()))
	run(t, db, `CREATE TRIGGER newest AFTER INSERT ON t BEGIN SELECT RAISE(IGNORE); END`)
	lost(t, db, "x", `INSERT INTO t(v) VALUES (5)`)
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")))
	if got := one(t, db, `SELECT group_concat(v) FROM t`); got != "5" {
		t.Errorf("rows %q", got)
	}
}

// TestKeyOfADefaultThatIsNeverTheSame is known only after REPLACE has put it.
func TestKeyOfADefaultThatIsNeverTheSame(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(k TEXT NOT NULL ON CONFLICT REPLACE DEFAULT (hex(randomblob(8))) PRIMARY KEY, v) WITHOUT ROWID`, `INSERT INTO t VALUES ('a', 1), ('b', 2)`)
	conn, b := branchOn(t, db, "x", nil)
	run(t, conn, `UPDATE t SET k = NULL WHERE v = 1`, `INSERT INTO t VALUES (NULL, 3)`, `INSERT INTO t(v) VALUES (4)`)
	inside := dump(t.Context(), conn)
	wantPrepared(t, b)
	discard(conn)
	wantIs(t, New().CommitPrepared(t.Context(), db, xid("x")))
	wantDump(t, db, inside)
}

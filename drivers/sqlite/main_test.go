//go:build cgo && (linux || darwin)

package sqlite

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/xasql/xasql/drivers"
)

// childEnv names the file with a child process's script.
const childEnv = "XASQL_SQLITE_CHILD"

func TestMain(m *testing.M) {
	if file := os.Getenv(childEnv); file != "" {
		child(file)
	}
	goleak.VerifyTestMain(m)
}

// script is what a child process does, until it kills itself.
type script struct {
	DSN   string
	XID   drivers.XID
	Steps []string // statements of a branch; none: no branch
	Dump  string   // file for the state that the branch saw at its end
	Then  string   // commit, rollback or "", by the branch if there is one, and else from the XID
	Die   string   // the step at which it kills itself; "": when it is done
	Loop  bool     // repeat the branch with numbered XIDs, until killed
	Hog   bool     // repeat the statements, each by itself and without a pause, also where the file is busy, until killed
}

// child runs a script, and tells on its standard output how far it came.
func child(file string) {
	var s script
	js, err := os.ReadFile(file)
	must(err)
	must(json.Unmarshal(js, &s))
	db, err := sql.Open("sqlite3", s.DSN)
	must(err)
	die := func(step string) {
		if step == s.Die {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	d := driver{hook: die}
	ctx := context.Background()
	for s.Hog {
		for _, q := range s.Steps {
			if _, err := db.ExecContext(ctx, q); !isBusy(err) {
				must(err)
			}
		}
	}
	for i := 0; s.Loop; i++ {
		x := s.XID
		x.GTRID += fmt.Sprint(".", i)
		conn, err := db.Conn(ctx)
		must(err)
		b, err := d.Begin(ctx, conn, x, nil)
		must(err)
		for _, q := range s.Steps {
			_, err := conn.ExecContext(ctx, q)
			must(err)
		}
		_, err = b.Prepare(ctx)
		must(err)
		must(b.Commit(ctx))
		must(conn.Close())
	}
	switch {
	case len(s.Steps) > 0:
		runScript(ctx, d, db, s)
	case s.Then == "commit":
		must(d.CommitPrepared(ctx, db, s.XID))
	case s.Then == "rollback":
		must(d.RollbackPrepared(ctx, db, s.XID))
	}
	fmt.Println("DONE")
	s.Die = ""
	die("")
}

func runScript(ctx context.Context, d driver, db *sql.DB, s script) {
	conn, err := db.Conn(ctx)
	must(err)
	b, err := d.Begin(ctx, conn, s.XID, nil)
	must(err)
	d.step("begun")
	for _, q := range s.Steps {
		fmt.Println("RESULT", result(ctx, conn, q, s.DSN))
	}
	if s.Dump != "" {
		must(os.WriteFile(s.Dump, []byte(dump(ctx, conn)), 0o600))
	}
	d.step("ran")
	vote, err := b.Prepare(ctx)
	if err != nil {
		fmt.Println("PREPARE", err)
		return
	}
	fmt.Println("VOTE", vote)
	d.step("prepared")
	switch s.Then {
	case "commit":
		must(b.Commit(ctx))
	case "rollback":
		must(b.Rollback(ctx))
	}
}

func must(err error) {
	if err != nil {
		fmt.Println("FAILED", err)
		os.Exit(3)
	}
}

// process is the command that runs a script in a process of its own.
func process(t testing.TB, s script) *exec.Cmd {
	t.Helper()
	js, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(file, js, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+file)
	return cmd
}

// spawn runs a script in a process of its own, and returns what it said.
func spawn(t testing.TB, s script) []string {
	t.Helper()
	cmd := process(t, s)
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("child was not killed at %q: %v\n%s", s.Die, err, out)
	}
	var lines []string
	for sc := bufio.NewScanner(strings.NewReader(string(out))); sc.Scan(); {
		lines = append(lines, sc.Text())
	}
	return lines
}

func dsn(path, more string) string {
	return "file:" + path + "?_journal_mode=WAL" + more + "&_busy_timeout=5000" // the Go driver takes the first
}

// open returns a pool to a new connection of the file; more is added to the DSN.
func open(t testing.TB, path, more string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn(path, more))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// fastDir is a directory for a test whose subject is not what survives a loss of power: in memory, where the system has such a place.
func fastDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "xasql-sqlite-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func newFile(t testing.TB, statements ...string) (string, *sql.DB) {
	t.Helper()
	path := filepath.Join(fastDir(t), "test.db")
	db := open(t, path, "")
	run(t, db, statements...)
	return path, db
}

// querier is a *sql.DB or a *sql.Conn.
type querier interface {
	QueryContext(context.Context, string, ...any) (*sql.Rows, error)
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

func run(t testing.TB, x querier, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := x.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// all returns the rows of a query, each as one text.
func all(ctx context.Context, x querier, query string) (out []string, err error) {
	rows, err := x.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	cols, _ := rows.Columns()
	for rows.Next() {
		values, at := make([]sql.NullString, len(cols)), make([]any, len(cols))
		for i := range values {
			at[i] = &values[i]
		}
		if err := rows.Scan(at...); err != nil {
			return nil, err
		}
		texts := make([]string, len(cols))
		for i, v := range values {
			texts[i] = v.String
		}
		out = append(out, strings.Join(texts, "|"))
	}
	return out, rows.Err()
}

func one(t testing.TB, x querier, query string) string {
	t.Helper()
	rows, err := all(t.Context(), x, query)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return strings.Join(rows, "\n")
}

// dump returns all that a database holds, exact to types, bits and rowids: every table that is not ours, the header, the
// schema, and SQLite's own checks.
func dump(ctx context.Context, x querier) string {
	var b strings.Builder
	must := func(query string) []string {
		rows, err := all(ctx, x, query)
		if err != nil {
			panic(fmt.Sprintf("dump: %s: %v", query, err))
		}
		return rows
	}
	for _, name := range must(`SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name NOT LIKE '\_xa\_%' ESCAPE '\' AND name <> 'sqlite_schema' ORDER BY 1`) {
		var values []string
		for _, c := range must(`SELECT name FROM pragma_table_xinfo(` + literal(name) + `)`) {
			values = append(values, fmt.Sprintf("typeof(%[1]s) || '=' || quote(%[1]s) || '/' || hex(CAST(%[1]s AS BLOB))", quote(c)))
		}
		if must(`SELECT wr FROM pragma_table_list WHERE schema = 'main' AND name = ` + literal(name))[0] == "0" {
			id := "rowid"
			for _, other := range []string{"_rowid_", "oid"} {
				if must(`SELECT count(*) FROM pragma_table_info(` + literal(name) + `) WHERE lower(name) = '` + id + `'`)[0] != "0" {
					id = other
				}
			}
			values = append([]string{id}, values...)
		}
		fmt.Fprintf(&b, "== %s\n", name)
		rows := must(`SELECT ` + strings.Join(values, ", ") + ` FROM ` + quote(name))
		slices.Sort(rows)
		fmt.Fprintln(&b, strings.Join(rows, "\n"))
	}
	// Of virtual tables what they say: how full text is cut into segments depends on when it is written out.
	for _, r := range must(`SELECT name || '|' || sql FROM sqlite_schema WHERE sql LIKE 'CREATE VIRTUAL%' ORDER BY 1`) {
		name, sql, _ := strings.Cut(r, "|")
		fmt.Fprintf(&b, "== %s\n%s\n", name, strings.Join(must(`SELECT * FROM `+quote(name)+` ORDER BY 1`), "\n"))
		for _, word := range []string{"one", "two", "three", "four", "five", "more", "again"} {
			if strings.Contains(sql, "fts") {
				fmt.Fprintf(&b, "%s: %s\n", word, strings.Join(must(`SELECT rowid FROM `+quote(name)+` WHERE `+quote(name)+` MATCH `+literal(word)+` ORDER BY 1`), ","))
			}
		}
	}
	for _, q := range []string{"PRAGMA user_version", "PRAGMA application_id", "PRAGMA integrity_check", "PRAGMA foreign_key_check",
		`SELECT type, name, sql FROM sqlite_schema WHERE name NOT LIKE '\_xa\_%' ESCAPE '\' AND tbl_name NOT LIKE '\_xa\_%' ESCAPE '\' ORDER BY 1, 2`} {
		fmt.Fprintf(&b, "== %s\n%s\n", q, strings.Join(must(q), "\n"))
	}
	return b.String()
}

// result runs a statement, and returns what came of it in a comparable form: its error, or what it says of itself.
func result(ctx context.Context, conn *sql.Conn, query, dsn string) string {
	exec := func(q string) {
		if !strings.Contains(dsn, "_foreign_keys") {
			return
		}
		if _, err := conn.ExecContext(ctx, q); err != nil {
			panic(fmt.Sprintf("%s: %v", q, err))
		}
	}
	// SQLite 3.54.1 sometimes keeps effects of a statement that failed with a foreign key's error, where no trigger happens to make
	// it keep a statement journal. A savepoint makes every run keep what the manual says.
	exec("SAVEPOINT one_statement")
	res, failed := conn.ExecContext(ctx, query)
	if failed != nil && strings.Contains(failed.Error(), "FOREIGN KEY") {
		exec("ROLLBACK TO one_statement")
	}
	exec("RELEASE one_statement")
	if failed != nil {
		return "error " + failed.Error()
	}
	if strings.Contains(query, "RETURNING") {
		return "ok" // the Go driver stops at the first row, and counts what came before
	}
	n, _ := res.RowsAffected()
	id, _ := res.LastInsertId()
	switch strings.ToUpper(strings.Fields(query)[0]) {
	case "INSERT", "REPLACE":
		if n > 0 {
			return fmt.Sprint("ok ", n, " ", id)
		}
		return "ok 0" // the id is that of an earlier statement
	case "UPDATE", "DELETE":
		return fmt.Sprint("ok ", n)
	}
	return "ok"
}

// branchOn begins a branch on a connection of its own.
func branchOn(t testing.TB, db *sql.DB, gtrid string, opts *sql.TxOptions) (*sql.Conn, drivers.Branch) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { discard(conn) })
	b, err := New().Begin(t.Context(), conn, xid(gtrid), opts)
	if err != nil {
		t.Fatal(err)
	}
	return conn, b
}

func xid(gtrid string) drivers.XID {
	return drivers.XID{FormatID: drivers.FormatID, GTRID: gtrid, BQual: "file"}
}

// wantPrepared prepares a branch that must be able to.
func wantPrepared(t testing.TB, b drivers.Branch) {
	t.Helper()
	if vote, err := b.Prepare(t.Context()); vote != drivers.VotePrepared || err != nil {
		t.Fatalf("Prepare: %v, %v", vote, err)
	}
}

func wantList(t testing.TB, db *sql.DB, want ...drivers.XID) {
	t.Helper()
	list, err := New().Prepared(t.Context(), db)
	if err != nil {
		t.Fatal(err)
	}
	var got []drivers.XID
	for _, p := range list {
		got = append(got, p.XID)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("prepared: %v, want %v", got, want)
	}
}

func wantDump(t testing.TB, x querier, want string) {
	t.Helper()
	if got := dump(t.Context(), x); got != want {
		t.Fatalf("the database holds\n%s\nwant\n%s", got, want)
	}
}

package main

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/integration/judge"
)

// asProgram makes this test's binary the program, its workers and its checker.
const asProgram = "XA_TORTURE_TEST_IS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// trial is two SQLite files and a directory for runs.
type trial struct {
	dir  string
	env  []string
	path map[string]string
}

func newTrial(t *testing.T) trial {
	t.Helper()
	dir := t.TempDir()
	tr := trial{dir: dir, path: map[string]string{"a": filepath.Join(dir, "a.db"), "b": filepath.Join(dir, "b.db")}}
	for _, path := range tr.path {
		tr.exec(t, path, "pragma journal_mode = wal")
	}
	tr.env = append(os.Environ(), asProgram+"=1", "XA_RESOURCES=a=sqlite:"+tr.path["a"]+" b=sqlite:"+tr.path["b"], "XA_LOG=")
	return tr
}

func (tr trial) open(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+path+"?_busy_timeout=10000")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func (tr trial) exec(t *testing.T, path, statement string) {
	t.Helper()
	if _, err := tr.open(t, path).ExecContext(t.Context(), statement); err != nil {
		t.Fatal(err)
	}
}

// run runs the program, and returns its exit status and all that it printed.
func (tr trial) run(t *testing.T, args ...string) (int, string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env, cmd.Dir = tr.env, tr.dir
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), out.String()
}

// tables lists those that a run makes.
func (tr trial) tables(t *testing.T, path string) (found []string) {
	t.Helper()
	rows, err := tr.open(t, path).QueryContext(t.Context(), "select name from sqlite_master where type = 'table' and name like 'xasql_%'")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		found = append(found, name)
	}
	return found
}

func TestGoodRunLeavesNothingBehind(t *testing.T) {
	tr := newTrial(t)
	status, out := tr.run(t, "-duration", "3s", "-check", "1s", "-every", "300ms", "-faults", "kill,stop", "-dir", "run", "-json", "report.json", "-seed", "7")
	if status != 0 {
		t.Fatalf("ended with status %d:\n%s", status, out)
	}
	var got report
	raw, err := os.ReadFile(filepath.Join(tr.dir, "report.json"))
	if err == nil {
		err = json.Unmarshal(raw, &got)
	}
	if err != nil || got.Seed != 7 || got.Verdict.Outcomes[judge.Committed] == 0 || len(got.Violations) > 0 {
		t.Errorf("the report is %s (%v)", raw, err)
	}
	for name, path := range tr.path {
		if found := tr.tables(t, path); len(found) > 0 {
			t.Errorf("%s still has %v", name, found)
		}
	}
	if _, err := os.Stat(filepath.Join(tr.dir, "run")); !os.IsNotExist(err) {
		t.Errorf("the run's directory: %v, want none", err)
	}
}

// What was kept can be judged again: also after somebody has changed it.
func TestKeptRunIsJudgedAgainAndCleaned(t *testing.T) {
	tr := newTrial(t)
	status, out := tr.run(t, "-duration", "1s", "-faults", "none", "-dir", "run", "-keep", "-log", "sqlite:"+tr.sharedLog(t))
	if status != 0 {
		t.Fatalf("ended with status %d:\n%s", status, out)
	}
	if status, out := tr.run(t, "check", "-told", "run/told"); status != 0 || !strings.Contains(out, `"violations": null`) {
		t.Errorf("judged again: status %d:\n%s", status, out)
	}
	if status, out := tr.run(t, "-duration", "1s", "-faults", "none"); status != 2 || !strings.Contains(out, "-clean") {
		t.Errorf("run again: status %d:\n%s", status, out)
	}
	for what, statement := range map[string]string{
		"more money":        "update " + judge.AccountsTable + " set balance = balance + 1 where id = 0",
		"half of a payment": "delete from " + judge.EntriesTable + " where id in (select id from " + judge.EntriesTable + " limit 1)",
	} {
		tr.exec(t, tr.path["a"], statement)
		if status, out := tr.run(t, "check", "-told", "run/told", "-patience", "1s"); status != 1 {
			t.Errorf("%s: judged with status %d:\n%s", what, status, out)
		}
	}
	if err := os.RemoveAll(filepath.Join(tr.dir, "run", "told")); err != nil { // of all: one of the workers may have written nothing
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(tr.dir, "run", "told"), 0o777); err != nil {
		t.Fatal(err)
	}
	if status, out := tr.run(t, "check", "-told", "run/told", "-patience", "1s"); status != 1 || !strings.Contains(out, "nobody began it") {
		t.Errorf("without what was told: status %d:\n%s", status, out)
	}
	if status, out := tr.run(t, "-clean", "-log", "sqlite:"+filepath.Join(tr.dir, "log.db")); status != 0 {
		t.Errorf("clean: status %d:\n%s", status, out)
	}
	for _, path := range []string{tr.path["a"], tr.path["b"], filepath.Join(tr.dir, "log.db")} {
		if found := tr.tables(t, path); len(found) > 0 {
			t.Errorf("%s still has %v", path, found)
		}
	}
}

// sharedLog makes the file that a log is going to be made in.
func (tr trial) sharedLog(t *testing.T) string {
	t.Helper()
	path := filepath.Join(tr.dir, "log.db")
	tr.exec(t, path, "pragma journal_mode = wal")
	return path
}

// Who writes beside the run makes it fail, and finds everything kept.
func TestViolationEndsTheRunAndKeepsEverything(t *testing.T) {
	tr := newTrial(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		db := tr.open(t, tr.path["b"])
		for t.Context().Err() == nil { // until there is the table, and no branch keeps others out
			if result, err := db.ExecContext(t.Context(), "update "+judge.AccountsTable+" set balance = balance - 3 where id = 5"); err == nil {
				if n, _ := result.RowsAffected(); n == 1 {
					return
				}
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	status, out := tr.run(t, "-duration", "30m", "-check", "1s", "-faults", "kill", "-every", "300ms", "-dir", "run", "-seed", "11")
	<-done
	if status != 1 {
		t.Fatalf("ended with status %d:\n%s", status, out)
	}
	for _, want := range []string{
		`VIOLATION: b: account 5 holds \d+, its entries make \d+`, `VIOLATION: all databases: hold 127997 together, want 128000`, "seed 11 ", `worker-0\.log`, "run/book-b is what b holds",
	} {
		if !regexp.MustCompile(want).MatchString(out) {
			t.Errorf("it does not print %q:\n%s", want, out)
		}
	}
	for _, path := range []string{"run/told/w0g1", "run/worker-0.log", "run/book-a", "run/logs/worker-0"} {
		if _, err := os.Stat(filepath.Join(tr.dir, path)); err != nil {
			t.Errorf("not kept: %v", err)
		}
	}
	if found := tr.tables(t, tr.path["b"]); len(found) != 3 {
		t.Errorf("b has %v, want three tables", found)
	}
}

// A worker that does not come to an end is a violation, and tells where it hangs.
func TestWorkerThatHangsIsAViolation(t *testing.T) {
	tr := newTrial(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for t.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
			told, err := os.ReadFile(filepath.Join(tr.dir, "run", "told", "w0g1"))
			if err == nil && bytes.Contains(told, []byte("committed")) {
				break
			}
		}
		logs, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, path := range logs {
			env, err := os.ReadFile(path)
			if err == nil && bytes.Contains(env, []byte(workerVariable+"=")) && bytes.Contains(env, []byte(`"Prefix":"w0g1"`)) && bytes.Contains(env, []byte(tr.path["a"])) {
				pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
				_ = syscall.Kill(pid, syscall.SIGSTOP)
			}
		}
	}()
	status, out := tr.run(t, "-duration", "30m", "-check", "3s", "-patience", "4s", "-faults", "none", "-workers", "2", "-dir", "run")
	<-done
	if status != 1 || !strings.Contains(out, "VIOLATION: worker 0 hangs") {
		t.Fatalf("ended with status %d:\n%s", status, out)
	}
	said, err := os.ReadFile(filepath.Join(tr.dir, "run", "worker-0.log"))
	if err != nil || !bytes.Contains(said, []byte("goroutine ")) {
		t.Errorf("it told nothing of its goroutines (%v):\n%s", err, said)
	}
}

func TestWrongUsageSaysWhatToDo(t *testing.T) {
	for args, want := range map[string]string{
		"-engines sqlite":                       "leave out",
		"-faults server":                        "never yours",
		"-faults network":                       "only with -network",
		"-faults earthquake":                    "none of kill",
		"-faults recover":                       "-xa-recover",
		"-workers 0":                            "at least 1",
		"-duration 0s":                          "longer than zero",
		"-dir /proc/no/such":                    "no such",
		"now":                                   "no command",
		"-color":                                "torture -h",
		"check":                                 "needs -told",
		"worker":                                "starts its workers itself",
		"-resource postgres://u:geheim@h":       "NAME=URL",
		"-resource a=postgres://u:geheim@h:x/d": "pgx can't read",
		"-network -resource a=mysql://u:geheim@h/d?socket=/s -duration 1s": "-network needs a URL with one host",
	} {
		t.Run(args, func(t *testing.T) {
			tr := newTrial(t)
			tr.env = append(tr.env, "PATH=")
			status, out := tr.run(t, strings.Fields(args)...)
			if status != 2 || !strings.Contains(out, want) || strings.Contains(out, "geheim") {
				t.Errorf("status %d, want 2 and %q:\n%s", status, want, out)
			}
		})
	}
}

func TestManualTellsEveryFlag(t *testing.T) {
	source, err := os.ReadFile("options.go")
	if err != nil {
		t.Fatal(err)
	}
	manual := usage()
	for _, match := range regexp.MustCompile(`f\.\w+(?:Var)?\((?:&o?\.?\w+, )?"([a-z-]+)"`).FindAllStringSubmatch(string(source), -1) {
		if !strings.Contains(manual, "-"+match[1]) {
			t.Errorf("the manual does not tell of -%s", match[1])
		}
	}
}

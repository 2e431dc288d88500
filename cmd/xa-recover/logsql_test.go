package main

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/sqllog"
)

// newSQLLog makes a new log in a SQLite file this world's log, and returns it open.
func (w *world) newSQLLog() *sqllog.Log {
	w.t.Helper()
	w.dir = w.t.TempDir()
	w.env["XA_LOG"] = "sqlite:" + filepath.Join(w.dir, "xa.db")
	log, err := sqllog.Open(w.t.Context(), w.sqlite("xa.db"), sqllog.SQLite, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { log.Close() })
	w.logID = log.ID
	return log
}

// sqlite opens a file in this world's directory, and makes it.
func (w *world) sqlite(name string) *sql.DB {
	w.t.Helper()
	res, err := connect.Create("log", "sqlite:"+filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { res.DB.Close() })
	return res.DB
}

func TestLogInADatabaseServesEveryCommand(t *testing.T) {
	w := newWorld(t)
	log := w.newSQLLog()
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.prepare(2, 5*time.Minute, "berlin")
	d := txlog.Decision{ID: w.id(1), Outcome: txlog.Committed, Resources: []string{"berlin", "paris"}, At: now.Add(-11 * time.Second)}
	if _, err := log.Decide(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	w.wantStatus(w.run("log", "info"), 0)
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("log", "dump"), 0)
	w.wantStatus(w.run("resolve"), 0)
	w.wantStatus(w.run("show", w.id(1)), 0)
	w.wantStatus(w.run("log", "info", "-o", "json"), 0)
	w.wantStatus(w.run("log", "verify"), 0)
	w.wantStatus(w.run("log", "compact"), 0)
	w.wantStatus(w.run("log", "adopt"), 0)
	w.golden("sql-log")
}

func TestDatabaseThatHoldsNoLogIsLeftAsItIs(t *testing.T) {
	w := newWorld(t)
	w.dir = t.TempDir()
	if _, err := w.sqlite("empty.db").Exec("CREATE TABLE notes (text)"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(w.dir, "notes.txt"), []byte(strings.Repeat("no database. ", 500)), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"empty.db", "no-such.db", "notes.txt", "."} {
		for _, command := range [][]string{{"log", "info"}, {"log", "dump"}, {"log", "compact"}, {"list"}, {"resolve"}} {
			w.wantStatus(w.run(append(command, "--log", "sqlite:"+filepath.Join(w.dir, name))...), 1)
		}
	}
	if _, err := w.sqlite("unused.db").Exec(sqllog.Schema(sqllog.SQLite)); err != nil {
		t.Fatal(err)
	}
	w.wantStatus(w.run("resolve", "--log", "sqlite:"+filepath.Join(w.dir, "unused.db")), 1)
	var id string
	if err := w.sqlite("unused.db").QueryRow("SELECT id FROM xasql_log").Scan(&id); err != nil || id != "" {
		t.Errorf("a log that nobody has used yet has the identity %q now, %v", id, err)
	}
	var tables int
	if err := w.sqlite("empty.db").QueryRow("SELECT count(*) FROM sqlite_schema").Scan(&tables); err != nil || tables != 1 {
		t.Errorf("the database has %d tables now, %v: want notes alone", tables, err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, "no-such.db")); err == nil {
		t.Error("the file was made")
	}
	w.golden("sql-none")
}

func TestServerThatDoesNotAnswerLeaksNoPassword(t *testing.T) {
	w := newWorld(t)
	t.Setenv("XA_LOG_PASSWORD", "geheim")
	for _, url := range []string{"postgres://app@127.0.0.1:1/shop?sslmode=disable", "postgres://app:geheim@127.0.0.1:1/shop?sslmode=disable",
		"mysql://app:geheim@127.0.0.1:1/shop"} {
		w.wantStatus(w.run("log", "info", "--log", url), 1)
		w.wantStatus(w.run("resolve", "--log", url), 1)
	}
	answers := strings.ReplaceAll(w.session.String(), ":geheim@", "@") // as typed
	if strings.Contains(answers, "geheim") {
		t.Errorf("the password was told:\n%s", answers)
	}
}

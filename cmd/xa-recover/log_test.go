package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
)

// goldenLog makes a copy of one of filelog's golden logs this world's log.
func (w *world) goldenLog(name string) {
	w.t.Helper()
	w.dir = filepath.Join(w.t.TempDir(), "xalog")
	if err := os.CopyFS(w.dir, os.DirFS(filepath.Join("../../txlog/filelog/testdata/log/v1", name))); err != nil {
		w.t.Fatal(err)
	}
	w.env["XA_LOG"] = "file:" + w.dir
	w.env["XA_RESOURCES"] = ""
}

// newFileLog makes a new log in files this world's log, and returns it open.
func (w *world) newFileLog() *filelog.Log {
	w.t.Helper()
	w.dir = filepath.Join(w.t.TempDir(), "xalog")
	w.env["XA_LOG"] = "file:" + w.dir
	log, err := filelog.Open(w.dir, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { log.Close() })
	w.logID, w.made = log.ID, true
	return log
}

// unchanged fails the test if f changes the log's files.
func (w *world) unchanged(f func()) {
	w.t.Helper()
	read := func() map[string][]byte {
		files := map[string][]byte{}
		entries, err := os.ReadDir(w.dir)
		if err != nil {
			w.t.Fatal(err)
		}
		for _, e := range entries {
			if e.Name() == "lock" { // tells who tried to open it last
				continue
			}
			if files[e.Name()], err = os.ReadFile(filepath.Join(w.dir, e.Name())); err != nil {
				w.t.Fatal(err)
			}
		}
		return files
	}
	before := read()
	f()
	after := read()
	for name, b := range before {
		if !bytes.Equal(b, after[name]) {
			w.t.Errorf("%s was changed", name)
		}
	}
	if len(after) != len(before) {
		w.t.Errorf("there are %d files now, %d before", len(after), len(before))
	}
}

func TestLogInfoTellsWhatKindOfLogItIs(t *testing.T) {
	w := newWorld(t)
	w.goldenLog("ok")
	w.unchanged(func() {
		w.wantStatus(w.run("log", "info"), 0)
		w.wantStatus(w.run("log", "info", "-o", "json"), 0)
	})
	w.golden("log-info")
}

func TestLogInfoNamesTheLiveOwner(t *testing.T) {
	w := newWorld(t)
	w.newFileLog()
	var stdout, stderr bytes.Buffer
	a := &app{open: opener{readLog: (&app{}).readLog}, getenv: func(key string) string { return w.env[key] }, stdout: &stdout, stderr: &stderr, now: time.Now}
	if status := a.run(t.Context(), []string{"log", "info", "-o", "json"}); status != 0 {
		t.Errorf("exit status %d: %s", status, stderr.String())
	}
	var r infoResult
	if err := json.Unmarshal(stdout.Bytes(), &r); err != nil || !strings.HasPrefix(r.Owner, "pid ") {
		t.Errorf("owner is %q (%v), want a pid", r.Owner, err)
	}
}

func TestLogInfoOfADamagedLogExitsOne(t *testing.T) {
	w := newWorld(t)
	w.goldenLog("flipped-sealed")
	w.wantStatus(w.run("log", "info"), 1)
	w.wantStatus(w.run("log", "info", "-o", "json"), 1)
	w.golden("log-info-damaged")
}

func TestLogIsNeverMade(t *testing.T) {
	w := newWorld(t)
	w.dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(w.dir, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(w.dir, "empty"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"info", "dump", "compact"} {
		for _, place := range []string{"no-such", "empty", "notes.txt", "."} {
			w.wantStatus(w.run("log", command, "--log", "file:"+filepath.Join(w.dir, place)), 1)
		}
	}
	w.wantStatus(w.run("list", "--log", "file:"+w.dir), 1)
	w.wantStatus(w.run("resolve", "--log", "file:"+w.dir+"/no-such"), 1)
	if entries, err := os.ReadDir(w.dir); err != nil || len(entries) != 2 {
		t.Errorf("%d entries, %v: want notes.txt and empty alone", len(entries), err)
	}
	if entries, err := os.ReadDir(filepath.Join(w.dir, "empty")); err != nil || len(entries) != 0 {
		t.Errorf("the empty directory has %d entries now, %v", len(entries), err)
	}
	w.golden("log-none")
}

func TestLogOfAFutureVersionIsRefused(t *testing.T) {
	w := newWorld(t)
	w.goldenLog("future-version")
	w.unchanged(func() {
		for _, command := range []string{"info", "dump", "compact"} {
			w.wantStatus(w.run("log", command), 1)
		}
	})
	w.golden("log-future")
}

func TestDamagedLogShowsWhatCanBeRead(t *testing.T) {
	w := newWorld(t)
	log := w.newFileLog()
	// 1 and 3 are decided; the bytes of 2 go bad. Nobody can tell any more whether 2 or 4 was.
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.prepare(2, 5*time.Minute, "berlin")
	w.prepare(3, time.Hour, "paris")
	w.prepare(4, time.Minute, "berlin")
	for i, resources := range [][]string{{"berlin", "paris"}, {"berlin"}, {"paris"}} {
		if _, err := log.Decide(t.Context(), txlog.Decision{ID: w.id(i + 1), Outcome: txlog.Committed, Resources: resources, At: now.Add(-time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	w.flip("00000001.xalog", w.id(2))
	w.unchanged(func() {
		w.wantStatus(w.run("list"), 1)
		w.wantStatus(w.run("list", "-o", "json"), 1)
		w.wantStatus(w.run("resolve"), 1)
		w.wantStatus(w.run("resolve", "--dry-run"), 1)
		w.wantStatus(w.run("show", w.id(1)), 1)
		w.wantStatus(w.run("show", w.id(2)), 1)
		w.wantStatus(w.run("log", "compact"), 1)
	})
	if b, p := w.dbs["berlin"].Stats().Prepared, w.dbs["paris"].Stats().Prepared; b != 3 || p != 2 {
		t.Errorf("berlin holds %d branches and paris %d, want 3 and 2: a damaged log settled something", b, p)
	}
	w.golden("log-damaged")
}

// flip spoils the first occurrence of the text in the log's file.
func (w *world) flip(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	i := bytes.Index(b, []byte(text))
	if i < 0 {
		w.t.Fatalf("%s does not hold %q", name, text)
	}
	b[i+len(text)-1] ^= 0x20
	if err := os.WriteFile(path, b, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func TestLogSchemaIsThatOfTheDialectOrTheURL(t *testing.T) {
	for _, args := range [][]string{
		{"log", "schema", "postgres"},
		{"log", "schema", "mariadb"},
		{"log", "schema", "--log", "sqlite:/no/such/file"},
	} {
		w := newWorld(t)
		w.wantStatus(w.run(args...), 0)
	}
}

func TestWrongUsageOfLogCommandsExitsTwo(t *testing.T) {
	w := newWorld(t)
	w.env["XA_LOG"] = ""
	for _, args := range [][]string{
		{"log"},
		{"log", "bogus"},
		{"log", "info"},
		{"log", "dump", "extra"},
		{"log", "schema"},
		{"log", "schema", "oracle"},
		{"log", "schema", "mysql", "sqlite"},
		{"log", "schema", "--log", "file:/var/lib/shop/xalog"},
		{"log", "compact", "--retention", "0s", "--log", "file:/var/lib/shop/xalog"},
		{"log", "info", "--log", "/var/lib/shop/xalog"},
		{"log", "info", "--log", "oracle://app:geheim@h/d"},
		{"log", "info", "--log", "postgres://app:gehe@im@h/d"},
		{"log", "info", "--log", "mysql://h/d?password=geheim"},
		{"log", "info", "--log", "sqlite:"},
	} {
		w.wantStatus(w.run(args...), 2)
	}
	w.golden("log-usage")
}

func TestHelpFitsATerminal(t *testing.T) {
	for _, command := range []string{"", "info", "dump", "verify", "compact", "adopt", "schema"} {
		w := newWorld(t)
		w.wantStatus(w.run("log", command, "--help"), 0)
		for line := range strings.Lines(w.session.String()) {
			if len(line) > 120 {
				t.Errorf("log %s: %d columns: %s", command, len(line), line)
			}
		}
	}
}

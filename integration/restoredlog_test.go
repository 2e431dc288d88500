package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/crash"
	"github.com/xasql/xasql/txlog/filelog"
)

// The log is put back as it was before a transaction of which the first branch has committed, as from a backup that was unpacked in its place. The file
// proves that it has committed, so the other branch is committed too, and not rolled back for want of a decision; and a person is told.
func TestRestoredLogLeavesNoHalfWhereAFileProvesTheCommit(t *testing.T) {
	dir := t.TempDir()
	pg := named(t, "postgres:17").Server(t)
	cases := []matrixCase{
		restoredCase(dir, "files", "sqlite:"+filepath.Join(dir, "files-b.db")),
		restoredCase(dir, "server", pg.NewDatabase(t)),
	}
	told := make([]crash.Case, len(cases))
	old := make([]map[string][]byte, len(cases))
	for i, c := range cases {
		for _, s := range c.Sides {
			database{name: s.Name, url: s.URL}.exec(t, crash.Table, "insert into crashes (id, hits) values (1, 0)")
		}
		log, err := filelog.Open(c.Log, nil)
		if err == nil {
			err = log.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		old[i] = restoredRead(t, c.Log)
		told[i] = c.Case
	}
	file := filepath.Join(dir, "cases.json")
	text, err := json.Marshal(told)
	if err == nil {
		err = os.WriteFile(file, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := startParking(t, "work", file)
	p.await(t, "parked", cases)
	p.kill(t)
	for i, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			restoredHits(t, c, 1, 0)
			restoredWrite(t, c.Log, old[i])
			restoredTells(t, c, 3, "1 to commit", "resolve", "--dry-run")
			restoredHits(t, c, 1, 0)
			restoredTells(t, c, 4, "Committed 1 branch", "resolve")
			restoredHits(t, c, 1, 1)
			restoredTells(t, c, 4, "", "list")
		})
	}
}

// restoredCase is a transaction over a file and another database, and is to be killed when the file alone has committed.
func restoredCase(dir, id, other string) matrixCase {
	kind, _, _ := strings.Cut(other, ":")
	return matrixCase{Case: crash.Case{ID: id, Point: "committed-one", Log: filepath.Join(dir, id+"-log"), Row: 1, Sides: [2]crash.Side{
		{Name: "a-sqlite", URL: "sqlite:" + filepath.Join(dir, id+"-a.db")}, {Name: "b-" + kind, URL: other}}}}
}

// restoredRead returns the files of a log's directory.
func restoredRead(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if err == nil {
			files[e.Name()], err = os.ReadFile(filepath.Join(dir, e.Name()))
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// restoredWrite puts the files back in place of those that are there.
func restoredWrite(t *testing.T, dir string, files map[string][]byte) {
	t.Helper()
	now := restoredRead(t, dir)
	if maps.EqualFunc(now, files, slices.Equal[[]byte]) {
		t.Fatal("the log is as it was before the transaction")
	}
	for name := range now {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// restoredTells lets xa-recover run, and fails the test unless it tells what the log lacks, and what is done with the other branch.
func restoredTells(t *testing.T, c matrixCase, status int, action string, args ...string) {
	t.Helper()
	resources := c.Sides[0].Name + "=" + c.Sides[0].URL + "\n" + c.Sides[1].Name + "=" + c.Sides[1].URL
	p := startProgram(t, []string{"XA_LOG=file:" + c.Log, "XA_RESOURCES=" + resources}, nil, "xa-recover", args...)
	p.want(t, status)
	out := p.stderr.String()
	for _, want := range []string{"was the log restored from an old copy?", "a-sqlite", action} {
		if !strings.Contains(out, want) {
			t.Errorf("xa-recover %s does not tell %q:\n%s", strings.Join(args, " "), want, out)
		}
	}
	if testing.Verbose() {
		t.Logf("xa-recover %s:\n%s", strings.Join(args, " "), out)
	}
}

// restoredHits compares what the two databases hold.
func restoredHits(t *testing.T, c matrixCase, want ...int) {
	t.Helper()
	for i, s := range c.Sides {
		db := database{name: s.Name, url: s.URL}.open(t)
		var hits int
		err := db.QueryRowContext(t.Context(), fmt.Sprintf("select hits from crashes where id = %d", c.Row)).Scan(&hits)
		db.Close()
		if err != nil || hits != want[i]*crash.Hit {
			t.Errorf("%s holds %d hits, want %d: %v", s.Name, hits, want[i]*crash.Hit, err)
		}
	}
}

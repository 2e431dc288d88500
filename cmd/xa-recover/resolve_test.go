package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
)

func TestQuietSaysNothingWhenAllIsWellAndOneLineWhenNot(t *testing.T) {
	w := newWorld(t)
	w.wantStatus(w.run("resolve", "--quiet"), 0)
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.wantStatus(w.run("resolve", "--quiet"), 0)
	w.prepare(4, 12*time.Second, "berlin")
	w.wantStatus(w.run("resolve", "--quiet", "--min-age", "1m"), 3) // young: the application is about to finish it
	w.wantStatus(w.run("resolve", "--quiet", "--min-age", "12s"), 0)
	w.owned = true
	w.prepare(5, 12*time.Second, "berlin")
	w.wantStatus(w.run("resolve", "--quiet"), 3) // in the hands of somebody alive
	w.prepare(5, 2*time.Minute, "berlin")
	w.wantStatus(w.run("resolve", "--quiet"), 3) // who is slow
	w.owned = false
	w.wantStatus(w.run("resolve", "--quiet"), 0)
	w.prepare(3, 12*time.Second, "berlin", "paris")
	w.dbs["paris"].Down(true)
	w.wantStatus(w.run("resolve", "-q"), 3)
	w.dbs["paris"].Down(false)
	w.log.Reopen()
	w.noteHeuristic()
	w.wantStatus(w.run("resolve", "-q"), 4)
	w.logErr = errors.New("filelog: no such directory")
	w.wantStatus(w.run("resolve", "-q"), 1)
	w.golden("quiet")
}

func TestMinAgeLeavesYoungBranches(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.prepare(2, 5*time.Minute, "berlin")
	w.wantStatus(w.run("resolve", "--min-age", "1m"), 3)
	w.wantStatus(w.run("resolve", "--min-age", "-1m"), 2)
	w.golden("min-age")
	if b, p := w.dbs["berlin"].Stats().Prepared, w.dbs["paris"].Stats().Prepared; b != 1 || p != 1 {
		t.Errorf("berlin holds %d branches and paris %d, want 1 and 1", b, p)
	}
}

func TestSecondRunUnderOneLockDoesNothing(t *testing.T) {
	w := newWorld(t)
	w.dir = filepath.Join(t.TempDir(), "lock")
	w.prepare(1, 12*time.Second, "berlin", "paris")
	held, err := lockFile(w.dir)
	if err != nil || held == nil {
		t.Fatal(held, err)
	}
	w.wantStatus(w.run("resolve", "--lock", w.dir), 3)
	if n := w.dbs["berlin"].Stats().Prepared; n != 1 {
		t.Errorf("berlin holds %d branches", n)
	}
	held.Close()
	w.wantStatus(w.run("resolve", "--lock", w.dir), 0)
	w.wantStatus(w.run("resolve", "--lock", w.dir+"/none/lock"), 1)
	w.golden("lock")
}

func TestMetricsFileIsReplacedInOneStep(t *testing.T) {
	w := newWorld(t)
	dir := t.TempDir()
	w.dir = filepath.Join(dir, "xa.prom")
	show := func() {
		t.Helper()
		text, err := os.ReadFile(w.dir)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&w.session, "%s\n", text)
	}
	w.prepare(1, 12*time.Second, "berlin")
	w.prepare(2, 5*time.Minute, "paris")
	w.strangers()
	w.dbs["paris"].Fail(memdb.OpRollbackPrepared, memdb.Fault{Err: errors.New("memdb: permission denied")})
	w.wantStatus(w.run("resolve", "--metrics", w.dir, "--quiet"), 3)
	show()
	w.logErr = errors.New("filelog: no such directory")
	w.wantStatus(w.run("resolve", "--metrics", w.dir), 1)
	show()
	w.logErr = nil
	w.wantStatus(w.run("resolve", "--metrics", w.dir+"/none/xa.prom"), 1)
	w.wantStatus(w.run("list", "--metrics", w.dir), 0)
	show()
	w.logErr = errors.New("filelog: no such directory")
	w.wantStatus(w.run("list", "--metrics", w.dir), 1)
	show()
	w.golden("metrics")
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("files: %v", files)
	}
	if info, _ := os.Stat(w.dir); info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestWatchTellsWhatChangedAndEndsWithTheLastStatus(t *testing.T) {
	w := newWorld(t)
	ctx, cancel := context.WithCancel(t.Context())
	runs := 0
	w.onOpen = func() {
		switch runs++; runs {
		case 2:
			w.prepare(1, 12*time.Second, "berlin", "paris")
		case 4:
			w.logErr = errors.New("filelog: no such directory")
		case 5:
			w.logErr = nil
			w.dbs["paris"].Down(true)
		case 7:
			cancel()
		}
	}
	w.wantStatus(w.runContext(ctx, "resolve", "--watch", "1ms"), 3)
	w.golden("watch")
	if runs != 7 {
		t.Errorf("%d runs", runs)
	}
}

func TestWatchTakesNoWordForOneRun(t *testing.T) {
	w := newWorld(t)
	w.wantStatus(w.run("resolve", "--watch", "1m", "--rebind", "berlin"), 2)
	w.wantStatus(w.run("resolve", "--watch", "1m", "--adopt", "otherlog"), 2)
	w.wantStatus(w.run("resolve", "--watch", "-1m"), 2)
	w.wantStatus(w.run("resolve", "--adopt", "otherlog.01"), 2)
	w.golden("usage-resolve-word")
}

func TestLostLogIsAdoptedAsFarAsIsProven(t *testing.T) {
	w := newWorld(t)
	w.made = true
	lost := func(n int) string { return fmt.Sprintf("otherlog.01JD%022d", n) }
	for n := range 3 {
		w.dbs["berlin"].Stranger(drivers.Prepared{
			XID: drivers.XID{FormatID: drivers.FormatID, GTRID: lost(n), BQual: "berlin"}, At: now.Add(-time.Hour), Owner: "app"}, true)
	}
	w.proven = map[string]bool{lost(0): true, lost(1): false} // in paris
	w.wantStatus(w.run("list"), 0)
	w.wantStatus(w.run("list", "--all"), 0)
	w.wantStatus(w.run("commit", lost(2), "--why", "paid", "--yes"), 1)
	w.wantStatus(w.run("resolve", "--adopt", "otherlog", "--dry-run"), 3)
	w.wantStatus(w.run("resolve", "--adopt", "otherlog"), 2)
	w.wantStatus(w.run("resolve", "--adopt", "otherlgo", "--yes"), 2)
	w.wantStatus(w.run("resolve", "--adopt", w.logID(), "--dry-run"), 2)
	w.stdin = "yes\n"
	w.wantStatus(w.run("resolve", "--adopt", "otherlog"), 3)
	w.wantStatus(w.run("rollback", lost(2), "--why", "the customer says so", "--adopt"), 0)
	w.wantStatus(w.run("list", "--all"), 0)
	w.golden("adopt")
	if n := w.dbs["berlin"].Stats().Prepared; n != 0 {
		t.Errorf("berlin holds %d branches", n)
	}
}

func TestProgressIsToldOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // whose clock stands still between two calls, as a machine's need not
		var told strings.Builder
		p := (&app{stderr: &told, terminal: true}).progress()
		p.tell("orders", 1, 10_000)
		p.tell("orders", 2, 10_000) // within the same moment
		p.tell("stock", 1, 99)
		p.end()
		if got, want := told.String(), "\rorders: 1 of 10000\x1b[K\r\x1b[K"; got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	})
}

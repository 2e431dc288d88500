package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// faultDisk is a small disk of its own.
type faultDisk struct {
	t   *testing.T
	dir string
}

// newFaultDisk mounts one, for whoever may write to it.
func newFaultDisk(t *testing.T, size string) *faultDisk {
	t.Helper()
	d := &faultDisk{t, t.TempDir()}
	if err := syscall.Mount("pgfaults", d.dir, "tmpfs", 0, "mode=777,size="+size); err != nil {
		if os.Getenv("XA_REQUIRE") != "" {
			t.Fatalf("mount a tmpfs: %v", err)
		}
		t.Skipf("SKIPPED: to mount a tmpfs takes root, and here it fails: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(d.dir, 0); err != nil {
			t.Error(err)
		}
	})
	return d
}

// fill leaves no room on the disk.
func (d *faultDisk) fill() {
	f, err := os.Create(filepath.Join(d.dir, "filler"))
	if err != nil {
		d.t.Error(err)
		return
	}
	defer f.Close()
	for chunk := make([]byte, 1<<20); len(chunk) > 0; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			chunk = chunk[:len(chunk)/2]
		} else if err != nil {
			d.t.Error(err)
			return
		}
	}
}

// free makes room again.
func (d *faultDisk) free() {
	if err := os.Remove(filepath.Join(d.dir, "filler")); err != nil {
		d.t.Error(err)
	}
}

// pgfFull is a world whose first database's server is on a disk that gets full.
type pgfFull struct {
	*faultWorld
	disk   *faultDisk
	server *engines.Server
}

// A disk that is full under PostgreSQL, at any step: both databases agree as soon as there is room again, and what the application was told is
// true. Where the write-ahead log has no room the server ends, and does not start before it has.
func TestPostgresFullDisk(t *testing.T) {
	t.Parallel()
	e := named(t, "postgres:18")
	disk := newFaultDisk(t, "200m")
	s := e.Own(t, engines.Own{
		Env:    []string{"POSTGRES_INITDB_ARGS=--wal-segsize=1", "PGDATA=/disk/data"},
		Mounts: []string{disk.dir + ":/disk"},
		// Nothing is to be written but what the test asks for.
		Args: []string{"-c", "max_prepared_transactions=20", "-c", "min_wal_size=2MB", "-c", "checkpoint_timeout=1d", "-c", "autovacuum=off"},
	})
	w := &pgfFull{newFaultWorld(t, newFaultBank(t, s), faultSetUp{}), disk, s}
	w.exec("create table big (v text)", "alter table big alter v set storage external")
	t.Run("work", w.atWork)
	t.Run("checkpoint of a prepared branch", w.atCheckpoint)
	for _, c := range []struct {
		name, point string
		fate        faultFate
	}{
		{"PREPARE", "prepare-start", fateRolledBack},
		{"COMMIT PREPARED", "commit-start", fateCommitted},
	} {
		t.Run(c.name, func(t *testing.T) { w.atRecord(t, c.point, c.fate) })
	}
	w.end()
}

func (w *pgfFull) atWork(t *testing.T) {
	x := w.transfer(faultWork{after: func(ctx context.Context, b *xa.Branch) error {
		w.disk.fill()
		_, err := b.ExecContext(ctx, "insert into big select repeat('x', 1000000) from generate_series(1, 300)")
		return err
	}})
	w.disk.free()
	w.want(t, x, fateRolledBack)
	if !strings.Contains(fmt.Sprint(x.err), "No space left on device") {
		t.Errorf("told %v", x.err)
	}
}

// want starts the server if it has ended, and goes on as faultWorld's.
func (w *pgfFull) want(t *testing.T, x faultTransfer, want faultFate) {
	t.Helper()
	w.server.Revive(t)
	w.faultWorld.want(t.Name(), x, want)
}

// atCheckpoint has a checkpoint fail that would write the branch's state to a file, and kills the server then.
func (w *pgfFull) atCheckpoint(t *testing.T) {
	w.at("decide-start", func(string) {
		w.disk.fill()
		if _, err := w.admin.ExecContext(t.Context(), "checkpoint"); err == nil {
			t.Error("the checkpoint did not fail: nothing is proved")
		}
		w.server.Kill(t)
		w.disk.free()
		w.server.Start(t)
	})
	w.want(t, w.transfer(faultWork{}), fateCommitted)
}

// atRecord leaves the next record of the write-ahead log no room.
func (w *pgfFull) atRecord(t *testing.T, point string, want faultFate) {
	w.at(point, func(string) { w.exhaustWAL() })
	x := w.transfer(faultWork{})
	w.disk.free()
	w.want(t, x, want)
}

// exhaustWAL fills the disk, and then the segment that the server writes to, but for less than a record takes. The server writes records of its own, too: if it
// comes to the end before, it has ended, and that is the full disk as well.
func (w *pgfFull) exhaustWAL() {
	w.disk.fill()
	const segment = 1 << 20
	for {
		var left, ahead int
		err := w.admin.QueryRowContext(w.t.Context(), fmt.Sprintf(`select (%d - (pg_current_wal_insert_lsn() - '0/0') %% %[1]d)::int,
			(select count(*) from pg_ls_waldir() where name > pg_walfile_name(pg_current_wal_insert_lsn()) and name ~ '^[0-9A-F]{24}$')`, segment)).Scan(&left, &ahead)
		if err != nil || ahead == 0 && left < 200 {
			return
		}
		size := left - 150
		if ahead > 0 {
			size = left
		} else if left > 5000 {
			size = left - left/100 - 4500 // pages have headers
		}
		if _, err := w.admin.ExecContext(w.t.Context(), fmt.Sprintf("select pg_logical_emit_message(false, '', repeat('x', %d))", size)); err != nil {
			return
		}
	}
}

// A disk that is full under the log of decisions: nothing can be decided, and all is rolled back, until there is room and the log is opened
// anew. What needs no decision goes on.
func TestPostgresWithAFullDiskUnderTheLog(t *testing.T) {
	disk := newFaultDisk(t, "4m")
	b := newFaultBank(t, named(t, "postgres:17").Server(t))
	b.log = "file:" + filepath.Join(disk.dir, "log")
	w := newFaultWorld(t, b, faultSetUp{options: &filelog.Options{SegmentSize: 4 << 10}})
	w.works()
	w.at("decide-start", func(string) { disk.fill() })
	var x faultTransfer
	for i := 0; x.err == nil; i++ { // there is room that the log has taken before
		if x = w.transfer(faultWork{}); i == 1000 {
			t.Fatal("the log never was full")
		}
	}
	w.reached("decide-start")
	for range 2 {
		if x.outcome() != ledger.RolledBack || !errors.Is(x.err, txlog.ErrNotDecided) || w.there(x) != 0 {
			t.Errorf("told %s (%v), and in %d databases", x.outcome(), x.err, w.there(x))
		}
		x = w.transfer(faultWork{})
	}
	if x := w.transfer(faultWork{only: true}); x.err != nil {
		t.Errorf("a transfer in one database needs no decision: %v", x.err)
	}
	w.crash()
	disk.free()
	w.open()
	w.works()
	w.end()
}

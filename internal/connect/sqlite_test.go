package connect

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
)

func TestSQLitePathIsTakenAsItIs(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	for _, path := range []string{
		"plain.db", "with space.db", "a?mode=memory", "a#b", "50%25.db", "a%20b", "a&b=c;d", "ü.db", ":x:", "a+b",
		filepath.Join(dir, "absolute?.db"), "//" + filepath.Join(dir, "three slashes.db"),
	} {
		created, err := Create("orders", "sqlite:"+path)
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if _, err := created.DB.ExecContext(t.Context(), `CREATE TABLE t (x)`); err != nil {
			t.Errorf("%q: create: %v", path, err)
		}
		created.DB.Close()
		if _, err := os.Stat(path); err != nil {
			t.Errorf("%q: the file has another name: %v", path, err)
		}
		res, err := Resource("orders", "sqlite:"+path)
		if err != nil {
			t.Errorf("%q: %v", path, err)
			continue
		}
		if _, err := res.DB.ExecContext(t.Context(), `INSERT INTO t VALUES (1)`); err != nil {
			t.Errorf("%q: open again: %v", path, err)
		}
		res.DB.Close()
	}
}

func TestMissingSQLiteFileIsNamedAndNotCreated(t *testing.T) {
	path := filepath.Join(t.TempDir(), "missing?.db")
	res, err := Resource("orders", "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer res.DB.Close()
	if err := res.DB.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("got %v, want an error that names %q", err, path)
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the file was created: %v", err)
	}
}

func TestDirectoryIsNoSQLiteFile(t *testing.T) {
	dir := t.TempDir()
	res, err := Resource("orders", "sqlite:"+dir)
	if err != nil {
		t.Fatal(err)
	}
	defer res.DB.Close()
	if err := res.DB.PingContext(t.Context()); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("got %v", err)
	}
}

func TestConnectionsSyncEveryCommitAndKeepTheJournalMode(t *testing.T) {
	path := filepath.Join(t.TempDir(), "orders.db")
	for _, open := range []func(name, url string) (drivers.Resource, error){Create, Resource} {
		res, err := open("orders", "sqlite:"+path)
		if err != nil {
			t.Fatal(err)
		}
		defer res.DB.Close()
		var journal, synchronous string
		if err := res.DB.QueryRowContext(t.Context(), `PRAGMA journal_mode`).Scan(&journal); err != nil {
			t.Fatal(err)
		}
		if err := res.DB.QueryRowContext(t.Context(), `PRAGMA synchronous`).Scan(&synchronous); err != nil {
			t.Fatal(err)
		}
		if journal != "wal" || synchronous != "2" {
			t.Errorf("journal_mode is %s and synchronous %s, want wal and 2 (full)", journal, synchronous)
		}
	}
}

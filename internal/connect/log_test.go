package connect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/txlog/sqllog"
)

// An empty new log in place of a mistyped one would take everything in doubt for another log's.
func TestMissingLogIsAnErrorAndNotCreated(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "xalog")
	if _, err := open(t, "file:"+dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open: got %v, want fs.ErrNotExist", err)
	}
	if _, err := ReadLog("file:" + dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadLog: got %v, want fs.ErrNotExist", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was created: %v", err)
	}
}

func TestLogIsReadBesideItsOwner(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "xa#log 50%")
	owner, err := filelog.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if log, err := open(t, "file:"+dir); !errors.Is(err, txlog.ErrOwned) || log != nil {
		t.Errorf("Open: got %v, %v, want ErrOwned", log, err)
	}
	log, err := ReadLog("file:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	if log.ID() != owner.ID() {
		t.Errorf("it is another log: %q, not %q", log.ID(), owner.ID())
	}
	if err := errors.Join(log.Close(), owner.Close()); err != nil {
		t.Fatal(err)
	}
	if log, err = open(t, "file:"+dir); err != nil {
		t.Fatalf("after its owner's end: %v", err)
	}
	log.Close()
}

func open(t *testing.T, url string) (txlog.Log, error) {
	t.Helper()
	u, err := ParseLog(url)
	if err != nil {
		t.Fatal(err)
	}
	return u.Open(t.Context(), LogOptions{})
}

func TestLogURLNamesDirectoryOrDialect(t *testing.T) {
	for _, c := range []struct {
		url     string
		dir     string
		dialect sqllog.Dialect
	}{
		{"file:/var/lib/xa log", "/var/lib/xa log", sqllog.Dialect{}},
		{"postgres://app@h/d", "", sqllog.Postgres},
		{"postgresql://app:p%40@h/d", "", sqllog.Postgres},
		{"mysql://app@h/d", "", sqllog.MySQL},
		{"mariadb://app@h/d", "", sqllog.MySQL},
		{"sqlite:/var/lib/xa.db", "", sqllog.SQLite},
	} {
		u, err := ParseLog(c.url)
		if err != nil || u.Dir != c.dir || u.Dialect != c.dialect {
			t.Errorf("ParseLog(%q) = %q, %q, %v", c.url, u.Dir, u.Dialect, err)
		}
	}
}

func TestLogsPasswordIsInAVariableOfItsOwn(t *testing.T) {
	t.Setenv("XA_LOG_PASSWORD", "geheim")
	config, err := postgresConfig(account{name: logName}, "postgres://app@h/d")
	if err != nil || config.Password != "geheim" {
		t.Errorf("got %v, want the password of XA_LOG_PASSWORD", err)
	}
}

package connect

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
)

// An empty new log in place of a mistyped one would take everything in doubt for another log's.
func TestMissingLogIsAnErrorAndNotCreated(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "xalog")
	if _, err := Log("file:"+dir, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Log: got %v, want fs.ErrNotExist", err)
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
	if log, err := Log("file:"+dir, nil); !errors.Is(err, txlog.ErrOwned) || log != nil {
		t.Errorf("Log: got %v, %v, want ErrOwned", log, err)
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
	if log, err = Log("file:"+dir, nil); err != nil {
		t.Fatalf("after its owner's end: %v", err)
	}
	log.Close()
}

package filelog

import (
	"io"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"

	"github.com/xasql/xasql/internal/logfs"
)

// A test builds xa-recover with this file in package filelog, by go build -overlay: the process then kills itself at the change of the log's
// files whose number XA_TEST_KILL_AT gives. Half of what it writes then is written; any other change is made whole, and nobody hears of it.

// killedDir is a directory of the operating system that the process changes so many times more.
type killedDir struct {
	osDir
	left *atomic.Int64
}

func killedAt(d osDir) fileSystem {
	n, err := strconv.ParseInt(os.Getenv("XA_TEST_KILL_AT"), 10, 64)
	if err != nil {
		return d
	}
	left := new(atomic.Int64)
	left.Store(n)
	return killedDir{d, left}
}

// change makes a change. It does not return from the last one.
func (d killedDir) change(f func() error) error {
	last := d.left.Add(-1) == 0
	err := f()
	if last {
		die()
	}
	return err
}

func die() {
	_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	select {} // the signal may take a moment; nothing more may happen
}

func (d killedDir) Open(name string, write bool) (file, error) {
	f, err := d.osDir.Open(name, write)
	if err != nil {
		return nil, err
	}
	return killedFile{f, d}, nil
}

func (d killedDir) Create(name string) (f file, err error) {
	err = d.change(func() error { f, err = d.osDir.Create(name); return err })
	if err != nil {
		return nil, err
	}
	return killedFile{f, d}, nil
}

func (d killedDir) Lock() (lock io.Closer, err error) {
	err = d.change(func() error { lock, err = d.osDir.Lock(); return err })
	return lock, err
}

func (d killedDir) Rename(from, to string) error {
	return d.change(func() error { return d.osDir.Rename(from, to) })
}

func (d killedDir) Remove(name string) error {
	return d.change(func() error { return d.osDir.Remove(name) })
}

func (d killedDir) SyncDir() error { return d.change(d.osDir.SyncDir) }

type killedFile struct {
	logfs.File
	dir killedDir
}

func (f killedFile) WriteAt(b []byte, at int64) (int, error) {
	if f.dir.left.Add(-1) == 0 {
		_, _ = f.File.WriteAt(b[:len(b)/2], at)
		die()
	}
	return f.File.WriteAt(b, at)
}

func (f killedFile) Truncate(size int64) error {
	return f.dir.change(func() error { return f.File.Truncate(size) })
}

func (f killedFile) Sync() error { return f.dir.change(f.File.Sync) }

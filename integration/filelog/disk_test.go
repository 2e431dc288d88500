package filelog

import (
	"errors"
	"io"
	"math/rand/v2"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/xasql/xasql/internal/logfs"
)

// disk is a directory of pebble's file system, as filelog sees it. One operation runs at a time, so that a crash comes between two of them.
type disk struct {
	mem *vfs.MemFS
	fs  vfs.FS // mem, and errors

	mu      sync.Mutex // guards what follows, and is held during each operation
	ops     int
	at      int // the operation that goes wrong, counted from 1
	crash   *vfs.CrashCloneCfg
	after   *vfs.MemFS // what the crash left; nothing works here any more once it is set
	renames int
}

const dir = "/log"

var errInjected = errors.New("injected")

// newDisk returns a disk of which the operation at goes wrong: it fails once, or with crash, which says what is left then, it and all that follow.
func newDisk(mem *vfs.MemFS, at int, crash *vfs.CrashCloneCfg) *disk {
	d := &disk{mem: mem, at: at, crash: crash}
	d.fs = errorfs.Wrap(mem, errorfs.InjectorFunc(d.inject))
	return d
}

func (d *disk) inject(errorfs.Op) error {
	if d.after != nil {
		return errInjected
	}
	if d.ops++; d.ops != d.at {
		return nil
	}
	if d.crash != nil {
		d.after = d.next(*d.crash)
	}
	return errInjected
}

// left returns what the next process finds: after the crash if there was one, or else now, when this process is killed.
func (d *disk) left(cfg vfs.CrashCloneCfg) *vfs.MemFS {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.after == nil {
		d.after = d.next(cfg)
	}
	return d.after
}

// next returns what a crash leaves. When all is left only the process was killed: the next one sees what was not synced, and may yet lose it.
func (d *disk) next(cfg vfs.CrashCloneCfg) *vfs.MemFS {
	if cfg.UnsyncedDataPercent == 100 {
		return d.mem
	}
	return d.mem.CrashClone(cfg)
}

func percent(p int, r *rand.Rand) vfs.CrashCloneCfg {
	return vfs.CrashCloneCfg{UnsyncedDataPercent: p, RNG: r}
}

func (d *disk) path(name string) string { return d.fs.PathJoin(dir, name) }

func (d *disk) Make() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(d.fs, "/")
}

func syncDir(fs vfs.FS, name string) error {
	f, err := fs.OpenDir(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fs.List(dir)
}

func (d *disk) Open(name string, write bool) (logfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.fs.Open(d.path(name))
	if write {
		if err == nil {
			err = f.Close()
		}
		if err == nil {
			f, err = d.fs.OpenReadWrite(d.path(name), vfs.WriteCategoryUnspecified)
		}
	}
	if err != nil {
		return nil, err
	}
	return &file{d, f}, nil
}

func (d *disk) Create(name string) (logfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.fs.Create(d.path(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	return &file{d, f}, nil
}

func (d *disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.renames++
	return d.fs.Rename(d.path(from), d.path(to))
}

func (d *disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fs.Remove(d.path(name))
}

func (d *disk) SyncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return syncDir(d.fs, dir)
}

func (d *disk) Lock() (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fs.Create(d.path("lock"), vfs.WriteCategoryUnspecified) // pebble's lock does not end with a process
}

type file struct {
	disk *disk
	f    vfs.File
}

func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.f.ReadAt(p, off)
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.f.WriteAt(p, off)
}

func (f *file) size() (int64, error) {
	fi, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f *file) Size() (int64, error) {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.size()
}

// Truncate writes zeros, since pebble's files can't be cut. To the log a tail of zeros is none.
func (f *file) Truncate(size int64) error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	was, err := f.size()
	if err != nil || was <= size {
		return err
	}
	_, err = f.f.WriteAt(make([]byte, was-size), size)
	return err
}

func (f *file) Sync() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.f.Sync()
}

func (f *file) Close() error {
	f.disk.mu.Lock()
	defer f.disk.mu.Unlock()
	return f.f.Close()
}

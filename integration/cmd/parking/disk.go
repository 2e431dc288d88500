package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/xasql/xasql/internal/logfs"
)

// disk is the directory of a trial's log. What is written to a file is kept in memory until the file is synced, so that SIGKILL loses it, as it is
// lost when the power fails. Names are durable at once.
type disk struct {
	dir  string
	keep bool // what is written is the file's before the sync
	at   func(event string)

	mu     sync.Mutex        // guards caches
	caches map[string]*cache // by the file's name
}

// cache is what was written to a file and not synced, whoever has it open.
type cache struct {
	mu     sync.Mutex // guards writes
	writes []write
}

type write struct {
	at   int64
	data []byte
}

func newDisk(dir string, keep bool, at func(event string)) *disk {
	return &disk{dir: dir, keep: keep, at: at, caches: map[string]*cache{}}
}

func (d *disk) path(name string) string { return filepath.Join(d.dir, name) }

func (d *disk) Make() error { return os.MkdirAll(d.dir, 0o700) }

func (d *disk) List() ([]string, error) {
	entries, err := os.ReadDir(d.dir)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (d *disk) Open(name string, write bool) (logfs.File, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	return d.open(name, flag)
}

func (d *disk) Create(name string) (logfs.File, error) {
	d.forget(name)
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}

func (d *disk) open(name string, flag int) (logfs.File, error) {
	f, err := os.OpenFile(d.path(name), flag, 0o600)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.caches[name] == nil {
		d.caches[name] = &cache{}
	}
	return &file{f, d, d.caches[name]}, nil
}

func (d *disk) forget(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.caches, name)
}

// Rename is an event where a compaction puts its result in the place of a segment.
func (d *disk) Rename(from, to string) error {
	if _, err := os.Stat(d.path(to)); err == nil {
		d.at("log-rename")
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.caches[to] = d.caches[from]
	delete(d.caches, from)
	return os.Rename(d.path(from), d.path(to))
}

func (d *disk) Remove(name string) error {
	d.at("log-remove")
	d.forget(name)
	return os.Remove(d.path(name))
}

func (d *disk) SyncDir() error { return nil }

// Lock is the lock that xa-recover looks at.
func (d *disk) Lock() (io.Closer, error) {
	f, err := os.OpenFile(d.path("lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", f.Name(), err), f.Close())
	}
	return f, nil
}

// file is an open file of the disk.
type file struct {
	f    *os.File
	disk *disk
	*cache
}

func (f *file) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.writes = append(f.writes, write{off, append([]byte(nil), p...)})
	return len(p), nil
}

// ReadAt reads what was written, synced or not.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.f.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	clear(p[n:])
	for _, w := range f.writes {
		from, to := max(off, w.at), min(off+int64(len(p)), w.at+int64(len(w.data)))
		if from < to {
			copy(p[from-off:to-off], w.data[from-w.at:])
			n = max(n, int(to-off))
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *file) Size() (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	info, err := f.f.Stat()
	if err != nil {
		return 0, err
	}
	size := info.Size()
	for _, w := range f.writes {
		size = max(size, w.at+int64(len(w.data)))
	}
	return size, nil
}

// Truncate makes what was written before the file's, and cuts it.
func (f *file) Truncate(size int64) error {
	if err := f.flush(); err != nil {
		return err
	}
	return f.f.Truncate(size)
}

func (f *file) Sync() error {
	if f.disk.keep {
		if err := f.flush(); err != nil {
			return err
		}
	}
	f.disk.at("log-sync")
	return f.flush()
}

// flush gives what was written to the operating system, which outlives the process: the sync itself would cost time and prove nothing here.
func (f *file) flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, w := range f.writes {
		if _, err := f.f.WriteAt(w.data, w.at); err != nil {
			return err
		}
	}
	f.writes = nil
	return nil
}

func (f *file) Close() error { return f.f.Close() }

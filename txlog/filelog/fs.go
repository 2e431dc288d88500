package filelog

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// fileSystem is the log's directory, with just the operations that the log uses: the tests put one in its place that
// fails, crashes and forgets. Names are relative to the directory.
type fileSystem interface {
	// Make makes the directory, durably, unless it exists.
	Make() error
	// List returns the names in the directory.
	List() ([]string, error)
	// Open opens an existing file, to be read, or to be read and written.
	Open(name string, write bool) (file, error)
	// Create makes an empty file, in place of one that exists.
	Create(name string) (file, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the names durable.
	SyncDir() error
	// Lock takes the owner lock, which is held until the Closer is closed or the process ends.
	Lock() (io.Closer, error)
}

type file interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the contents durable.
	Sync() error
	Close() error
}

// osDir is a directory of the operating system.
type osDir string

func (d osDir) path(name string) string { return filepath.Join(string(d), name) }

func (d osDir) Make() error { return makeDir(string(d), syncDir) }

// makeDir makes the directory and those above it, and calls sync with the parent of each that it made.
func makeDir(dir string, sync func(string) error) error {
	if fi, err := os.Stat(dir); err == nil {
		if !fi.IsDir() {
			return errors.New("it is a file: a log needs a directory of its own")
		}
		return nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(filepath.Clean(dir))
	if parent != dir {
		if err := makeDir(parent, sync); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return sync(parent)
}

func (d osDir) List() ([]string, error) {
	f, err := os.Open(string(d))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Readdirnames(-1)
}

func (d osDir) Open(name string, write bool) (file, error) {
	flag := os.O_RDONLY
	if write {
		flag = os.O_RDWR
	}
	f, err := os.OpenFile(d.path(name), flag, 0)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDir) Create(name string) (file, error) {
	f, err := os.OpenFile(d.path(name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (d osDir) Rename(from, to string) error { return os.Rename(d.path(from), d.path(to)) }

func (d osDir) Remove(name string) error { return os.Remove(d.path(name)) }

func (d osDir) SyncDir() error { return syncDir(string(d)) }

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

type osFile struct{ *os.File }

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f osFile) Sync() error { return datasync(f.File) }

// Package logfs is what a log in files asks of its directory. The operating system's stands in package filelog; tests put one in its
// place that fails, crashes and forgets, those of the integration module among them.
package logfs

import "io"

// FS is the log's directory, with just the operations that the log uses. Names are relative to the directory.
type FS interface {
	// Make makes the directory, durably, unless it exists.
	Make() error
	// List returns the names in the directory.
	List() ([]string, error)
	// Open opens an existing file, to be read, or to be read and written.
	Open(name string, write bool) (File, error)
	// Create makes an empty file, in place of one that exists.
	Create(name string) (File, error)
	Rename(from, to string) error
	Remove(name string) error
	// SyncDir makes the names durable.
	SyncDir() error
	// Lock takes the owner lock, which is held until the Closer is closed or the process ends.
	Lock() (io.Closer, error)
}

// File is an open file.
type File interface {
	io.ReaderAt
	io.WriterAt
	Size() (int64, error)
	Truncate(size int64) error
	// Sync makes the contents durable.
	Sync() error
	Close() error
}

// Package memdisk is the directory of a log in files, in memory, for tests: a strict one. What was not synced, bytes and names alike, may be gone after a
// crash, whole or in part. A sync that fails forgets that there was something to sync, as Linux does: the bytes can still be read, but no later
// sync writes them.
package memdisk

import (
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/xasql/xasql/internal/logfs"
	"github.com/xasql/xasql/txlog"
)

// Fault is what goes wrong with an operation. The zero value: nothing.
type Fault struct {
	Err  error // what the operation returns; nil: it is done
	Done Done
}

// Done is how much is done of an operation that fails.
type Done uint8

const (
	Nothing Done = iota // and a sync forgets what it had to sync
	Half                // a write leaves half of its bytes; else as Nothing
	All                 // a write, or a change of names, is done, as with a network file system that loses its answer; else as Nothing
	Never               // the process or the machine was gone before: what a sync had to sync is still to be synced
)

// Disk is a directory. It is safe for concurrent use; it must not be copied.
type Disk struct {
	// Step is asked before each open, create, rename, remove, read, write, truncate, sync and syncdir, with the disk locked, what goes wrong with it. nil:
	// nothing. It is set before the disk is used.
	Step func(op, name string) Fault

	mu     sync.Mutex
	names  map[string]*inode // as seen
	disk   map[string]*inode // as after a crash
	undone []func(map[string]*inode)
	locked bool
	full   error
}

var _ logfs.FS = (*Disk)(nil)

const sector = 512

type inode struct {
	data  []byte // as read
	disk  []byte
	dirty map[int]bool // sectors that a sync has to write
	size  bool         // the size has to be written
}

// New returns an empty directory.
func New() *Disk { return &Disk{names: map[string]*inode{}, disk: map[string]*inode{}} }

// Fill lets every write fail with the error that would make a file longer, until it is called with nil.
func (d *Disk) Fill(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = err
}

// Data returns the file's contents as they are seen, nil where there is no such file. The caller may change them: that is damage.
func (d *Disk) Data(name string) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	if n := d.names[name]; n != nil {
		return n.data
	}
	return nil
}

// Put makes these the contents of a new file of that name, past all faults, durably.
func (d *Disk) Put(name string, data []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &inode{data: data, disk: slices.Clone(data), dirty: map[int]bool{}}
	d.names[name], d.disk[name] = n, n
}

// Delete removes the file, past all faults, durably.
func (d *Disk) Delete(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.names, name)
	delete(d.disk, name)
}

// Kill returns what another process finds after this one was killed: all that was written. The disk is not used any more then.
func (d *Disk) Kill() *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	return &Disk{names: d.names, disk: d.disk, undone: d.undone}
}

// Crash returns what is found after the machine stopped: what was synced, and of the rest, where r is not nil, each sector and each name, or none, or all,
// with some sectors garbled. The disk is not used any more then.
func (d *Disk) Crash(r *rand.Rand) *Disk {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, change := range d.undone {
		if r != nil && r.IntN(2) == 0 {
			change(d.disk)
		}
	}
	after := New()
	keep := none
	if r != nil {
		keep = r.IntN(3)
	}
	for name, n := range d.disk {
		data := n.crash(keep, r)
		left := &inode{data: data, disk: slices.Clone(data), dirty: map[int]bool{}}
		after.disk[name], after.names[name] = left, left
	}
	return after
}

// What a crash keeps of the sectors that were not synced.
const (
	each = iota // or not, at random
	none
	all
)

func (n *inode) crash(keep int, r *rand.Rand) []byte {
	data := slices.Clone(n.disk)
	if n.size && (keep == all || keep == each && r.IntN(2) == 0) {
		data = resize(data, len(n.data))
	}
	for s := range n.dirty {
		from, to := s*sector, min((s+1)*sector, len(n.data), len(data))
		if from >= to || keep == none || keep == each && r.IntN(2) == 0 {
			continue
		}
		copy(data[from:to], n.data[from:to])
		if keep == each && r.IntN(4) == 0 {
			garble(data[from:to], n.disk, from, r)
		}
	}
	return data
}

// garble changes one of the bytes that the lost write was to change: those that were there before are safe.
func garble(b, old []byte, from int, r *rand.Rand) {
	i := r.IntN(len(b))
	if from+i >= len(old) || old[from+i] != b[i] {
		b[i] ^= byte(1 + r.IntN(255))
	}
}

func resize(b []byte, n int) []byte {
	if n <= len(b) {
		return b[:n]
	}
	return append(b, make([]byte, n-len(b))...)
}

func (d *Disk) step(op, name string) Fault {
	if d.Step == nil {
		return Fault{}
	}
	return d.Step(op, name)
}

// Make does nothing: the directory exists.
func (d *Disk) Make() error { return nil }

// List returns the names in no order.
func (d *Disk) List() ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for name := range d.names {
		names = append(names, name)
	}
	return names, nil
}

// Open opens an existing file.
func (d *Disk) Open(name string, write bool) (logfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	if f := d.step("open", name); f.Err != nil {
		return nil, f.Err
	}
	return &file{d, n, name, write}, nil
}

// change changes the names.
func (d *Disk) change(op string, name string, change func(map[string]*inode)) error {
	f := d.step(op, name)
	if f.Err == nil || f.Done == All {
		change(d.names)
		d.undone = append(d.undone, change)
	}
	return f.Err
}

// Create makes an empty file.
func (d *Disk) Create(name string) (logfs.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := &inode{dirty: map[int]bool{}}
	if err := d.change("create", name, func(names map[string]*inode) { names[name] = n }); err != nil {
		return nil, err
	}
	return &file{d, n, name, true}, nil
}

// Rename gives a file another name.
func (d *Disk) Rename(from, to string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := d.names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	return d.change("rename", to, func(names map[string]*inode) {
		delete(names, from)
		names[to] = n
	})
}

// Remove removes a file.
func (d *Disk) Remove(name string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.names[name] == nil {
		return fs.ErrNotExist
	}
	return d.change("remove", name, func(names map[string]*inode) { delete(names, name) })
}

// SyncDir makes the names durable.
func (d *Disk) SyncDir() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if f := d.step("syncdir", ""); f.Err != nil {
		return f.Err
	}
	for _, change := range d.undone {
		change(d.disk)
	}
	d.undone = nil
	return nil
}

// Lock takes the owner lock; another's is txlog.ErrOwned.
func (d *Disk) Lock() (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locked {
		return nil, txlog.ErrOwned
	}
	d.locked = true
	return lock{d}, nil
}

type lock struct{ d *Disk }

func (l lock) Close() error {
	l.d.mu.Lock()
	defer l.d.mu.Unlock()
	l.d.locked = false
	return nil
}

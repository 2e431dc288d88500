package filelog

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"sync"
	"syscall"

	"github.com/xasql/xasql/txlog"
)

// memFS is a strict file system in memory. What was not synced, bytes and names alike, may be gone, whole or in part, after a
// crash. A sync that fails forgets that there was something to sync, as Linux does: the bytes can still be read,
// but no later sync writes them. It fails or stops at a chosen operation.
type memFS struct {
	mu     sync.Mutex
	names  map[string]*memInode // as seen
	disk   map[string]*memInode // as after a crash
	undone []func(map[string]*memInode)
	locked bool

	ops     int
	failAt  int // the operation that fails, counted from 1; 0: none
	failure failure
	failed  string // what failed
	stopped bool
	full    bool // no file can grow
	counts  map[string]int
}

type failure uint8

const (
	failOnce  failure = iota // an error, without effect
	failShort                // a write leaves half of its bytes; else as failOnce
	failFull                 // a write leaves half of its bytes, ENOSPC; else as failOnce
	failLate                 // a write, or a change of names, is done, and returns an error, as with a network file system; else as failOnce
	failStop                 // every operation fails from here on: the process, or the machine, is gone
)

var errInjected = errors.New("injected failure")

const sector = 512

type memInode struct {
	data  []byte // as read
	disk  []byte
	dirty map[int]bool // sectors that a sync has to write
	size  bool         // the size has to be written
}

func newMemFS() *memFS {
	return &memFS{names: map[string]*memInode{}, disk: map[string]*memInode{}, counts: map[string]int{}}
}

// step counts an operation, and tells whether it is to fail. m.mu is held.
func (m *memFS) step(op, name string) error {
	if m.stopped {
		return errInjected
	}
	m.ops++
	m.counts[op]++
	if m.ops != m.failAt {
		return nil
	}
	m.failed = op + " " + name
	m.stopped = m.failure == failStop
	if m.failure == failFull && op == "write" {
		return syscall.ENOSPC
	}
	return errInjected
}

func (m *memFS) Make() error { return nil }

func (m *memFS) List() ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for name := range m.names {
		names = append(names, name)
	}
	return names, nil
}

func (m *memFS) Open(name string, write bool) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[name]
	if n == nil {
		return nil, fs.ErrNotExist
	}
	if err := m.step("open", name); err != nil {
		return nil, err
	}
	return &memFile{m, n, name, write}, nil
}

func (m *memFS) rename(op string, name string, change func(map[string]*memInode)) error {
	err := m.step(op, name)
	if err != nil && m.failure != failLate {
		return err
	}
	change(m.names)
	m.undone = append(m.undone, change)
	return err
}

func (m *memFS) Create(name string) (file, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := &memInode{dirty: map[int]bool{}}
	if err := m.rename("create", name, func(names map[string]*memInode) { names[name] = n }); err != nil {
		return nil, err
	}
	return &memFile{m, n, name, true}, nil
}

func (m *memFS) Rename(from, to string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.names[from]
	if n == nil {
		return fs.ErrNotExist
	}
	return m.rename("rename", to, func(names map[string]*memInode) {
		delete(names, from)
		names[to] = n
	})
}

func (m *memFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.names[name] == nil {
		return fs.ErrNotExist
	}
	return m.rename("remove", name, func(names map[string]*memInode) { delete(names, name) })
}

func (m *memFS) SyncDir() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.step("syncdir", ""); err != nil {
		return err
	}
	for _, change := range m.undone {
		change(m.disk)
	}
	m.undone = nil
	return nil
}

func (m *memFS) Lock() (io.Closer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.locked {
		return nil, txlog.ErrOwned
	}
	m.locked = true
	return memLock{m}, nil
}

type memLock struct{ m *memFS }

func (l memLock) Close() error {
	l.m.mu.Lock()
	defer l.m.mu.Unlock()
	l.m.locked = false
	return nil
}

// kill returns what another process finds after this one was killed: all that was written.
func (m *memFS) kill() *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	after.names, after.disk, after.undone = m.names, m.disk, m.undone
	return after
}

// crash returns what is found after the machine stopped: of what was not synced, each sector and each name may have
// reached the disk, and some sectors are garbled.
func (m *memFS) crash(r *rand.Rand) *memFS {
	m.mu.Lock()
	defer m.mu.Unlock()
	after := newMemFS()
	for _, change := range m.undone {
		if r.IntN(2) == 0 {
			change(m.disk)
		}
	}
	keep := r.IntN(3) // each sector, none, all
	for name, n := range m.disk {
		data := slices.Clone(n.disk)
		if n.size && (keep == 2 || keep == 0 && r.IntN(2) == 0) {
			data = resize(data, len(n.data))
		}
		for s := range n.dirty {
			from, to := s*sector, min((s+1)*sector, len(n.data), len(data))
			if from >= to || keep == 1 || keep == 0 && r.IntN(2) == 0 {
				continue
			}
			copy(data[from:to], n.data[from:to])
			if keep == 0 && r.IntN(4) == 0 {
				garble(data[from:to], n.disk, from, r)
			}
		}
		inode := &memInode{data: data, disk: slices.Clone(data), dirty: map[int]bool{}}
		after.disk[name], after.names[name] = inode, inode
	}
	return after
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

type memFile struct {
	m     *memFS
	n     *memInode
	name  string
	write bool
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.step("read", f.name); err != nil {
		return 0, err
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if !f.write {
		return 0, fs.ErrPermission
	}
	err := f.m.step("write", f.name)
	if err != nil {
		switch f.m.failure {
		case failOnce:
			return 0, err
		case failLate:
		default:
			p = p[:len(p)/2]
		}
	}
	if f.m.full && int(off)+len(p) > len(f.n.data) {
		p, err = p[:max(0, len(f.n.data)-int(off))], syscall.ENOSPC
	}
	end := int(off) + len(p)
	if end > len(f.n.data) {
		f.n.data = resize(f.n.data, end)
		f.n.size = true
	}
	copy(f.n.data[off:], p)
	for s := int(off) / sector; s*sector < end; s++ {
		f.n.dirty[s] = true
	}
	return len(p), err
}

func (f *memFile) Size() (int64, error) {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	return int64(len(f.n.data)), nil
}

func (f *memFile) Truncate(size int64) error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	if err := f.m.step("truncate", f.name); err != nil {
		return err
	}
	f.n.data = resize(f.n.data, int(size))
	f.n.size = true
	return nil
}

func (f *memFile) Sync() error {
	f.m.mu.Lock()
	defer f.m.mu.Unlock()
	err := f.m.step("sync", f.name)
	if err == nil {
		f.n.disk = resize(f.n.disk, len(f.n.data))
		for s := range f.n.dirty {
			from, to := s*sector, min((s+1)*sector, len(f.n.data))
			if from < to {
				copy(f.n.disk[from:to], f.n.data[from:to])
			}
		}
	} else if f.m.stopped {
		return err
	}
	f.n.size = err != nil && f.n.size
	clear(f.n.dirty)
	return err
}

func (f *memFile) Close() error { return nil }

// total returns how often the operation was done.
func (m *memFS) total(op string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[op]
}

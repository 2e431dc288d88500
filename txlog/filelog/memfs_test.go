package filelog

import (
	"errors"
	"math/rand/v2"
	"sync"
	"syscall"

	"github.com/xasql/xasql/internal/memdisk"
)

// memFS is a strict directory in memory that fails or stops at a chosen operation.
type memFS struct {
	*memdisk.Disk

	mu      sync.Mutex // guards what follows, for tests with several goroutines
	ops     int
	failAt  int // the operation that fails, counted from 1; 0: none
	failure failure
	failed  string // what failed
	stopped bool
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

func newMemFS() *memFS { return memFSOn(memdisk.New()) }

func memFSOn(d *memdisk.Disk) *memFS {
	m := &memFS{Disk: d, counts: map[string]int{}}
	d.Step = m.step
	return m
}

// step counts an operation, and tells whether it is to fail. The disk is locked.
func (m *memFS) step(op, name string) memdisk.Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.stopped {
		return memdisk.Fault{Err: errInjected, Done: memdisk.Never}
	}
	m.ops++
	m.counts[op]++
	if m.ops != m.failAt {
		return memdisk.Fault{}
	}
	m.failed = op + " " + name
	m.stopped = m.failure == failStop
	err := errInjected
	if m.failure == failFull && op == "write" {
		err = syscall.ENOSPC
	}
	done := map[failure]memdisk.Done{failShort: memdisk.Half, failFull: memdisk.Half, failLate: memdisk.All, failStop: memdisk.Never}[m.failure]
	if op == "write" && done == memdisk.Never {
		done = memdisk.Half
	}
	return memdisk.Fault{Err: err, Done: done}
}

// kill returns what another process finds after this one was killed: all that was written.
func (m *memFS) kill() *memFS { return memFSOn(m.Kill()) }

// crash returns what is found after the machine stopped: of what was not synced, each sector and each name may have
// reached the disk, and some sectors are garbled.
func (m *memFS) crash(r *rand.Rand) *memFS { return memFSOn(m.Crash(r)) }

// total returns how often the operation was done.
func (m *memFS) total(op string) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.counts[op]
}

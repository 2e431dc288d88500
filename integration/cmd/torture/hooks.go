package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xasql/xasql/xa"
)

// hooks are what a worker does at the points of the protocol: it pauses at random, since a process that is killed from outside is
// else hardly ever hit between two steps, which follow each other within microseconds; and it kills itself.
type hooks struct {
	jitter time.Duration
	kill   string // a point
	after  int64  // transactions
	ended  atomic.Int64

	stopAt   atomic.Pointer[string] // the point at which stop is called once; nil: none
	stop     func()
	stopping sync.Mutex // held from before that is sure until it is over
}

// trace calls the hooks.
func (h *hooks) trace() (*xa.Trace, error) {
	trace := &xa.Trace{TxDone: func(xa.TxEvent) { h.ended.Add(1) }}
	branch, tx := points(trace)
	for point, hook := range branch {
		*hook = func(xa.BranchEvent) { h.at(point) }
	}
	for point, hook := range tx {
		*hook = func(xa.TxEvent) { h.at(point) }
	}
	if h.kill != "" && branch[h.kill] == nil && tx[h.kill] == nil {
		return nil, fmt.Errorf("%q is no point of the protocol", h.kill)
	}
	return trace, nil
}

func (h *hooks) at(point string) {
	if h.jitter > 0 && rand.IntN(2) == 0 {
		time.Sleep(rand.N(h.jitter))
	}
	if at := h.stopAt.Load(); at != nil && *at == point {
		h.stopOnce(at)
	}
	if point == h.kill && h.ended.Load() >= h.after {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // the signal may take a moment; nothing more may happen
	}
}

func (h *hooks) stopOnce(at *string) {
	h.stopping.Lock()
	defer h.stopping.Unlock()
	if h.stopAt.CompareAndSwap(at, nil) {
		h.stop()
	}
}

// free returns when stop will not be called any more, and no call of it is under way: who is told so sends no more signal that would end the stop.
func (h *hooks) free() {
	h.stopping.Lock()
	defer h.stopping.Unlock()
	h.stopAt.Store(nil)
}

func points(trace *xa.Trace) (branch map[string]*func(xa.BranchEvent), tx map[string]*func(xa.TxEvent)) {
	return map[string]*func(xa.BranchEvent){
			"branch-start":   &trace.BranchStart,
			"prepare-start":  &trace.PrepareStart,
			"prepare-done":   &trace.PrepareDone,
			"commit-start":   &trace.CommitStart,
			"commit-done":    &trace.CommitDone,
			"rollback-start": &trace.RollbackStart,
			"rollback-done":  &trace.RollbackDone,
		}, map[string]*func(xa.TxEvent){
			"decide-start": &trace.DecideStart,
			"decide-done":  &trace.DecideDone,
			"settled":      &trace.Settled,
		}
}

// pointNames are the points' names, in a fixed order.
func pointNames() []string {
	branch, tx := points(&xa.Trace{})
	return slices.Concat(slices.Sorted(maps.Keys(branch)), slices.Sorted(maps.Keys(tx)))
}

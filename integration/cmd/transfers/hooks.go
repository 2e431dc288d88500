package main

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xasql/xasql/xa"
)

// hooks are what the program does at the points of the protocol.
type hooks struct {
	options
	ended atomic.Int64 // transactions
}

func newHooks(o options) *hooks { return &hooks{options: o} }

// at returns what is done at the named point.
func (h *hooks) at(point string) func() {
	return func() {
		if h.jitter > 0 && rand.IntN(2) == 0 {
			time.Sleep(rand.N(h.jitter))
		}
		if point == h.kill && h.ended.Load() >= h.after {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // the signal may take a moment; nothing more may happen
		}
	}
}

// trace calls the hooks.
func (h *hooks) trace() (*xa.Trace, error) {
	trace := &xa.Trace{TxDone: func(xa.TxEvent) { h.ended.Add(1) }}
	branch, tx := points(trace)
	for point, hook := range branch {
		do := h.at(point)
		*hook = func(xa.BranchEvent) { do() }
	}
	for point, hook := range tx {
		do := h.at(point)
		*hook = func(xa.TxEvent) { do() }
	}
	if h.kill != "" && branch[h.kill] == nil && tx[h.kill] == nil {
		return nil, fmt.Errorf("-kill %q: the points are %s", h.kill, pointNames())
	}
	return trace, nil
}

// points are the places where the program can pause or kill itself.
func points(trace *xa.Trace) (branch map[string]*func(xa.BranchEvent), tx map[string]*func(xa.TxEvent)) {
	return map[string]*func(xa.BranchEvent){
			"branch-start":  &trace.BranchStart,
			"prepare-start": &trace.PrepareStart,
			"prepare-done":  &trace.PrepareDone,
			"commit-start":  &trace.CommitStart,
			"commit-done":   &trace.CommitDone,
		}, map[string]*func(xa.TxEvent){
			"decide-start": &trace.DecideStart,
			"decide-done":  &trace.DecideDone,
			"settled":      &trace.Settled,
		}
}

func pointNames() string {
	branch, tx := points(&xa.Trace{})
	return strings.Join(slices.Sorted(maps.Keys(branch)), ", ") + ", " + strings.Join(slices.Sorted(maps.Keys(tx)), ", ")
}

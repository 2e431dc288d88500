package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/recovery"
)

const (
	maxBlocking     = 20 // branches of one database, the oldest, of which it is asked: each costs a query
	blockingTimeout = 5 * time.Second
)

// addBlocking asks the databases what the listed branches stand in the way of. Who can't tell of this log's own is named.
func (r *result) addBlocking(ctx context.Context, resources []drivers.Resource) {
	askAll(ctx, resources, r.askBlocking)
}

// askAll asks all databases that can tell, at once, for blockingTimeout at most.
func askAll[D any](ctx context.Context, resources []drivers.Resource, ask func(context.Context, drivers.Resource, D)) {
	ctx, cancel := context.WithTimeout(ctx, blockingTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, res := range resources {
		if d, ok := res.Driver.(D); ok {
			wg.Go(func() { ask(ctx, res, d) })
		}
	}
	wg.Wait()
}

func (r *result) askBlocking(ctx context.Context, res drivers.Resource, b drivers.Blocker) {
	asked := 0
	for i := range r.Branches {
		branch := &r.Branches[i]
		xid, err := drivers.ParseXID(branch.XID)
		if branch.Resource != res.Name || err != nil || asked == maxBlocking {
			continue
		}
		asked++
		locks, waiting, age, err := b.Blocking(ctx, res.DB, xid)
		switch {
		case err == nil:
			branch.Locks, branch.Waiting, branch.XminAge = &locks, &waiting, age
		case branch.Action != actionName(recovery.Foreign):
			r.untold(res.Name, text(err))
		}
	}
}

// untold notes why a database can't tell what its branches stand in the way of.
func (r *result) untold(resource, why string) {
	for i := range r.Resources {
		if res := &r.Resources[i]; res.Name == resource && res.Untold == "" {
			res.Untold = why
		}
	}
}

// writeUntold writes why databases can't tell what their branches hold, and which tables those have locked.
func (r *result) writeUntold(w io.Writer) {
	holds := func(res resourceResult) string { return reason(res.Untold, " blocks: ") }
	r.writeWhys(w, "what the branches in %s hold is not shown", holds)
	r.writeWhys(w, "which tables the branches in %s have locked is not shown", func(res resourceResult) string {
		if why := reason(res.UntoldTables, " has locked: "); why != holds(res) {
			return why
		}
		return ""
	})
}

// reason leaves out of an error of which branch it is, and the server's own words, which are in the JSON output.
func reason(text, of string) string {
	if _, why, found := strings.Cut(text, of); found {
		text = why
	}
	text, _, _ = strings.Cut(text, ": Error ")
	return text
}

// writeWhys writes each reason once, for all databases that have it.
func (r *result) writeWhys(w io.Writer, what string, why func(resourceResult) string) {
	var whys []string
	names := map[string][]string{}
	for _, res := range r.Resources {
		reason := why(res)
		if reason == "" {
			continue
		}
		if names[reason] == nil {
			whys = append(whys, reason)
		}
		names[reason] = append(names[reason], res.Name)
	}
	for _, why := range whys {
		fmt.Fprintf(w, "For information: "+what+": %s\n", and(names[why]), why)
	}
}

// blocking is what the branch stands in the way of, in words; "" where nothing is known.
func (b branchResult) blocking() string {
	var parts []string
	if b.Locks != nil {
		parts = append(parts, "holds "+plural(*b.Locks, "lock", "locks"))
	}
	if locked := b.locked(); locked != "" {
		parts = append(parts, locked)
	}
	if b.Waiting != nil && *b.Waiting > 0 {
		parts = append(parts, plural(*b.Waiting, "session waits", "sessions wait")+" for it")
	}
	if b.XminAge > 0 {
		parts = append(parts, fmt.Sprintf("holds back the clean-up of old rows by %d transactions", b.XminAge))
	}
	return strings.Join(parts, "; ")
}

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
	ctx, cancel := context.WithTimeout(ctx, blockingTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, res := range resources {
		if b, ok := res.Driver.(drivers.Blocker); ok {
			wg.Go(func() { r.askBlocking(ctx, res, b) })
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

// writeUntold writes once, for all databases of which it is so, why they can't tell what their branches hold.
func (r *result) writeUntold(w io.Writer) {
	var whys []string
	names := map[string][]string{}
	for _, res := range r.Resources {
		_, why, found := strings.Cut(res.Untold, " blocks: ") // of which branch is no matter
		if !found {
			why = res.Untold
		}
		why, _, _ = strings.Cut(why, ": Error ") // the server's own words are in the JSON output
		if why == "" {
			continue
		}
		if names[why] == nil {
			whys = append(whys, why)
		}
		names[why] = append(names[why], res.Name)
	}
	for _, why := range whys {
		fmt.Fprintf(w, "For information: what the branches in %s hold is not shown: %s\n", and(names[why]), why)
	}
}

// blocking is what the branch stands in the way of, in words; "" where nothing is known.
func (b branchResult) blocking() string {
	var parts []string
	if b.Locks != nil {
		parts = append(parts, "holds "+plural(*b.Locks, "lock", "locks"))
	}
	if b.Waiting != nil && *b.Waiting > 0 {
		parts = append(parts, plural(*b.Waiting, "session waits", "sessions wait")+" for it")
	}
	if b.XminAge > 0 {
		parts = append(parts, fmt.Sprintf("holds back the clean-up of old rows by %d transactions", b.XminAge))
	}
	return strings.Join(parts, "; ")
}

package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/xasql/xasql/drivers"
)

const (
	maxBlocking     = 20 // branches of one database, the oldest, of which it is asked: each costs a query
	blockingTimeout = 5 * time.Second
)

// addBlocking asks the databases what the listed branches stand in the way of. Who can't tell is not told of: the branch is in doubt all the same.
func (r *result) addBlocking(ctx context.Context, resources []drivers.Resource) {
	ctx, cancel := context.WithTimeout(ctx, blockingTimeout)
	defer cancel()
	var wg sync.WaitGroup
	for _, res := range resources {
		b, ok := res.Driver.(drivers.Blocker)
		if !ok {
			continue
		}
		wg.Go(func() {
			asked := 0
			for i := range r.Branches {
				branch := &r.Branches[i]
				xid, err := drivers.ParseXID(branch.XID)
				if branch.Resource != res.Name || err != nil || asked == maxBlocking {
					continue
				}
				asked++
				if locks, waiting, age, err := b.Blocking(ctx, res.DB, xid); err == nil {
					branch.Locks, branch.Waiting, branch.XminAge = locks, waiting, age
				}
			}
		})
	}
	wg.Wait()
}

// blocking is what the branch stands in the way of, in words; "" where nothing is known.
func (b branchResult) blocking() string {
	var parts []string
	if b.Locks > 0 {
		parts = append(parts, "holds "+plural(b.Locks, "lock", "locks"))
	}
	if b.Waiting > 0 {
		parts = append(parts, plural(b.Waiting, "session waits", "sessions wait")+" for it")
	}
	if b.XminAge > 0 {
		parts = append(parts, fmt.Sprintf("holds back the clean-up of old rows by %d transactions", b.XminAge))
	}
	return strings.Join(parts, "; ")
}

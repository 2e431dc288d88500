package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// bank makes transfers with several workers.
type bank struct {
	m         *xa.Manager
	resources []string
	options
	made atomic.Int64

	mu  sync.Mutex // guards out
	out io.Writer
}

func newBank(m *xa.Manager, resources []xa.Resource, o options, out io.Writer) *bank {
	b := &bank{m: m, options: o, out: out}
	for _, r := range resources {
		b.resources = append(b.resources, r.Name)
	}
	return b
}

// work returns when the wanted number of transfers was tried, ctx has ended, or something happened that no fault explains.
func (b *bank) work(ctx context.Context) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	errs := make([]error, b.workers)
	var wg sync.WaitGroup
	for w := range b.workers {
		wg.Go(func() {
			errs[w] = b.repeat(ctx, rand.New(rand.NewPCG(b.seed, uint64(w))))
			if errs[w] != nil {
				stop()
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// repeat makes transfers until ctx ends. What it has begun by then it finishes: a PREPARE that is cut off may still be on its way when the manager has
// shut down, and leaves a branch that only the next recovery finds.
func (b *bank) repeat(ctx context.Context, random *rand.Rand) error {
	for ctx.Err() == nil {
		n := b.made.Add(1)
		if b.count > 0 && n > b.count {
			return nil
		}
		if err := b.transfer(context.WithoutCancel(ctx), fmt.Sprintf("%s-%d", b.prefix, n), random); err != nil {
			return err
		}
	}
	return nil
}

// transfer moves money in one global transaction, and tells how it ended.
func (b *bank) transfer(ctx context.Context, id string, random *rand.Rand) error {
	entries := b.entries(id, random)
	if err := b.tell(id, ledger.Begun); err != nil {
		return err
	}
	err := b.m.Do(ctx, &xa.TxOptions{Timeout: b.patience()}, func(ctx context.Context, tx *xa.Tx) error {
		for _, e := range entries {
			branch, err := tx.Branch(ctx, e.resource)
			if err != nil {
				return err
			}
			if err := ledger.Post(ctx, branch, e.Entry); err != nil {
				return err
			}
		}
		return nil
	})
	o, known := outcome(err)
	if told := b.tell(id, o); told != nil {
		return told
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "transfers: %s: %s: %v\n", id, o, err)
	}
	if !known {
		return fmt.Errorf("%s: an error without an outcome: %w", id, err)
	}
	return nil
}

type entry struct {
	resource string
	ledger.Entry
}

// entries chooses the databases of a transfer, mostly two, sometimes one or all, and the amounts. They come in the order of
// the resources' names, so that transfers don't wait for each other in a circle.
func (b *bank) entries(id string, random *rand.Rand) []entry {
	parties := min(2, len(b.resources))
	if b.kill == "" {
		switch n := random.IntN(10); {
		case n == 0:
			parties = 1
		case n < 3:
			parties = len(b.resources)
		}
	}
	var out []entry
	var sum int64
	for i, at := range random.Perm(len(b.resources))[:parties] {
		delta := random.Int64N(9) - 4
		if i == parties-1 {
			delta = -sum
		}
		sum += delta
		e := ledger.Entry{ID: id, Parties: parties, Account: random.IntN(ledger.Accounts), Delta: delta}
		out = append(out, entry{b.resources[at], e})
	}
	slices.SortFunc(out, func(a, b entry) int { return cmp.Compare(a.resource, b.resource) })
	return out
}

func (b *bank) tell(id string, o ledger.Outcome) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return ledger.Tell(b.out, id, o)
}

package logtest

import (
	"context"
	"fmt"
	"iter"
	"sync/atomic"

	"github.com/xasql/xasql/txlog"
)

// memoryReader is a Memory opened to be read.
type memoryReader struct {
	memory *Memory
	closed atomic.Bool
}

func (r *memoryReader) ID() string { return r.memory.ID() }

func (r *memoryReader) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	return 0, notDecided(d.ID, r.refusal())
}

func (r *memoryReader) Lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	if r.closed.Load() {
		return 0, fmt.Errorf("logtest: lookup %q: %w", id, txlog.ErrClosed)
	}
	return r.memory.Lookup(ctx, id)
}

func (r *memoryReader) Settle(ctx context.Context, id string) error {
	return fmt.Errorf("logtest: settle %q: %w", id, r.refusal())
}

func (r *memoryReader) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	if !r.closed.Load() {
		return r.memory.Unsettled(ctx)
	}
	return func(yield func(txlog.Decision, error) bool) {
		yield(txlog.Decision{}, fmt.Errorf("logtest: unsettled: %w", txlog.ErrClosed))
	}
}

func (r *memoryReader) Close() error {
	r.closed.Store(true)
	return nil
}

func (r *memoryReader) refusal() error {
	if r.closed.Load() {
		return txlog.ErrClosed
	}
	return txlog.ErrReadOnly
}

// sharedReader is a SharedMemory opened to be read.
type sharedReader struct {
	memoryReader
	shared *SharedMemory
}

func (r *sharedReader) Join(context.Context) (txlog.Member, error) {
	return nil, fmt.Errorf("logtest: join: %w", r.refusal())
}

func (r *sharedReader) Holders(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	if r.closed.Load() {
		return nil, fmt.Errorf("logtest: holders: %w", txlog.ErrClosed)
	}
	return r.shared.Holders(ctx, ids)
}

package logtest

import (
	"context"
	"iter"
	"slices"
	"time"

	"github.com/xasql/xasql/txlog"
)

var _ txlog.Notes = (*Memory)(nil)

// Note keeps a note, unless there is one of that ID, kind and resource.
func (m *Memory) Note(_ context.Context, n txlog.Note) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return txlog.ErrClosed
	}
	for _, known := range m.notes {
		if known.ID == n.ID && known.Kind == n.Kind && known.Resource == n.Resource {
			return nil
		}
	}
	if n.At.IsZero() {
		n.At = time.Now()
	}
	m.notes = append(m.notes, n)
	return nil
}

// Noted iterates over the notes of a transaction, or with "" over all.
func (m *Memory) Noted(_ context.Context, id string) iter.Seq2[txlog.Note, error] {
	return func(yield func(txlog.Note, error) bool) {
		m.mu.Lock()
		closed, notes := m.closed, slices.Clone(m.notes)
		m.mu.Unlock()
		if closed {
			yield(txlog.Note{}, txlog.ErrClosed)
			return
		}
		slices.SortStableFunc(notes, func(a, b txlog.Note) int { return a.At.Compare(b.At) })
		for _, n := range notes {
			if (id == "" || n.ID == id) && !yield(n, nil) {
				return
			}
		}
	}
}

// Forget drops a transaction's notes.
func (m *Memory) Forget(_ context.Context, id string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return txlog.ErrClosed
	}
	m.notes = slices.DeleteFunc(m.notes, func(n txlog.Note) bool { return n.ID == id })
	return nil
}

func (r *memoryReader) Note(context.Context, txlog.Note) error { return r.refusal() }

func (r *memoryReader) Forget(context.Context, string) error { return r.refusal() }

func (r *memoryReader) Noted(ctx context.Context, id string) iter.Seq2[txlog.Note, error] {
	if !r.closed.Load() {
		return r.memory.Noted(ctx, id)
	}
	return func(yield func(txlog.Note, error) bool) { yield(txlog.Note{}, txlog.ErrClosed) }
}

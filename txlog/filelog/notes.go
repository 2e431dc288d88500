package filelog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/xasql/xasql/txlog"
)

// Note keeps a note, durably, unless there is one of that ID, kind and resource. Ended by its context before anything is written, it keeps
// nothing. A note that is longer than a record may be is refused. After an error of the disk it may have been kept or not: note
// it again once the log has been opened again.
func (l *Log) Note(ctx context.Context, n txlog.Note) error {
	r, err := noteRecord(n)
	if err == nil {
		err = l.add(ctx, r, func(x *index) bool { return x.findNote(n) != nil })
	}
	if err != nil {
		return fmt.Errorf("filelog: note on %q: %w", n.ID, err)
	}
	return nil
}

// Forget drops a transaction's notes, durably. Where there are none it writes nothing, and is nil. After an error of the disk they may be dropped
// or not: forget them again once the log has been opened again.
func (l *Log) Forget(ctx context.Context, id string) error {
	r := record{kind: kindForget, id: id, at: l.opts.now()}
	if err := l.add(ctx, r, func(x *index) bool { return len(x.notes[id]) == 0 }); err != nil {
		return fmt.Errorf("filelog: forget the notes on %q: %w", id, err)
	}
	return nil
}

// Noted iterates over the notes on a transaction, or with an empty ID over all, as they were when the iteration began: by their times, and those of one
// transaction and time in the order of noting. Of a damaged log that was opened to be read it yields what there is, then ErrCorrupt.
func (l *Log) Noted(ctx context.Context, id string) iter.Seq2[txlog.Note, error] {
	return func(yield func(txlog.Note, error) bool) {
		l.mu.Lock()
		closed, list, err := l.closed, l.index.listNotes(id), l.damage
		l.mu.Unlock()
		if closed {
			list, err = nil, txlog.ErrClosed
		}
		for _, n := range list {
			if ctx.Err() != nil {
				err = ctx.Err()
				break
			}
			if !yield(n, nil) {
				return
			}
		}
		if err != nil {
			yield(txlog.Note{}, fmt.Errorf("filelog: noted: %w", err))
		}
	}
}

// noteRecord puts kind, resource, author and text where a decision has its resources.
func noteRecord(n txlog.Note) (record, error) {
	r := record{kind: kindNote, id: n.ID, resources: []string{string([]byte{byte(n.Kind)}), n.Resource, n.By, n.Text}, at: n.At.Round(0).UTC()}
	switch size := r.size(); {
	case n.ID == "":
		return r, errors.New("the ID is empty")
	case n.Kind < txlog.Heuristic || n.Kind > txlog.AbortedByHand:
		return r, fmt.Errorf("kind %d is none of a note", n.Kind)
	case size > maxRecordSize:
		return r, fmt.Errorf("ID, resource, author and text take %d bytes: the limit is %d, shorten the text", size, maxRecordSize)
	}
	return r, nil
}

// note is what a record of kindNote tells.
func (r *record) note() txlog.Note {
	return txlog.Note{ID: r.id, Kind: txlog.NoteKind(r.resources[0][0]), Resource: r.resources[1], By: r.resources[2], Text: r.resources[3], At: r.at}
}

// malformedNote: the record is said to be a note, and can't be one.
func (r *record) malformedNote() bool {
	return r.kind == kindNote && (len(r.resources) != 4 || len(r.resources[0]) != 1)
}

// keepNote adds a note to those of its transaction, unless one like it is there.
func (x *index) keepNote(n txlog.Note) {
	if x.findNote(n) == nil {
		x.notes[n.ID] = append(x.notes[n.ID], n)
	}
}

// findNote returns the note of the same ID, kind and resource, or nil.
func (x *index) findNote(n txlog.Note) *txlog.Note {
	for i, known := range x.notes[n.ID] {
		if known.Kind == n.Kind && known.Resource == n.Resource {
			return &x.notes[n.ID][i]
		}
	}
	return nil
}

// holdsNote reports whether this very note stands, and not another one like it.
func (x *index) holdsNote(n txlog.Note) bool {
	known := x.findNote(n)
	return known != nil && known.By == n.By && known.Text == n.Text && known.At.Equal(n.At)
}

// listNotes returns the notes on one transaction, or on all, oldest first.
func (x *index) listNotes(id string) []txlog.Note {
	list := slices.Clone(x.notes[id])
	if id == "" {
		list = slices.Concat(slices.Collect(maps.Values(x.notes))...)
	}
	slices.SortStableFunc(list, func(a, b txlog.Note) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return list
}

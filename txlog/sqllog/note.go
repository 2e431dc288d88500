package sqllog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/xasql/xasql/txlog"
)

// maxNote is the limit of a note's text, and of who said it, in bytes as they are kept: what MySQL's TEXT holds, rounded down.
const maxNote = 60_000

// Note keeps a note, durably, unless there is one of that ID, kind and resource. After an error note it again.
func (l *Log) Note(ctx context.Context, n txlog.Note) error {
	if err := l.note(ctx, n); err != nil {
		return fmt.Errorf("sqllog: note %q: %w", n.ID, err)
	}
	return nil
}

func (l *Log) note(ctx context.Context, n txlog.Note) error {
	end, err := l.begin(true)
	if err != nil {
		return err
	}
	defer end()
	id, err := key(n.ID)
	if err != nil {
		return err
	}
	if _, err := parseKind(n.Kind.String()); err != nil {
		return err
	}
	resource, by, text := encode(n.Resource), encode(n.By), encode(n.Text)
	if len(resource) > maxKeyLen {
		return fmt.Errorf("the resource's name takes %d bytes: the limit is %d", len(resource), maxKeyLen)
	}
	if size := max(len(by), len(text)); size > maxNote {
		return fmt.Errorf("its text takes %d bytes: the limit is %d", size, maxNote)
	}
	at := n.At
	if at.IsZero() {
		at = time.Now()
	}
	return l.run(ctx, "INSERT INTO xasql_note (id, kind, resource, noted_by, text, noted_at) VALUES (?, ?, ?, ?, ?, ?) "+l.grammar.keep,
		id, n.Kind.String(), resource, by, text, at.UnixMicro())
}

// Noted iterates over the notes of a transaction, or with "" over all. They are few, and read at once.
func (l *Log) Noted(ctx context.Context, id string) iter.Seq2[txlog.Note, error] {
	return func(yield func(txlog.Note, error) bool) {
		notes, err := l.noted(ctx, id)
		for _, n := range notes {
			if !yield(n, nil) {
				return
			}
		}
		if err != nil {
			yield(txlog.Note{}, fmt.Errorf("sqllog: noted: %w", err))
		}
	}
}

func (l *Log) noted(ctx context.Context, id string) ([]txlog.Note, error) {
	end, err := l.begin(false)
	if err != nil {
		return nil, err
	}
	defer end()
	var notes []txlog.Note
	err = l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		rows, err := conn.QueryContext(ctx, l.grammar.text(`SELECT id, kind, resource, noted_by, text, noted_at FROM xasql_note
			WHERE ? = '' OR id = ? ORDER BY noted_at, id, kind, resource`), encode(id), encode(id))
		if err != nil {
			return err
		}
		defer rows.Close()
		notes = nil // of an earlier try
		for rows.Next() {
			var n txlog.Note
			var kind string
			var at int64
			if err := rows.Scan(&n.ID, &kind, &n.Resource, &n.By, &n.Text, &at); err != nil {
				return err
			}
			if n.Kind, err = parseKind(kind); err != nil {
				return err
			}
			n.ID, n.Resource, n.By, n.Text, n.At = decode(n.ID), decode(n.Resource), decode(n.By), decode(n.Text), fromMicros(at)
			notes = append(notes, n)
		}
		return rows.Err()
	})
	return notes, err
}

// Forget drops a transaction's notes, durably.
func (l *Log) Forget(ctx context.Context, id string) error {
	end, err := l.begin(true)
	if err == nil {
		defer end()
		err = l.run(ctx, "DELETE FROM xasql_note WHERE id = ?", encode(id))
	}
	if err != nil {
		return fmt.Errorf("sqllog: forget %q: %w", id, err)
	}
	return nil
}

func parseKind(text string) (txlog.NoteKind, error) {
	for _, k := range []txlog.NoteKind{txlog.Heuristic, txlog.CommittedByHand, txlog.AbortedByHand} {
		if k.String() == text {
			return k, nil
		}
	}
	return 0, fmt.Errorf("a note of kind %q: it is of a later version, or none", text)
}

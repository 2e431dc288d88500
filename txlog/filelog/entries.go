package filelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/xasql/xasql/txlog"
)

// Entries iterates over all decisions that the log keeps: those in memory, then those in the archives. It shows
// the log as it was when the iteration began, and keeps the files of the archives open until it ends. What is decided meanwhile waits
// for the first step: some milliseconds for each 100,000 decisions in memory.
func (l *Log) Entries(ctx context.Context) iter.Seq2[txlog.Entry, error] {
	return func(yield func(txlog.Entry, error) bool) {
		if err := l.entries(ctx, func(e txlog.Entry) bool { return yield(e, nil) }); err != nil {
			yield(txlog.Entry{}, fmt.Errorf("filelog: entries: %w", err))
		}
	}
}

// entries calls yield until it returns false.
func (l *Log) entries(ctx context.Context, yield func(txlog.Entry) bool) error {
	list, archives, err := l.snapshot()
	defer func() {
		for _, r := range archives {
			r.file.Close()
		}
	}()
	if errors.Is(err, txlog.ErrClosed) {
		return err
	}
	for _, e := range list {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if e.Decision = clone(e.Decision); !yield(e) {
			return nil
		}
	}
	for _, r := range archives {
		c := r.cursor()
		for {
			a, failed := c.next()
			if failed == io.EOF {
				break
			}
			if failed != nil {
				return failed
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if !yield(a.entry()) {
				return nil
			}
		}
	}
	return err
}

func (e archived) entry() txlog.Entry {
	return txlog.Entry{
		Decision:  txlog.Decision{ID: string(e.id), Outcome: txlog.Outcome(e.outcome), Resources: slices.Clone(e.resources), At: time.Unix(e.sec, int64(e.nsec)).UTC()},
		SettledAt: time.Unix(0, e.settledAt).UTC(),
	}
}

// snapshot returns what is in memory, and the archives, opened: a compaction can then take nothing away. Beside an error it returns
// what there is.
func (l *Log) snapshot() (list []txlog.Entry, archives []*archiveReader, err error) {
	for {
		l.moving.RLock()
		l.mu.Lock()
		if l.closed {
			l.mu.Unlock()
			l.moving.RUnlock()
			return nil, nil, txlog.ErrClosed
		}
		list = make([]txlog.Entry, 0, len(l.index.decisions))
		for id, e := range l.index.decisions {
			if e.unsettled != nil {
				list = append(list, txlog.Entry{Decision: e.unsettled.Decision})
				continue
			}
			list = append(list, txlog.Entry{Decision: txlog.Decision{ID: id, Outcome: e.outcome, Resources: *e.resources, At: e.at()}, SettledAt: time.Unix(0, e.settledAt).UTC()})
		}
		set, damage := l.archives, l.damage
		l.mu.Unlock()
		l.moving.RUnlock()

		archives, err = l.openArchives(set)
		again := false
		if err != nil && damage == nil {
			if l.readOnly && errors.Is(err, errNoArchive) {
				err = l.reload(set, err)
			}
			l.mu.Lock()
			again = l.archives != set
			l.mu.Unlock()
		}
		if !again {
			return list, archives, errors.Join(damage, err)
		}
		for _, r := range archives {
			r.file.Close()
		}
	}
}

func (l *Log) openArchives(set *archiveSet) (readers []*archiveReader, err error) {
	for _, a := range set.list {
		r, failed := openArchive(l.fs, l.dir, l.id, a)
		if failed != nil {
			err = errors.Join(err, failed)
			continue
		}
		readers = append(readers, r)
	}
	return readers, err
}

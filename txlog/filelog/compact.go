package filelog

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/xasql/xasql/txlog"
)

// compactStep is how much is gathered before it is written as one batch.
const compactStep = 64 << 10

// Compact drops the settled decisions whose retention is over, by writing all others into one new segment. The log does that on
// its own when it has doubled; Compact is for those who want the space now. Decisions go on meanwhile. A crash at any point, a failure or a context
// that ends loses nothing: the old segments stay until the new one is durable under its name.
func (l *Log) Compact(ctx context.Context) error {
	l.mu.Lock()
	err := l.refusal()
	if err == nil && l.latched != nil {
		err = latchedError(l.latched)
	}
	if err != nil {
		l.mu.Unlock()
		return fmt.Errorf("filelog: %s: compact: %w", l.dir, err)
	}
	l.calls.Add(1)
	defer l.calls.Done()
	b := l.next
	b.roll = true
	l.commit(b) // unlocks
	if err = b.err; err == nil {
		l.compacting.Lock()
		defer l.compacting.Unlock()
		err = l.compact(ctx)
	}
	if err != nil {
		return fmt.Errorf("filelog: %s: compact: %w", l.dir, err)
	}
	return nil
}

// compactBeside compacts in the background, unless that is being done.
func (l *Log) compactBeside() {
	if !l.compacting.TryLock() {
		return
	}
	defer l.compacting.Unlock()
	if err := l.compact(context.Background()); err != nil && !errors.Is(err, txlog.ErrClosed) {
		// Nothing is lost: the segments stay, and the next one that is filled is the next chance.
		l.opts.Logger.Warn("compaction of the decision log failed", "dir", l.dir, "error", err.Error())
	}
}

// compact replaces all sealed segments by one, which takes the name of the last of them: the rename puts it in force, and
// supersedes the others. l.compacting is held.
func (l *Log) compact(ctx context.Context) error {
	l.mu.Lock()
	old := l.sealed[:len(l.sealed):len(l.sealed)]
	l.mu.Unlock()
	if len(old) == 0 {
		return nil
	}
	name := segmentName(old[len(old)-1].seq)
	c := &compaction{log: l, seq: old[len(old)-1].seq, now: l.opts.now()}
	if err := c.run(ctx, name+tmpSuffix, old); err != nil {
		_ = l.fs.Remove(name + tmpSuffix) // Open removes it, too
		return err
	}
	if err := l.fs.Rename(name+tmpSuffix, name); err != nil {
		return err
	}
	if err := l.fs.SyncDir(); err != nil {
		// The next segment's name would be entrusted to a sync that may have forgotten what it still owes.
		l.mu.Lock()
		l.latch(err)
		l.mu.Unlock()
		return err
	}
	l.mu.Lock()
	// Not before: until the old segments are superseded for good, a crash would bring the dropped decisions back,
	// perhaps against others that were made under the same IDs since.
	l.index.forget(c.dropped)
	l.sealed = append([]sealedSegment{{c.seq, c.end}}, l.sealed[len(old):]...)
	l.compacted = c.end
	l.mu.Unlock()
	for _, s := range old[:len(old)-1] {
		if err := l.fs.Remove(segmentName(s.seq)); err != nil {
			return fmt.Errorf("remove a superseded segment: %w", err)
		}
	}
	return nil
}

// compaction writes what stands of the old segments into a new one.
type compaction struct {
	log     *Log
	seq     uint64
	now     time.Time
	out     *segment
	end     int64
	records []record
	size    int
	dropped []string
}

func (c *compaction) run(ctx context.Context, tmp string, old []sealedSegment) error {
	f, err := c.log.fs.Create(tmp)
	if err != nil {
		return err
	}
	defer f.Close()
	h := segmentHeader{id: c.log.id, seq: c.seq, base: true, created: c.now}
	if _, err := f.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	c.out = &segment{file: f, seq: c.seq, seed: newSeeder(c.log.id, c.seq), end: headerSize}
	for _, s := range old {
		if err := c.copy(ctx, s); err != nil {
			return err
		}
	}
	c.records = append(c.records, record{kind: kindSeal, at: c.now})
	if err := c.flush(); err != nil {
		return err
	}
	c.end = c.out.end
	return f.Sync()
}

// copy reads one old segment.
func (c *compaction) copy(ctx context.Context, s sealedSegment) error {
	name := segmentName(s.seq)
	f, err := c.log.fs.Open(name, false)
	if err != nil {
		return err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return err
	}
	var failed error
	reader := scanner{file: f, path: osDir(c.log.dir).path(name), seed: newSeeder(c.log.id, s.seq), size: size, str: interner(),
		visit: func(r record) error {
			if failed == nil {
				failed = c.add(ctx, r)
			}
			return nil
		}}
	found, err := reader.scan()
	switch {
	case failed != nil:
		return failed
	case err != nil:
		return err
	case len(found.damages) > 0:
		return found.damages[0]
	case !found.sealed:
		return &damage{reader.path, found.end, found.garbage}
	}
	return nil
}

// add keeps what stands of the record.
func (c *compaction) add(ctx context.Context, r record) error {
	l := c.log
	l.mu.Lock()
	closed, latched := l.closed, l.latched
	e, known := l.index.decisions[r.id]
	identity := l.index.identities[r.id]
	l.mu.Unlock()
	switch {
	case closed:
		return txlog.ErrClosed
	case latched != nil:
		return latchedError(latched)
	case ctx.Err() != nil:
		return ctx.Err()
	case r.kind == kindRegister && r.resources[0] == identity:
		c.keep(r)
	case r.kind != kindCommit && r.kind != kindAbort, !known, uint64(e.segment) > c.seq:
		// Settling is told by the index; what is not known there, or decided anew since, was dropped before.
	case e.unsettled != nil:
		c.keep(r)
	case c.now.Sub(time.Unix(0, e.settledAt)) > l.opts.Retention:
		c.dropped = append(c.dropped, r.id)
	default:
		r.resources = nil
		c.keep(r)
		c.keep(record{kind: kindSettle, id: r.id, at: time.Unix(0, e.settledAt)})
	}
	if c.size < compactStep {
		return nil
	}
	return c.flush()
}

func (c *compaction) keep(r record) {
	c.records = append(c.records, r)
	c.size += r.size()
}

func (c *compaction) flush() error {
	b := c.out.seed.appendBatch(nil, c.out.end, c.records)
	if _, err := c.out.file.WriteAt(b, c.out.end); err != nil {
		return err
	}
	c.out.end += int64(len(b))
	c.records, c.size = c.records[:0], 0
	return nil
}

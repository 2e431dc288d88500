package filelog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xasql/xasql/txlog"
)

const (
	compactStep = 64 << 10 // how much is gathered before it is written as one batch
	forgetStep  = 256      // how many decisions are forgotten while others wait
)

// Compact moves the settled decisions into an archive, and drops those whose retention is over. The log does that on
// its own when it has doubled; Compact is for those who want the space now. Decisions go on meanwhile. A crash at any point, a failure or a context
// that ends loses nothing: the old files stay until the new ones are durable under their names.
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
	if err = l.commit(b); err == nil { // unlocks
		l.compacting.Lock()
		defer l.compacting.Unlock()
		err = l.compact(ctx)
	}
	if err != nil {
		return fmt.Errorf("filelog: %s: compact: %w", l.dir, err)
	}
	return nil
}

// compactIfDue compacts beside the log, when that is worth it, and there are so many bytes at least.
func (l *Log) compactIfDue(least int64) {
	l.mu.Lock()
	due := l.due(least)
	if due {
		l.beside.Add(1)
	}
	l.mu.Unlock()
	if due {
		l.opts.spawn(func() {
			defer l.beside.Done()
			l.compactBeside()
		})
	}
}

// due tells whether the segments take twice what the last compaction left: what is written anew is then never more than what was
// added. l.mu is held.
func (l *Log) due(least int64) bool {
	size := int64(0)
	for _, s := range l.sealed {
		size += s.end
	}
	return size >= max(2*l.compacted, least) && len(l.sealed) > 0 && !l.closed
}

// compactBeside compacts in the background, unless that is being done, and again where enough was added meanwhile.
func (l *Log) compactBeside() {
	if !l.compacting.TryLock() {
		return
	}
	defer l.compacting.Unlock()
	for {
		l.mu.Lock()
		due := l.due(0) // Compact may have done it meanwhile
		l.mu.Unlock()
		if !due {
			return
		}
		if err := l.compact(context.Background()); err != nil {
			if !errors.Is(err, txlog.ErrClosed) {
				// Nothing is lost: the segments stay, and the next one that is filled is the next chance.
				l.opts.Logger.Warn("compaction of the decision log failed", "dir", l.dir, "error", err.Error())
			}
			return
		}
	}
}

// compact replaces all sealed segments by a base, which takes the name of the last of them, and an archive. The rename of the base
// puts both in force, and supersedes the others. l.compacting is held.
func (l *Log) compact(ctx context.Context) error {
	l.mu.Lock()
	old := l.sealed[:len(l.sealed):len(l.sealed)]
	before := l.archives // nobody else changes them
	l.mu.Unlock()
	if len(old) == 0 {
		return nil
	}
	name := segmentName(old[len(old)-1].seq)
	c := &compaction{log: l, seq: old[len(old)-1].seq, now: l.opts.now(), before: before}
	if err := c.run(ctx, name+tmpSuffix, old); err != nil {
		_ = l.fs.Remove(name + tmpSuffix) // Open removes it, too
		if c.written != nil {
			_ = l.fs.Remove(c.written.name())
		}
		return err
	}
	err := l.fs.Rename(name+tmpSuffix, name)
	if err == nil {
		err = l.fs.SyncDir()
	}
	if err != nil {
		// Nobody knows which of the two will be found. And the next segment's name would be entrusted to a sync that may
		// have forgotten what it still owes.
		return l.latchOn(err)
	}
	c.publish(old)
	for _, s := range old[:len(old)-1] {
		if err := l.fs.Remove(segmentName(s.seq)); err != nil {
			return fmt.Errorf("remove a superseded segment: %w", err)
		}
	}
	for _, a := range before.list {
		if slices.Contains(c.archives, a) {
			continue
		}
		if err := l.fs.Remove(a.name()); err != nil {
			return fmt.Errorf("remove an archive that is not needed any more: %w", err)
		}
	}
	return nil
}

func (l *Log) latchOn(err error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.latch(err)
	return err
}

// compaction writes what stands of the old segments into a new one, and into an archive.
type compaction struct {
	log     *Log
	seq     uint64
	now     time.Time
	out     *segment
	records []record
	size    int

	before   *archiveSet
	archives []*archive        // those in force afterwards
	written  *archive          // the one that was made, or nil
	settled  []settledDecision // go to the archive
	dropped  []string
}

// settledDecision is one that leaves the memory.
type settledDecision struct {
	id string
	entry
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
	// The archive is durable before the base, which lists it, has its name: a crash between leaves an archive that nobody lists.
	if err := c.archive(ctx); err != nil {
		return err
	}
	for _, a := range c.archives {
		c.records = append(c.records, a.record())
	}
	c.log.mu.Lock()
	if r := c.log.index.residence; r != nil {
		c.records = append(c.records, r.record())
	}
	c.log.mu.Unlock()
	c.records = append(c.records, record{kind: kindSeal, at: c.now})
	if err := c.flush(); err != nil {
		return err
	}
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
		visit: func(r *record) error {
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
func (c *compaction) add(ctx context.Context, r *record) error {
	l := c.log
	l.mu.Lock()
	e, known := l.index.decisions[r.id]
	stands := r.kind == kindRegister && r.resources[0] == l.index.identities[r.id] || r.kind == kindNote && l.index.holdsNote(r.note())
	err := c.stopped(ctx)
	l.mu.Unlock()
	switch {
	case err != nil:
		return err
	case stands:
		c.keep(*r)
	case !r.kind.decides(), !known, uint64(e.segment) > c.seq:
		// Settling is told by the index; what is not known there, or decided anew since, was dropped before.
	case e.unsettled != nil:
		c.keep(*r)
	case c.over(e.settledAt):
		c.dropped = append(c.dropped, r.id)
	default:
		c.settled = append(c.settled, settledDecision{r.id, e})
	}
	if c.size < compactStep {
		return nil
	}
	return c.flush()
}

// over reports whether the retention of what was settled then is over.
func (c *compaction) over(settledAt int64) bool {
	return c.now.Sub(time.Unix(0, settledAt)) > c.log.opts.Retention
}

// stopped returns why the compaction must not go on, or nil. l.mu is held.
func (c *compaction) stopped(ctx context.Context) error {
	switch {
	case c.log.closed:
		return txlog.ErrClosed
	case c.log.latched != nil:
		return latchedError(c.log.latched)
	}
	return ctx.Err()
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

// publish puts the new archives in the place of the old ones, and then takes what went into them out of memory, a few at a time.
// Until the old segments are superseded for good nothing may be forgotten: a crash would bring back what was dropped, perhaps against
// decisions that were made under the same IDs since.
func (c *compaction) publish(old []sealedSegment) {
	l := c.log
	l.moving.Lock()
	defer l.moving.Unlock()
	l.mu.Lock()
	l.archives = newArchiveSet(c.archives)
	l.sealed = append([]sealedSegment{{c.seq, c.out.end}}, l.sealed[len(old):]...)
	l.compacted = c.out.end
	l.mu.Unlock()
	ids := c.dropped
	for _, d := range c.settled {
		ids = append(ids, d.id)
	}
	for some := range slices.Chunk(ids, forgetStep) {
		l.mu.Lock()
		l.index.forget(some, c.seq)
		l.mu.Unlock()
	}
}

func (d settledDecision) archived(id []byte) archived {
	return archived{id: id, outcome: byte(d.outcome), resources: *d.resources, sec: d.sec, nsec: d.nsec, settledAt: d.settledAt}
}

// sort brings the settled decisions into the order of an archive.
func (c *compaction) sort() {
	slices.SortFunc(c.settled, func(a, b settledDecision) int { return strings.Compare(a.id, b.id) })
	c.settled = slices.CompactFunc(c.settled, func(a, b settledDecision) bool { return a.id == b.id })
}

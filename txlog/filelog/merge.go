package filelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/xasql/xasql/txlog"
)

const (
	// Archives are dropped whole. So that one does not keep much that is over, it spans at most this part of the retention; and so
	// that it is merged in seconds, it has at most so many bytes.
	maxArchiveSpan = 16
	maxArchiveSize = 1 << 30

	mergeStep = 4096 // decisions between two looks at whether to go on
)

// archive writes the settled decisions into an archive, together with the younger ones of those that exist, so that there are few:
// each is written anew about log2 n times when n compactions fill it. It notes which are in force afterwards.
func (c *compaction) archive(ctx context.Context) error {
	c.sort()
	kept, merged := c.plan()
	err := c.write(ctx, merged)
	if len(merged) > 0 && errors.Is(err, txlog.ErrCorrupt) {
		// What can't be read is left alone: it is told to who asks for it, and must not keep the memory from being freed.
		c.log.opts.Logger.Warn("damaged archive of the decision log", "error", err.Error())
		kept, err = append(kept, merged...), c.write(ctx, nil)
	}
	if err != nil {
		return err
	}
	c.archives = kept
	if c.written != nil {
		c.archives = append(c.archives, c.written)
	}
	return nil
}

// plan returns which archives stay, and which are merged with the settled decisions. The others are over.
func (c *compaction) plan() (kept, merged []*archive) {
	if len(c.settled) == 0 {
		for _, a := range c.before.list {
			if !c.over(a.last) {
				kept = append(kept, a)
			}
		}
		return kept, nil
	}
	count, size := int64(len(c.settled)), int64(0)
	first, last := c.settled[0].settledAt, c.settled[0].settledAt
	for _, d := range c.settled {
		first, last = min(first, d.settledAt), max(last, d.settledAt)
	}
	from := len(c.before.list) // where those that are merged begin
	for from > 0 {
		a := c.before.list[from-1]
		if !c.over(a.last) {
			first, last = min(first, a.first), max(last, a.last)
			if a.count > 2*count || size+a.size() > maxArchiveSize || time.Duration(last-first) > c.log.opts.Retention/maxArchiveSpan {
				break
			}
			count, size = count+a.count, size+a.size()
		}
		from--
	}
	for i, a := range c.before.list {
		switch {
		case c.over(a.last):
		case i < from:
			kept = append(kept, a)
		default:
			merged = append(merged, a)
		}
	}
	return kept, merged
}

// source yields decisions in the order of their IDs, and io.EOF at the end.
type source interface {
	next() (archived, error)
}

// settledSource is the decisions that come from memory.
type settledSource struct {
	list []settledDecision
	id   []byte
}

func (s *settledSource) next() (archived, error) {
	if len(s.list) == 0 {
		return archived{}, io.EOF
	}
	d := s.list[0]
	s.list = s.list[1:]
	s.id = append(s.id[:0], d.id...)
	return d.archived(s.id), nil
}

// write makes the archive, durably and under its name.
func (c *compaction) write(ctx context.Context, merged []*archive) error {
	l := c.log
	if len(c.settled) == 0 {
		return nil
	}
	sources := []source{&settledSource{list: c.settled}}
	blockSize := int64(minBlockSize)
	for _, d := range c.settled {
		blockSize = max(blockSize, blockSizeFor(d.archived(nil).size()+len(d.id)))
	}
	for _, a := range merged {
		r, err := openArchive(l.fs, l.dir, l.id, a)
		if err != nil {
			return err
		}
		defer r.file.Close()
		sources = append(sources, r.cursor())
		blockSize = max(blockSize, a.blockSize)
	}
	number := c.before.nextNumber(c.seq)
	name := archiveName(number)
	f, err := l.fs.Create(name + tmpSuffix)
	if err != nil {
		return err
	}
	defer f.Close()
	w := newArchiveWriter(f, l.id, number, blockSize)
	err = c.merge(ctx, w, sources)
	var made *archive
	if err == nil {
		made, err = w.finish()
	}
	if err != nil {
		_ = l.fs.Remove(name + tmpSuffix)
		return err
	}
	if err := l.fs.Rename(name+tmpSuffix, name); err != nil {
		return err
	}
	if err := l.fs.SyncDir(); err != nil {
		return l.latchOn(err)
	}
	c.written = made
	return nil
}

// merge adds what the sources hold. They hold no ID twice: what stands in an archive is not decided again.
func (c *compaction) merge(ctx context.Context, w *archiveWriter, sources []source) error {
	heads := make([]archived, 0, len(sources))
	live := sources[:0:0]
	for _, s := range sources {
		switch e, err := s.next(); {
		case err == nil:
			heads, live = append(heads, e), append(live, s)
		case err != io.EOF:
			return err
		}
	}
	for len(live) > 0 {
		if w.count%mergeStep == 0 {
			c.log.mu.Lock()
			err := c.stopped(ctx)
			c.log.mu.Unlock()
			if err != nil {
				return err
			}
		}
		least := 0
		for i := range heads {
			if string(heads[i].id) < string(heads[least].id) {
				least = i
			}
		}
		if err := w.add(heads[least]); err != nil {
			return fmt.Errorf("archive %s: %w", archiveName(w.number), err)
		}
		e, err := live[least].next()
		switch {
		case err == io.EOF:
			last := len(live) - 1
			live[least], heads[least] = live[last], heads[last]
			live, heads = live[:last], heads[:last]
		case err != nil:
			return err
		default:
			heads[least] = e
		}
	}
	return nil
}

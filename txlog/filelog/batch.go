package filelog

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

// batch is a group of records that reach the disk with one sync. The first who adds to it leads: it writes the batch, for all of
// them. A lone caller leads at once, so that it pays one sync and no change of goroutine; who comes while a batch is being
// written gathers in the next, whose leader is called when that one is through. Batches are used again.
type batch struct {
	records []record
	settles []record       // of before: go along, and nobody waits for them
	roll    bool           // begin a new segment first
	members atomic.Int32   // who waits for it, and has not yet seen how it ended
	lead    chan struct{}  // holds a token once it is this batch's turn
	done    sync.WaitGroup // 1 until err is final
	err     error
	watch   chan struct{} // closed when err is final; for those who do not wait as members. nil until somebody asks
}

func newBatch() *batch {
	b := &batch{lead: make(chan struct{}, 1)}
	b.done.Add(1)
	return b
}

// watched returns the channel that is closed once the batch is through. l.mu is held.
func (b *batch) watched() chan struct{} {
	if b.watch == nil {
		b.watch = make(chan struct{})
	}
	return b.watch
}

// commit waits until the batch, to which the caller has just added, is written, and writes it if that falls to the
// caller. l.mu is held, and released.
func (l *Log) commit(b *batch) error {
	leads := b.members.Add(1) == 1
	atOnce := !l.writing
	l.writing = true
	l.mu.Unlock()
	switch {
	case !leads:
		b.done.Wait()
	case atOnce:
		l.lead(b)
	default:
		<-b.lead
		l.lead(b)
	}
	err := b.err
	if b.members.Add(-1) == 0 {
		l.recycle(b)
	}
	return err
}

// lead writes the batch, and calls the leader of the next.
func (l *Log) lead(b *batch) {
	l.mu.Lock()
	l.next, l.spare = l.spare, nil
	if l.next == nil {
		l.next = newBatch()
	}
	b.settles, l.settles = l.settles, b.settles
	failed := l.latched
	l.mu.Unlock()

	if failed != nil {
		l.conclude(b, false, latchedError(failed))
	} else {
		attempted, err := l.write(b.roll, b.settles, b.records)
		l.conclude(b, attempted, err)
	}
	if b.members.Load() > 1 {
		// Those who have just been released are about to decide again: let them come along. Otherwise they and those who wait now
		// would take turns, and each sync would carry half.
		runtime.Gosched()
	}
	l.handOver()
}

// recycle keeps the batch, which nobody looks at any more, for the next use.
func (l *Log) recycle(b *batch) {
	if cap(b.records) > 1<<10 || cap(b.settles) > 1<<10 {
		return
	}
	clear(b.records)
	clear(b.settles)
	b.records, b.settles, b.roll, b.err, b.watch = b.records[:0], b.settles[:0], false, nil, nil
	b.done.Add(1)
	l.mu.Lock()
	l.spare = b
	l.mu.Unlock()
}

func latchedError(cause error) error {
	return fmt.Errorf("open the log again, after an earlier failure: %w", cause)
}

// conclude tells those who wait for the batch.
func (l *Log) conclude(b *batch, attempted bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range b.records {
		r := &b.records[i]
		decides := r.kind.decides()
		if decides {
			delete(l.pending, r.id)
		}
		switch {
		case err == nil:
			// Contradicts nothing: Decide looked for what stands, and for what is pending.
			_ = l.index.apply(r, l.active.seq)
		case decides && attempted:
			l.unknown[r.id] = true
		}
	}
	l.written = l.active.end
	switch {
	case err != nil && attempted:
		b.err = fmt.Errorf("outcome is unknown: %w", err)
	case err != nil:
		b.err = notDecided(err)
	}
	if err != nil {
		l.latch(err)
	}
	if b.watch != nil {
		close(b.watch)
	}
	b.done.Done()
}

// handOver marks what was written, and calls the leader of the next batch, if that has come to be waited for.
func (l *Log) handOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.next.members.Load() == 0 && l.latched == nil {
		l.mu.Unlock()
		err := l.active.mark()
		l.mu.Lock()
		if err != nil {
			l.latch(err)
		}
	}
	if l.writing = l.next.members.Load() > 0; l.writing {
		l.next.lead <- struct{}{}
	}
}

// latch refuses all later writing (rule P5). l.mu is held.
func (l *Log) latch(err error) {
	if l.latched == nil {
		l.latched = err
		l.opts.Logger.Error("decision log latched: it takes no decision until it is opened again", "dir", l.dir, "error", err.Error())
	}
}

// write puts the records on the disk. attempted tells whether they may have got there in spite of an error. Only the
// leader calls it, and Close.
func (l *Log) write(roll bool, settles, records []record) (attempted bool, err error) {
	l.buf = l.active.seed.appendBatch(l.buf[:0], l.active.end, settles, records)
	full := l.active.end+int64(len(l.buf)) > l.opts.SegmentSize
	if (roll || full) && l.active.end > headerSize {
		if err := l.roll(); err != nil {
			return false, err
		}
		l.buf = l.active.seed.appendBatch(l.buf[:0], l.active.end, settles, records)
	}
	if len(settles)+len(records) == 0 {
		return false, nil
	}
	attempted, err = l.active.append(l.buf, l.opts.extent)
	if cap(l.buf) > 1<<20 {
		l.buf = nil
	}
	return attempted, err
}

// finish puts on the disk what was settled, and a mark: damage to the last decision is then told from a torn tail.
// Nothing else uses the log any more.
func (l *Log) finish() error {
	if l.latched != nil {
		return nil // whoever caused that was told
	}
	if len(l.settles) > 0 {
		if _, err := l.write(false, l.settles, nil); err != nil {
			return err
		}
	}
	if err := l.active.mark(); err != nil {
		return err
	}
	return l.active.file.Sync()
}

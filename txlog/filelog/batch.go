package filelog

import (
	"fmt"
	"runtime"
)

// batch is a group of records that reach the disk with one sync. Who adds to it waits for done; one of those who wait
// leads: it writes the batch for all of them. A lone caller leads at once, so that it pays one sync and no change of goroutine;
// who comes while a batch is being written gathers in the next, whose leader is called when that one is through.
type batch struct {
	records []record
	roll    bool          // begin a new segment first
	waited  bool          // somebody waits for it
	lead    chan struct{} // holds a token once it is this batch's turn
	done    chan struct{} // closed once err is final
	err     error
}

func newBatch() *batch {
	return &batch{lead: make(chan struct{}, 1), done: make(chan struct{})}
}

// commit waits until the batch, to which the caller has just added, is written, and writes it if that falls to the
// caller. l.mu is held, and released.
func (l *Log) commit(b *batch) {
	leads := !l.writing
	l.writing = true
	b.waited = true
	l.mu.Unlock()
	if !leads {
		select {
		case <-b.done:
			return
		case <-b.lead:
		}
		// Those whom the last batch has just released are about to decide again: let them come along. Otherwise
		// they and the others would take turns, and each sync would carry half.
		runtime.Gosched()
	}
	l.mu.Lock()
	l.next = newBatch()
	records := append(l.settles, b.records...)
	l.settles = nil
	failed := l.latched
	l.mu.Unlock()

	if failed != nil {
		l.conclude(b, records, false, latchedError(failed))
	} else {
		attempted, err := l.write(records, b.roll)
		l.conclude(b, records, attempted, err)
	}
	l.handOver()
}

func latchedError(cause error) error {
	return fmt.Errorf("open the log again, after an earlier failure: %w", cause)
}

// conclude tells those who wait for the batch.
func (l *Log) conclude(b *batch, records []record, attempted bool, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range records {
		decides := r.kind == kindCommit || r.kind == kindAbort
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
	close(b.done)
}

// handOver marks what was written, and calls the leader of the next batch, if that has come to be waited for.
func (l *Log) handOver() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.next.waited && l.latched == nil {
		l.mu.Unlock()
		err := l.active.mark()
		l.mu.Lock()
		if err != nil {
			l.latch(err)
		}
	}
	if l.writing = l.next.waited; l.writing {
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
func (l *Log) write(records []record, roll bool) (attempted bool, err error) {
	l.buf = l.active.seed.appendBatch(l.buf[:0], l.active.end, records)
	full := l.active.end+int64(len(l.buf)) > l.opts.SegmentSize
	if (roll || full) && l.active.end > headerSize {
		if err := l.roll(); err != nil {
			return false, err
		}
		l.buf = l.active.seed.appendBatch(l.buf[:0], l.active.end, records)
	}
	if len(records) == 0 {
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
		if _, err := l.write(l.settles, false); err != nil {
			return err
		}
	}
	if err := l.active.mark(); err != nil {
		return err
	}
	return l.active.file.Sync()
}

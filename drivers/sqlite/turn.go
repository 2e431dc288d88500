//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/xasql/xasql/drivers"
)

// turns queues the branches of this process that write: SQLite has one writer a file, and its polling for the
// lock would let some wait for ever. The queue belongs to the file, whatever Driver and pool a branch comes from: hence a global.
var turns = turnstile{queues: map[fileID]*queue{}}

// fileID is a file's identity: other paths to it, and other spellings, are the same file.
type fileID struct {
	dev, ino uint64
	path     string // where there is no file to ask
}

func identify(path string) fileID {
	info, err := os.Stat(path)
	if err == nil {
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			return fileID{dev: uint64(st.Dev), ino: st.Ino}
		}
	}
	return fileID{path: path}
}

type turnstile struct {
	mu     sync.Mutex // guards queues, and what they hold
	queues map[fileID]*queue
}

// queue is a file's: who has the turn, and who waits, the first first.
type queue struct {
	holder  *turn
	waiting []*turn
}

// turn is one branch's place, from Begin until the branch is finished, or its connection is closed.
type turn struct {
	file fileID
	conn connID
	xid  drivers.XID
	has  chan struct{} // closed when it is this one's turn
}

// take waits for the turn.
func (ts *turnstile) take(ctx context.Context, file fileID, conn connID, xid drivers.XID) (*turn, error) {
	t := &turn{file: file, conn: conn, xid: xid, has: make(chan struct{})}
	ts.mu.Lock()
	q := ts.queues[file]
	if q == nil {
		q = &queue{}
		ts.queues[file] = q
	}
	q.waiting = append(q.waiting, t)
	ts.advance(q)
	ts.mu.Unlock()

	select {
	case <-t.has:
		return t, nil
	default:
	}
	// Nobody tells when the holder's connection has been closed: look for that.
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-t.has:
			return t, nil
		case <-tick.C:
			ts.mu.Lock()
			ts.advance(q)
			ts.mu.Unlock()
		case <-ctx.Done():
			ts.give(t)
			return nil, fmt.Errorf("waiting behind another branch on this file: %w", ctx.Err())
		}
	}
}

// advance gives the turn to the first who waits, if nobody has it.
func (ts *turnstile) advance(q *queue) {
	if q.holder != nil && !q.holder.conn.alive() {
		q.holder = nil
	}
	if q.holder == nil && len(q.waiting) > 0 {
		q.holder, q.waiting = q.waiting[0], q.waiting[1:]
		close(q.holder.has)
	}
}

// give gives the turn, or the place in the queue, up. Doing so twice is harmless.
func (ts *turnstile) give(t *turn) {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	q := ts.queues[t.file]
	if q == nil {
		return
	}
	if q.holder == t {
		q.holder = nil
	}
	q.waiting = slices.DeleteFunc(q.waiting, func(w *turn) bool { return w == t })
	ts.advance(q)
	if q.holder == nil && len(q.waiting) == 0 {
		delete(ts.queues, t.file)
	}
}

// holds reports whether a live connection of this process works on the branch.
func (ts *turnstile) holds(file fileID, xid drivers.XID) bool {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	q := ts.queues[file]
	return q != nil && q.holder != nil && q.holder.xid == xid && q.holder.conn.alive()
}

// holder returns the XID of the branch of this process that has the turn, "" where there is none.
func (ts *turnstile) holder(file fileID) string {
	ts.mu.Lock()
	defer ts.mu.Unlock()
	q := ts.queues[file]
	if q == nil || q.holder == nil || !q.holder.conn.alive() {
		return ""
	}
	return q.holder.xid.String()
}

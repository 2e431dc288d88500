package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/xasql/xasql/txlog"
)

// A batch is bounded so that no statement grows beyond what a server takes, and nobody waits long for a stranger's.
const (
	maxBatch      = 256
	maxBatchBytes = 256 << 10
	maxAttempts   = 4
)

// write is the goroutine that writes decisions. A lone one goes at once; those that come while one is written go together
// afterwards, in one statement and one commit.
func (l *Log) write() {
	for {
		select {
		case <-l.decided:
		case <-l.closing:
			return // no call is under way any more
		}
		for l.writeNext() {
		}
	}
}

// batch is what is written with one statement.
type batch struct {
	items []*item
	taken bool // out of the queue, and sent
}

// writeNext writes one batch, and tells whether there is another.
func (l *Log) writeNext() (more bool) {
	ctx, cancel := context.WithTimeout(context.Background(), l.opts.limit)
	defer cancel()
	b := &batch{}
	err := l.once(ctx, b)
	if !b.taken {
		b.items = l.take(math.MaxInt, math.MaxInt) // nothing was sent
	} else if err != nil {
		err = l.persist(ctx, b, err)
	}
	l.conclude(b.items, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue) > 0
}

// take takes the next items out of the queue. They count as sent.
func (l *Log) take(rows, bytes int) []*item {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for n < min(rows, len(l.queue)) {
		r := l.queue[n].row
		if bytes -= len(r.id) + len(r.resources) + len(r.evidence) + 32; bytes < 0 && n > 0 {
			break
		}
		l.queue[n].sent = true
		n++
	}
	b := slices.Clone(l.queue[:n])
	l.queue = slices.Delete(l.queue, 0, n)
	slices.SortFunc(b, byID)
	return b
}

// persist repeats a batch that failed until the outcome of each item is known, or the time is over. The unique key makes that harmless, and
// more: the database lets the new INSERT wait for the lost one if that still runs, so that its answer is certain.
func (l *Log) persist(ctx context.Context, b *batch, err error) error {
	for attempt := 2; err != nil && ctx.Err() == nil; attempt++ {
		possible := slices.ContainsFunc(b.items, func(it *item) bool { return it.possible })
		if attempt > maxAttempts && !possible {
			break
		}
		if attempt > 2 {
			pause(ctx, min(time.Duration(attempt)*10*time.Millisecond, 200*time.Millisecond))
		}
		if attempt == maxAttempts && len(b.items) > 1 && !possible {
			// One row that the database refuses shall not take the others with it.
			for _, it := range b.items {
				alone := &batch{[]*item{it}, true}
				l.conclude(alone.items, l.persist(ctx, alone, l.once(ctx, alone)))
			}
			b.items = nil
			return nil
		}
		err = l.once(ctx, b)
	}
	return err
}

// once makes one attempt.
func (l *Log) once(ctx context.Context, b *batch) error {
	return l.writer.do(ctx, func(ctx context.Context, conn *sql.Conn) error { return l.attempt(ctx, conn, b) })
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// attempt sends the batch once. When that fails it asks on the same connection what became of it: a connection that answers has nothing in
// flight any more.
func (l *Log) attempt(ctx context.Context, conn *sql.Conn, b *batch) error {
	answers, err := l.insert(ctx, conn, b)
	if err == nil {
		for _, it := range b.items {
			if it.outcome = answers[it.row.id]; it.outcome == txlog.Undecided {
				// Decided, settled, and dropped again since: that decision has had its time.
				err = errors.Join(err, fmt.Errorf("no decision of %q stands", it.id))
			}
		}
		return err
	}
	if l.grammar.atomic && !errors.Is(err, errLost) {
		return err // it was rolled back
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	if errors.Is(err, errLost) || l.writer.alive(ctx) != nil {
		markPossible(b.items, nil)
		return errors.Join(err, errLost)
	}
	// Who is found may be found before he is durable, and is left to the next attempt, which makes sure of that.
	found, failed := l.standing(ctx, conn, b.items)
	if failed != nil {
		found = nil
	}
	markPossible(b.items, found)
	return err
}

// markPossible notes the items that may have been recorded: those that were found, and all where nobody could be asked. Once
// possible, an item stays so: what another connection sees, or not, says nothing of the lost one.
func markPossible(items []*item, found map[string]txlog.Outcome) {
	for _, it := range items {
		if found == nil || found[it.row.id] != txlog.Undecided {
			it.possible = true
		}
	}
}

// insert records those of the batch of which no decision stands, and returns what stands of all of them. It takes the batch out of the
// queue at the last moment: until then a caller may leave. It leaves time for another attempt over another connection.
func (l *Log) insert(ctx context.Context, conn *sql.Conn, b *batch) (answers map[string]txlog.Outcome, err error) {
	send := func() error {
		if !b.taken {
			b.items, b.taken = l.take(maxBatch, maxBatchBytes), true
		}
		if len(b.items) == 0 {
			return nil
		}
		ctx, cancel := context.WithTimeout(ctx, l.opts.limit*2/5)
		defer cancel()
		var err error
		answers, err = l.insertRows(ctx, conn, b.items)
		return err
	}
	if l.grammar.atomic {
		err = l.grammar.inTx(ctx, conn, send)
	} else {
		err = send()
	}
	return answers, err
}

// insertRows changes each row that it finds: its own commit then makes durable what somebody else has only just committed.
func (l *Log) insertRows(ctx context.Context, conn *sql.Conn, items []*item) (map[string]txlog.Outcome, error) {
	args := make([]any, 0, 5*len(items))
	for _, it := range items {
		args = append(args, it.row.id, it.row.outcome, it.row.resources, it.row.evidence, it.row.decidedAt)
	}
	query := l.grammar.text("INSERT INTO xasql_decision (id, outcome, resources, evidence, decided_at, settled_at) VALUES " +
		repeat("(?, ?, ?, ?, ?, 0)", len(items)) + " " + l.grammar.conflict)
	if l.grammar.returns {
		return outcomes(conn.QueryContext(ctx, query, args...))
	}
	result, err := conn.ExecContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	// A row that was there counts as two, since it is changed.
	if n, err := result.RowsAffected(); err != nil || n != int64(len(items)) {
		return l.standing(ctx, conn, items)
	}
	own := make(map[string]txlog.Outcome, len(items))
	for _, it := range items {
		if own[it.row.id], err = parseOutcome(it.row.outcome); err != nil {
			return nil, err
		}
	}
	return own, nil
}

// standing returns the outcomes that stand.
func (l *Log) standing(ctx context.Context, conn *sql.Conn, items []*item) (map[string]txlog.Outcome, error) {
	args := make([]any, len(items))
	for i, it := range items {
		args[i] = it.row.id
	}
	return outcomes(conn.QueryContext(ctx, l.grammar.text("SELECT id, outcome FROM xasql_decision WHERE id IN ("+list(len(items))+")"), args...))
}

func outcomes(rows *sql.Rows, err error) (map[string]txlog.Outcome, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	found := map[string]txlog.Outcome{}
	for rows.Next() {
		var id, text string
		if err := rows.Scan(&id, &text); err != nil {
			return nil, err
		}
		if found[id], err = parseOutcome(text); err != nil {
			return nil, err
		}
	}
	return found, rows.Err()
}

// conclude tells those who wait. An item of which no outcome is known, and which may have been recorded, is in doubt.
func (l *Log) conclude(items []*item, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, it := range items {
		delete(l.pending, it.id)
		_, doubtful := l.unknown[it.id]
		switch {
		case err == nil || it.outcome != txlog.Undecided:
			delete(l.unknown, it.id)
		case it.possible && !doubtful:
			it.err = fmt.Errorf("outcome is unknown: the database could not be asked in time: %w", err)
			l.unknown[it.id] = doubt{it.row, it.err, time.Now().Add(min(l.opts.retention(), time.Hour))}
		default:
			it.err = l.refusedLocked(it.id, err)
		}
		close(it.done)
	}
}

// findOut sends again what is in doubt.
func (l *Log) findOut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, u := range l.unknown {
		if l.pending[id] == nil && time.Now().Before(u.until) {
			l.enqueue(id, u.row)
		}
	}
	if len(l.queue) > 0 {
		wake(l.decided)
	}
}

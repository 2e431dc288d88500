package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

const (
	settleBatch = 500     // IDs that are noted as settled with one statement
	maxSettles  = 100_000 // that wait for the database; what is more stays unsettled until recovery settles it again
	cleanBatch  = 1000    // rows that are deleted with one statement
	pageSize    = 500
	// forgetAfter is how long what a dead member has left behind is kept at least.
	forgetAfter = 24 * time.Hour
	keepTick    = time.Second
	// touchEvery is how often the connections are used at least. The sessions end sooner than a vanished process is noticed otherwise, so
	// that what it was doing at that moment does not stay locked: see mysqlSettings and postgresSettings.
	touchEvery = 10 * time.Second
)

// Settle notes that every branch of the decision has confirmed. It does not wait for the database: what was settled is
// written together, a moment later, and at Close. Settle of an unknown or settled ID is nil.
func (l *Log) Settle(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(true); err != nil {
		return fmt.Errorf("sqllog: settle %q: %w", id, err)
	}
	if len(l.settles) < maxSettles {
		l.settles = append(l.settles, encode(id))
	}
	if n := len(l.settles); n == 1 || n == settleBatch {
		wake(l.settled)
	}
	return nil
}

// keep is the goroutine that notes what was settled, asks what became of decisions in doubt, and cleans up: whatever
// need not be done at once, so that it is done with few commits.
func (l *Log) keep() {
	tick := time.NewTicker(keepTick)
	defer tick.Stop()
	touch := time.NewTicker(touchEvery)
	defer touch.Stop()
	clean := time.NewTimer(rand.N(l.opts.sweep)) // not all processes at once
	defer clean.Stop()
	for {
		select {
		case <-l.closing:
			return
		case <-l.settled:
			if !l.gather() {
				return
			}
			l.complain("note what was settled", l.flush(l.ctx))
		case <-tick.C:
			l.findOut()
		case <-touch.C:
			l.complain("reach its database", errors.Join(l.writer.touch(l.ctx), l.side.touch(l.ctx)))
		case <-clean.C:
			l.complain("clean up", l.clean(l.ctx))
			clean.Reset(l.opts.sweep/2 + rand.N(l.opts.sweep))
		}
	}
}

// gather waits for more to be settled. It returns false when the log is closing.
func (l *Log) gather() bool {
	l.mu.Lock()
	full := len(l.settles) >= settleBatch
	l.mu.Unlock()
	if full {
		return true
	}
	select {
	case <-l.closing:
		return false
	case <-l.settled:
	case <-time.After(l.opts.settle):
	}
	return true
}

// complain tells of a failure that nobody waits for.
func (l *Log) complain(what string, err error) {
	if err != nil && l.ctx.Err() == nil {
		l.opts.Logger.Warn("the decision log could not "+what+": it will try again", "error", err.Error())
	}
}

// flush writes what was settled, also what another flush has just taken. What fails is kept for the next time.
func (l *Log) flush(ctx context.Context) error {
	select {
	case l.noting <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-l.noting }()
	for {
		l.mu.Lock()
		n := min(len(l.settles), settleBatch)
		ids := l.settles[:n:n]
		l.settles = l.settles[n:]
		l.mu.Unlock()
		if n == 0 {
			return nil
		}
		err := l.run(ctx, "UPDATE xasql_decision SET settled_at = :now WHERE settled_at = 0 AND id IN ("+list(n)+")", anys(ids)...)
		if err != nil {
			l.mu.Lock()
			l.settles = append(l.settles, ids...)
			l.mu.Unlock()
			time.AfterFunc(keepTick, func() { wake(l.settled) })
			return err
		}
	}
}

// run runs a statement on the side.
func (l *Log) run(ctx context.Context, query string, args ...any) error {
	return l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		_, err := conn.ExecContext(ctx, l.grammar.text(query), args...)
		return err
	})
}

// column returns the first column of a query's rows, which are texts.
func (l *Log) column(ctx context.Context, query string, args ...any) ([]string, error) {
	var list []string
	err := l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		list = nil
		rows, err := conn.QueryContext(ctx, l.grammar.text(query), args...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				return err
			}
			list = append(list, s)
		}
		return rows.Err()
	})
	return list, err
}

func anys(list []string) []any {
	args := make([]any, len(list))
	for i, s := range list {
		args[i] = s
	}
	return args
}

// Compact drops, now, the settled decisions whose retention is over, and what nobody needs any more of members that are gone. It
// works in small steps, between which everything else goes on; several processes may do so at once. A context that ends leaves the
// rest for later.
func (l *Log) Compact(ctx context.Context) error {
	end, err := l.begin(true)
	if err == nil {
		defer end()
		if err = l.flush(ctx); err == nil {
			err = l.clean(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("sqllog: compact: %w", err)
	}
	return nil
}

// clean first asks which rows are due, then deletes them by their keys, so that no gap or row is locked in vain.
func (l *Log) clean(ctx context.Context) error {
	retention := l.opts.retention().Microseconds()
	old := max(retention, forgetAfter.Microseconds())
	return errors.Join(
		l.cleanUp(ctx, "xasql_decision", "id", "SELECT id FROM xasql_decision WHERE settled_at > 0 AND settled_at <= :now - ? ORDER BY settled_at", "settled_at > 0", retention),
		l.cleanUp(ctx, "xasql_member", "mark", "SELECT mark FROM xasql_member WHERE expires <= :now - ?", "expires <= :now - ?", old),
		l.cleanUp(ctx, "xasql_claim", "id", `SELECT c.id FROM xasql_claim c LEFT JOIN xasql_decision d ON d.id = c.id LEFT JOIN xasql_member m ON m.mark = c.mark
			WHERE d.id IS NULL AND m.mark IS NULL AND c.claimed_at <= :now - ?`, "claimed_at <= :now - ?", old),
	)
}

// cleanUp deletes the rows whose keys the query finds, as far as the condition holds of them still.
func (l *Log) cleanUp(ctx context.Context, table, key, query, condition string, age int64) error {
	for {
		due, err := l.column(ctx, fmt.Sprintf("%s LIMIT %d", query, cleanBatch), age)
		if err != nil || len(due) == 0 {
			return err
		}
		args := anys(due)
		if condition != "settled_at > 0" {
			args = append(args, age)
		}
		if err := l.run(ctx, "DELETE FROM "+table+" WHERE "+key+" IN ("+list(len(due))+") AND "+condition, args...); err != nil {
			return err
		}
		if len(due) < cleanBatch {
			return nil
		}
	}
}

package sqllog

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/xasql/xasql/txlog"
)

const entryColumns = "SELECT id, outcome, resources, evidence, decided_at, settled_at FROM xasql_decision "

// entry is a row of the decisions' table.
type entry struct {
	txlog.Entry
	key       string
	decidedAt int64
}

// Unsettled iterates over the decisions that are not settled, oldest first, and all of them that stood when the iteration
// began. Nothing is held between two of them: the log, Settle and Decide too, may be used within the iteration.
func (l *Log) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	return func(yield func(txlog.Decision, error) bool) {
		at, id := int64(-1<<62), ""
		next := func(ctx context.Context) ([]entry, error) {
			page, err := l.page(ctx, "WHERE settled_at = 0 AND decided_at >= ? AND (decided_at > ? OR id > ?) ORDER BY decided_at, id", at, at, id)
			if len(page) > 0 {
				last := page[len(page)-1]
				at, id = last.decidedAt, last.key
			}
			return page, err
		}
		err := l.walk(ctx, next, func(e entry) bool { return yield(e.Decision, nil) })
		if err != nil {
			yield(txlog.Decision{}, fmt.Errorf("sqllog: unsettled: %w", err))
		}
	}
}

// Entries iterates over all decisions that the log keeps, by ID. Nothing is held between two of them.
func (l *Log) Entries(ctx context.Context) iter.Seq2[txlog.Entry, error] {
	return func(yield func(txlog.Entry, error) bool) {
		id := ""
		next := func(ctx context.Context) ([]entry, error) {
			page, err := l.page(ctx, "WHERE id > ? ORDER BY id", id)
			if len(page) > 0 {
				id = page[len(page)-1].key
			}
			return page, err
		}
		err := l.walk(ctx, next, func(e entry) bool { return yield(e.Entry, nil) })
		if err != nil {
			yield(txlog.Entry{}, fmt.Errorf("sqllog: entries: %w", err))
		}
	}
}

// walk visits page after page.
func (l *Log) walk(ctx context.Context, next func(context.Context) ([]entry, error), visit func(entry) bool) error {
	for first := true; ; first = false {
		end, err := l.begin(false)
		if err != nil {
			return err
		}
		if first && !l.opts.ReadOnly {
			err = l.flush(ctx) // what this opening has settled is settled
		}
		var page []entry
		if err == nil {
			page, err = next(ctx)
		}
		end()
		if err != nil {
			return err
		}
		for _, e := range page {
			if err := ctx.Err(); err != nil {
				return err
			}
			if !visit(e) {
				return nil
			}
		}
		if len(page) < pageSize {
			return nil
		}
	}
}

func (l *Log) page(ctx context.Context, where string, args ...any) ([]entry, error) {
	var page []entry
	query := l.grammar.text(fmt.Sprintf("%s%s LIMIT %d", entryColumns, where, pageSize))
	err := l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		rows, err := conn.QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		if page, err = scanEntries(rows); err == nil && len(page) > 0 {
			err = l.secure(ctx, conn)
		}
		return err
	})
	return page, err
}

func scanEntries(rows *sql.Rows) ([]entry, error) {
	defer rows.Close()
	var page []entry
	for rows.Next() {
		var e entry
		var outcome, resources, evidence string
		var settledAt int64
		if err := rows.Scan(&e.key, &outcome, &resources, &evidence, &e.decidedAt, &settledAt); err != nil {
			return nil, err
		}
		o, err := parseOutcome(outcome)
		if err != nil {
			return nil, err
		}
		e.ID, e.Outcome, e.Resources = decode(e.key), o, decodeList(resources)
		e.Evidence = decodeEvidence(evidence, len(e.Resources))
		e.At, e.SettledAt = time.UnixMicro(e.decidedAt).UTC(), fromMicros(settledAt)
		page = append(page, e)
	}
	return page, rows.Err()
}

// Member is one row of the members' table, as `log info` shows it.
type Member struct {
	txlog.Holder
	Since, Expires time.Time // by the database's clock
}

// Info is what a person may want to know of a log.
type Info struct {
	ID        string
	Dialect   Dialect
	Version   int // of the schema
	Unsettled int
	Settled   int
	Members   []Member // oldest first; also those who are not alive any more
}

// Info asks the database.
func (l *Log) Info(ctx context.Context) (Info, error) {
	info, err := l.info(ctx)
	if err != nil {
		return Info{}, fmt.Errorf("sqllog: info: %w", err)
	}
	return info, nil
}

func (l *Log) info(ctx context.Context) (Info, error) {
	end, err := l.begin(false)
	if err != nil {
		return Info{}, err
	}
	defer end()
	if !l.opts.ReadOnly {
		if err := l.flush(ctx); err != nil {
			return Info{}, err
		}
	}
	info := Info{ID: l.id, Dialect: l.dialect}
	err = l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		err := conn.QueryRowContext(ctx, `SELECT version, (SELECT COUNT(*) FROM xasql_decision WHERE settled_at = 0),
			(SELECT COUNT(*) FROM xasql_decision WHERE settled_at > 0) FROM xasql_log`).Scan(&info.Version, &info.Unsettled, &info.Settled)
		if err != nil {
			return err
		}
		rows, err := conn.QueryContext(ctx, l.grammar.text("SELECT mark, name, "+alive+", since, expires FROM xasql_member ORDER BY since, mark"))
		if err != nil {
			return err
		}
		defer rows.Close()
		info.Members = nil
		for rows.Next() {
			var m Member
			var since, expires int64
			if err := rows.Scan(&m.Mark, &m.Name, &m.Alive, &since, &expires); err != nil {
				return err
			}
			m.Since, m.Expires = fromMicros(since), fromMicros(expires)
			info.Members = append(info.Members, m)
		}
		return rows.Err()
	})
	return info, err
}

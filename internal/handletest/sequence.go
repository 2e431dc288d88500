package handletest

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

// Config is what a sequence is made of. Seed alone is needed.
type Config struct {
	Seed  uint64
	Steps int // zero: 200
	// Rebind gives a statement the engine's placeholders. nil: they are question marks.
	Rebind func(query string) string
	// Aborts: a failed statement aborts its transaction. Which error comes first then depends on what the connection has prepared before, so
	// two errors of the driver's are taken for the same, as long as they are the same of database/sql's and the contexts' own. Inside
	// goes back to a savepoint after each.
	Aborts bool
}

// Create makes the table, empty.
func (c Config) Create(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "CREATE TABLE handletest (id INTEGER PRIMARY KEY, n BIGINT, s VARCHAR(40) NOT NULL)")
	return err
}

// querier is what *sql.DB, *sql.Tx, *sql.Conn and *xa.Branch have in common.
type querier interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
	PrepareContext(ctx context.Context, query string) (*sql.Stmt, error)
}

// player is one side of a sequence.
type player interface {
	// querier returns what a statement is to be called on; the word is one of the sequence's.
	querier(on string) querier
	context() context.Context
	stmt() **sql.Stmt // the slot for a prepared statement
}

// step is one call: its name, and what it does on a side, which returns the outcome in words.
type step struct {
	name string
	do   func(p player) string
}

// sequence draws steps.
type sequence struct {
	cfg  Config
	r    *rand.Rand
	told []string
}

func newSequence(cfg Config) *sequence {
	if cfg.Steps == 0 {
		cfg.Steps = 200
	}
	if cfg.Rebind == nil {
		cfg.Rebind = func(query string) string { return query }
	}
	return &sequence{cfg: cfg, r: rand.New(rand.NewPCG(cfg.Seed, 0))}
}

// play makes the call on both sides and compares. It tells whether it failed.
func (q *sequence) play(t testing.TB, s step, plain, handle player) bool {
	t.Helper()
	q.told = append(q.told, s.name)
	want, got := s.do(plain), s.do(handle)
	if !q.same(want, got) {
		t.Fatalf("seed %d, after\n\t%s\nthe plain handle answers\n\t%s\nand ours\n\t%s", q.cfg.Seed, strings.Join(q.told, "\n\t"), want, got)
	}
	return strings.Contains(want, failed)
}

func (q *sequence) same(want, got string) bool {
	if q.cfg.Aborts && strings.HasPrefix(want, failed) && strings.HasPrefix(got, failed) {
		want, _, _ = strings.Cut(want, cause)
		got, _, _ = strings.Cut(got, cause)
	}
	return want == got
}

// statement draws a statement on one of the words. Without write it only reads.
func (q *sequence) statement(write bool, on ...string) step {
	s := q.drawStatement(write)
	where := on[q.r.IntN(len(on))]
	return step{where + ": " + s.name, func(p player) string { return s.do(p.context(), p.querier(where)) }}
}

// call is a statement, on whatever it is called.
type call struct {
	name string
	do   func(ctx context.Context, on querier) string
}

const (
	insert   = "INSERT INTO handletest (id, n, s) VALUES (?, ?, ?)"
	update   = "UPDATE handletest SET n = n + ? WHERE id <= ?"
	remove   = "DELETE FROM handletest WHERE id = ?"
	selects  = "SELECT id, n, s FROM handletest WHERE id >= ? ORDER BY id"
	selectsS = "SELECT s FROM handletest WHERE id = ?"
	counts   = "SELECT COUNT(*), MAX(s), SUM(n) FROM handletest"
)

func (q *sequence) drawStatement(write bool) call {
	id := q.r.IntN(12)
	exec := func(query string, args ...any) call {
		return call{fmt.Sprint("exec ", query, args), func(ctx context.Context, on querier) string {
			return result(on.ExecContext(ctx, q.cfg.Rebind(query), args...))
		}}
	}
	n := q.r.IntN(16)
	if !write {
		n = 8 + n%8
	}
	switch n {
	case 0, 1, 2:
		return exec(insert, id, q.value(), q.text())
	case 3, 4:
		return exec(update, q.r.IntN(5), id)
	case 5:
		return exec(remove, int64(id))
	case 6:
		return exec(insert, id, 1, nil) // s is NOT NULL
	case 7:
		return exec("UPDATE handletest SET n = NULL WHERE id = ?", id)
	case 8, 9, 10:
		limit := q.r.IntN(14)
		return call{fmt.Sprintf("query from %d, read %d", id, limit), func(ctx context.Context, on querier) string {
			rows, err := on.QueryContext(ctx, q.cfg.Rebind(selects), id)
			return rowsOf(rows, err, limit)
		}}
	case 11, 12:
		return call{fmt.Sprint("query row ", id), func(ctx context.Context, on querier) string {
			var s string
			err := on.QueryRowContext(ctx, q.cfg.Rebind(selectsS), id).Scan(&s)
			return fmt.Sprintf("%q %s", s, describe(err))
		}}
	case 13:
		return call{"query aggregates", func(ctx context.Context, on querier) string {
			rows, err := on.QueryContext(ctx, counts)
			return rowsOf(rows, err, 2)
		}}
	case 14:
		return q.prepared(id)
	}
	return q.wrong(id)
}

// ended makes a query under a context that has ended.
func (q *sequence) ended(on ...string) step {
	where := on[q.r.IntN(len(on))]
	return step{where + ": query under a context that has ended", func(p player) string {
		ctx, cancel := context.WithCancel(p.context())
		cancel()
		rows, err := p.querier(where).QueryContext(ctx, q.cfg.Rebind(selects), 1)
		return rowsOf(rows, err, 1)
	}}
}

// prepared prepares a statement, runs it twice, and closes it.
func (q *sequence) prepared(id int) call {
	return call{fmt.Sprint("prepare and query ", id), func(ctx context.Context, on querier) string {
		stmt, err := on.PrepareContext(ctx, q.cfg.Rebind(selects))
		if err != nil {
			return describe(err)
		}
		first, err := stmt.QueryContext(ctx, id)
		out := rowsOf(first, err, 3)
		second, err := stmt.QueryContext(ctx, fmt.Sprint(id+1))
		out += rowsOf(second, err, 20)
		_, err = stmt.QueryContext(ctx)
		out += describe(err)
		out += describe(stmt.Close())
		_, err = stmt.ExecContext(ctx, id)
		return out + describe(err)
	}}
}

// wrong are statements that fail before they reach the table.
func (q *sequence) wrong(id int) call {
	query, args := selects, []any{struct{ no int }{id}}
	switch q.r.IntN(5) {
	case 0:
		query, args = "SELECT nothing FROM handletest", nil
	case 1:
		args = []any{make(chan int)}
	case 2:
		args = []any{failing{}}
	case 3:
		query, args = "SELEKT 1", nil
	}
	return call{fmt.Sprintf("query %s with %T", query, args), func(ctx context.Context, on querier) string {
		rows, err := on.QueryContext(ctx, q.cfg.Rebind(query), args...)
		return rowsOf(rows, err, 1)
	}}
}

// value draws an argument for n.
func (q *sequence) value() any {
	n := q.r.IntN(1000)
	switch q.r.IntN(6) {
	case 0:
		return nil
	case 1:
		return sql.NullInt64{Int64: int64(n), Valid: n%2 == 0}
	case 2:
		return &n
	case 3:
		return valuer(n)
	case 4:
		return uint16(n)
	}
	return n
}

// text draws an argument for s.
func (q *sequence) text() any {
	s := strings.Repeat("tëxt ", q.r.IntN(4))
	if q.r.IntN(2) == 0 {
		return sql.NullString{String: s, Valid: true}
	}
	return s
}

// keepStatement prepares, in the side's slot, a statement that is used later.
func (q *sequence) keepStatement(on string) step {
	return step{on + ": prepare for later", func(p player) string {
		slot := p.stmt()
		if *slot != nil {
			(*slot).Close()
		}
		var err error
		*slot, err = p.querier(on).PrepareContext(p.context(), q.cfg.Rebind(selects))
		return describe(err)
	}}
}

// useStatement runs the statement that was kept; through rebinds it, e.g. to a transaction.
func (q *sequence) useStatement(name string, through func(p player, s *sql.Stmt) *sql.Stmt) step {
	id := q.r.IntN(12)
	return step{fmt.Sprint(name, " ", id), func(p player) string {
		stmt := *p.stmt()
		if stmt == nil {
			return "none"
		}
		rows, err := through(p, stmt).QueryContext(p.context(), id)
		return rowsOf(rows, err, 20)
	}}
}

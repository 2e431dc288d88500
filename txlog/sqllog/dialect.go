package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Dialect is the SQL that the log's database speaks.
type Dialect struct{ name string }

// The dialects.
var (
	Postgres = Dialect{"postgres"}
	MySQL    = Dialect{"mysql"} // MariaDB too
	SQLite   = Dialect{"sqlite"}
)

// String returns "postgres", "mysql" or "sqlite".
func (d Dialect) String() string { return d.name }

// grammar is what differs between the databases. Every other statement is written once, with ? for parameters, and
// :now for the database's clock in microseconds since 1970.
type grammar struct {
	schema   string // the statements that make the tables, each ended by ";\n"
	now      string // the expression for :now
	numbered bool   // parameters are $1, $2 and so on

	probe     string // a query that only this kind of database answers
	sessionID string // a query for a number that tells this session of the server from every other
	sessions  int    // how many connections the log keeps for itself

	begin    string
	lock     string // taken within a transaction, makes it the only one of those that lock; "" where begin does
	conflict string // of Decide's INSERT: what it does with an ID that stands already. It must write something.
	returns  bool   // conflict ends in RETURNING id, outcome
	keep     string // of an INSERT: keeps the row that is there
	atomic   bool   // Decide's INSERT is a transaction of its own, which costs nothing: one that was rolled back is a definite no
	barrier  string // a write whose commit makes durable what was read before it; "" where nothing is visible before it is durable
	tries    int    // how often a statement is tried

	prepare  func(ctx context.Context, conn *sql.Conn, opts Options) error      // settles the session, and tells what makes the database unfit
	tables   func(ctx context.Context, conn *sql.Conn) (map[string]bool, error) // which of the log's tables there are, or why they won't do
	withLock func(ctx context.Context, conn *sql.Conn, f func() error) error    // runs f while no other process makes tables
}

// grammarOf returns nil for the zero Dialect.
func grammarOf(d Dialect) *grammar {
	switch d {
	case Postgres:
		return postgresGrammar()
	case MySQL:
		return mysqlGrammar()
	case SQLite:
		return sqliteGrammar()
	}
	return nil
}

// text puts a statement into the database's own words.
func (g *grammar) text(query string) string {
	query = strings.ReplaceAll(query, ":now", g.now)
	if !g.numbered {
		return query
	}
	var b strings.Builder
	n := 0
	for part := range strings.SplitSeq(query, "?") {
		if n > 0 {
			b.WriteString("$" + strconv.Itoa(n))
		}
		b.WriteString(part)
		n++
	}
	return b.String()
}

// repeat returns the text n times, with commas between.
func repeat(s string, n int) string { return strings.TrimSuffix(strings.Repeat(s+", ", n), ", ") }

// list returns n parameters, "?, ?, ?".
func list(n int) string { return repeat("?", n) }

// recognize makes sure that the connection leads to a database of this kind.
func (g *grammar) recognize(ctx context.Context, conn *sql.Conn) error {
	err := ask(ctx, conn, g.probe)
	if err == nil || ctx.Err() != nil {
		return err
	}
	for d, name := range map[Dialect]string{Postgres: "sqllog.Postgres", MySQL: "sqllog.MySQL", SQLite: "sqllog.SQLite"} {
		if other := grammarOf(d); other.probe != g.probe && ask(ctx, conn, other.probe) == nil {
			return fmt.Errorf("the database speaks another dialect: open it with %s", name)
		}
	}
	return err
}

// ask runs a query for one value, which it drops.
func ask(ctx context.Context, conn *sql.Conn, query string) error {
	var v any
	return conn.QueryRowContext(ctx, query).Scan(&v)
}

// execEach runs statements that each end in ";\n".
func execEach(ctx context.Context, conn *sql.Conn, statements string) error {
	for s := range strings.SplitSeq(statements, ";\n") {
		if strings.TrimSpace(s) == "" {
			continue
		}
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// inTx runs f in a transaction. An error that is errLost means that the connection can't be used any more.
func (g *grammar) inTx(ctx context.Context, conn *sql.Conn, f func() error) error {
	_, err := conn.ExecContext(ctx, g.begin)
	if err != nil {
		return err
	}
	if err = f(); err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
	}
	if err == nil {
		return nil
	}
	// A transaction that stays open would swallow everything after it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	if _, undo := conn.ExecContext(ctx, "ROLLBACK"); undo != nil {
		return errors.Join(err, errLost)
	}
	return err
}

// alone runs f in a transaction beside which no other such one runs, in any process.
func (g *grammar) alone(ctx context.Context, conn *sql.Conn, f func() error) error {
	return g.inTx(ctx, conn, func() error {
		if g.lock != "" {
			if err := ask(ctx, conn, g.lock); err != nil {
				return err
			}
		}
		return f()
	})
}

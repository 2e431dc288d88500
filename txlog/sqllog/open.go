package sqllog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xasql/xasql/txlog"
)

// version is that of the tables.
const version = 1

// Open opens the log in the database, and makes the tables first where there are none and the options allow it. Any number of processes may
// do so at once. The log keeps two connections of the pool for itself until Close (with SQLite one), apart from their settings the
// pool stays as it is; it is the caller's to close, after the log.
//
// Open fails, and says what to do, where the database can't keep what it acknowledges, speaks another dialect, was made by a
// later version, or can't be written by this user.
func Open(ctx context.Context, db *sql.DB, d Dialect, opts *Options) (*Log, error) {
	l, err := open(ctx, db, d, opts)
	if err != nil {
		return nil, fmt.Errorf("sqllog: open: %w", err)
	}
	return l, nil
}

func open(ctx context.Context, db *sql.DB, d Dialect, o *Options) (*Log, error) {
	opts, err := o.withDefaults(d)
	if err != nil {
		return nil, err
	}
	g := opts.grammar
	l := &Log{
		dialect: d, grammar: g, opts: opts,
		closing: make(chan struct{}), decided: make(chan struct{}, 1), settled: make(chan struct{}, 1), noting: make(chan struct{}, 1),
		pending: map[string]*item{}, unknown: map[string]doubt{}, members: map[*member]bool{},
	}
	limit := make(chan struct{}, 1)
	l.side = newSession(db, g, limit, l.prepare)
	l.writer = l.side
	sessions := g.sessions
	if opts.ReadOnly {
		sessions = 1
	}
	if sessions > 1 {
		l.writer = newSession(db, g, limit, l.prepare)
	}
	if err := checkPool(db, sessions); err != nil {
		return nil, err
	}
	l.ctx, l.end = context.WithCancel(context.Background())
	err = l.side.do(ctx, l.adopt)
	if err == nil && l.writer != l.side {
		err = l.writer.do(ctx, func(context.Context, *sql.Conn) error { return nil })
	}
	if err != nil {
		l.end()
		l.side.close()
		l.writer.close()
		return nil, err
	}
	l.side.patience, l.writer.patience = opts.limit, opts.limit // not for adopt, which may have tables to make
	if !opts.ReadOnly {
		l.beside.Go(l.write)
		l.beside.Go(l.keep)
	}
	return l, nil
}

// prepare readies a new connection for the log. One that leads elsewhere than the first did is refused.
func (l *Log) prepare(ctx context.Context, conn *sql.Conn) error {
	if err := l.grammar.recognize(ctx, conn); err != nil {
		return err
	}
	if err := l.grammar.prepare(ctx, conn, l.opts); err != nil {
		return err
	}
	if l.id == "" {
		return nil // Open's own
	}
	id, err := l.identity(ctx, conn)
	if err == nil && id != l.id {
		err = fmt.Errorf("the pool leads to another log now: its identity is %q, and was %q", id, l.id)
	}
	return err
}

// adopt finds or makes the tables, and learns the log's identity.
func (l *Log) adopt(ctx context.Context, conn *sql.Conn) error {
	missing, err := l.missing(ctx, conn)
	if err == nil && len(missing) > 0 {
		if l.opts.Existing || l.opts.ReadOnly {
			return fmt.Errorf("no log is here: there is no table %s: open it once for writing, or run the statements that sqllog.Schema prints", strings.Join(missing, ", "))
		}
		err = l.create(ctx, conn)
	}
	if err != nil {
		return err
	}
	id, err := l.identity(ctx, conn)
	if errors.Is(err, txlog.ErrCorrupt) && !l.opts.ReadOnly {
		// MySQL shows tables before they are filled: who makes them has the lock until then, unless he was killed.
		if err = l.create(ctx, conn); err == nil {
			id, err = l.identity(ctx, conn)
		}
	}
	if err != nil {
		return err
	}
	if l.opts.ReadOnly {
		if id == "" {
			return errors.New("the log has never been opened for writing: there is nothing to read")
		}
		l.id = id
		return nil
	}
	// Also where it has an identity already: it is the proof that the user may write.
	err = l.grammar.alone(ctx, conn, func() error {
		if id, err = l.identity(ctx, conn); err != nil || id != "" {
			return err
		}
		id = newIdentity()
		_, err := conn.ExecContext(ctx, l.grammar.text("UPDATE xasql_log SET id = ?, made_at = :now WHERE singleton = 1"), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("the log can't be written: the user needs SELECT, INSERT, UPDATE and DELETE on its tables, and the server must not be read-only: %w", err)
	}
	l.id = id
	return nil
}

// tableNames are the log's tables. The first is the last to be filled.
func tableNames() []string {
	return []string{"xasql_log", "xasql_decision", "xasql_resource", "xasql_member", "xasql_claim", "xasql_note"}
}

func isTable(name string) bool { return slices.Contains(tableNames(), name) }

// missing returns the tables that there are not.
func (l *Log) missing(ctx context.Context, conn *sql.Conn) ([]string, error) {
	found, err := l.grammar.tables(ctx, conn)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(tableNames(), func(name string) bool { return found[name] }), nil
}

// create makes the tables that there are not. It completes what a killed process has begun, where nobody has used that yet: not a later version's log,
// and not one that has lost its identity.
func (l *Log) create(ctx context.Context, conn *sql.Conn) error {
	return l.grammar.withLock(ctx, conn, func() error {
		missing, err := l.missing(ctx, conn)
		if err != nil {
			return err
		}
		if !slices.Contains(missing, "xasql_log") {
			_, err = l.identity(ctx, conn)
			if err == nil && len(missing) == 0 {
				return nil // somebody else has made them meanwhile
			}
			if errors.Is(err, txlog.ErrCorrupt) && !l.opts.Existing {
				err = l.unused(ctx, conn, missing, err)
			}
		}
		if err != nil {
			return err
		}
		if err = execEach(ctx, conn, l.grammar.schema); err != nil {
			err = fmt.Errorf("make the tables (sqllog.Schema prints the statements, for somebody who may): %w", err)
		}
		return err
	})
}

// unused returns nil where all tables that there are are empty, and otherwise the error.
func (l *Log) unused(ctx context.Context, conn *sql.Conn, missing []string, otherwise error) error {
	for _, name := range tableNames() {
		if slices.Contains(missing, name) {
			continue
		}
		var rows int
		if err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM (SELECT 1 FROM "+name+" LIMIT 1) AS one").Scan(&rows); err != nil {
			return err
		}
		if rows > 0 {
			return otherwise
		}
	}
	return nil
}

// identity returns the log's identity, "" before its first opening.
func (l *Log) identity(ctx context.Context, conn *sql.Conn) (string, error) {
	var v int
	var id string
	err := conn.QueryRowContext(ctx, "SELECT version, id FROM xasql_log WHERE singleton = 1").Scan(&v, &id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", fmt.Errorf("%w: table xasql_log is empty: the last statement that sqllog.Schema prints fills it", txlog.ErrCorrupt)
	case err != nil:
		return "", err
	case v > version:
		return "", fmt.Errorf("the log has version %d, and this program knows up to %d: use a newer one", v, version)
	}
	return id, nil
}

func newIdentity() string { return strings.ToLower(rand.Text()[:12]) }

// Schema returns the statements that make the log's tables, for those who run their own migrations. Each ends in a semicolon and a line
// break. To run them again changes nothing. "" for the zero Dialect.
func Schema(d Dialect) string {
	if g := grammarOf(d); g != nil {
		return g.schema
	}
	return ""
}

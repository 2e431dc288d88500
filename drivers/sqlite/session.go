//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
)

// session is a connection while it can't be closed or used by others: inside sql.Conn.Raw. Its statements go to SQLite itself, past
// database/sql and the Go driver.
type session struct {
	bridge
	id  connID
	raw *sqlite3.SQLiteConn
}

// within calls f with the session of conn.
func within(conn *sql.Conn, f func(s session) error) error {
	return onRaw(conn, func(raw *sqlite3.SQLiteConn) error {
		id, err := idOf(raw)
		if err != nil {
			return err
		}
		s := session{raw: raw, id: id}
		if s.bridge, err = id.bridge(); err != nil {
			return err
		}
		return f(s)
	})
}

// idOf returns a connection's number. It is looked up by SQLite's handle, which the Go driver keeps in an unexported field; where there is
// no such field, the connection is asked.
func idOf(raw *sqlite3.SQLiteConn) (connID, error) {
	if f := reflect.ValueOf(raw).Elem().FieldByName("db"); f.IsValid() && f.Kind() == reflect.Pointer {
		if id := connOf(f.UnsafePointer()); id != 0 {
			return id, nil
		}
	}
	rows, err := raw.QueryContext(context.Background(), "SELECT "+whoAmI, nil)
	if isRefused(err) {
		return 0, errUnfinished
	}
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	row := make([]sqldriver.Value, 1)
	if err := rows.Next(row); err != nil {
		return 0, err
	}
	id, ok := row[0].(int64)
	if !ok {
		return 0, errForeign
	}
	return connID(id), nil
}

// whoAmI is the connection's number, where the function that captures changes is in its place.
const whoAmI = "char('xasql')"

var (
	errForeign    = errors.New("the connection was opened before package sqlite was initialised, or on another copy of SQLite, or the application has registered a function named char")
	errUnfinished = errors.New("the connection carries an unfinished branch: it must be discarded, not pooled")
)

// onRaw calls f with the driver's connection.
func onRaw(conn *sql.Conn, f func(raw *sqlite3.SQLiteConn) error) error {
	return conn.Raw(func(dc any) error {
		// Tracing drivers wrap the connection, and give it out by this method.
		for wrapped, ok := dc.(interface{ Raw() sqldriver.Conn }); ok; wrapped, ok = dc.(interface{ Raw() sqldriver.Conn }) {
			dc = wrapped.Raw()
		}
		raw, ok := dc.(*sqlite3.SQLiteConn)
		if !ok {
			return fmt.Errorf("%w: the connection is a %T: open the pool with github.com/mattn/go-sqlite3", drivers.ErrNotSupported, dc)
		}
		return f(raw)
	})
}

// discard closes the connection instead of giving it back to its pool.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return sqldriver.ErrBadConn })
	_ = conn.Close()
}

// exec runs statements; with arguments, only one.
func (s session) exec(query string, args ...any) error {
	_, err := s.query(query, args...)
	return err
}

// query returns all rows.
func (s session) query(query string, args ...any) (all []row, err error) {
	st := statement{sql: query}
	st.add(args...)
	err = s.run(st, func(_ int, r row) { all = append(all, r) })
	return all, err
}

// value returns the first value of the first row, nil where there is no row.
func (s session) value(query string, args ...any) (any, error) {
	rows, err := s.query(query, args...)
	if err != nil || len(rows) == 0 {
		return nil, err
	}
	return rows[0][0], nil
}

// number returns a value that is an integer.
func (s session) number(query string, args ...any) (int64, error) {
	v, err := s.value(query, args...)
	return integer(v), err
}

// integer, text and blob convert what SQLite returned; of another type, or NULL: the zero value.
func integer(v any) int64 {
	i, _ := v.(int64)
	return i
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// blob returns nil only for NULL.
func blob(v any) []byte {
	b, _ := v.([]byte)
	return b
}

// quote writes a name, literal a text, as SQL.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }
func literal(s string) string  { return `'` + strings.ReplaceAll(s, `'`, `''`) + `'` }

// lock begins a transaction that holds the file's write lock. timeout is the connection's own, which is left as it was.
func (s session) lock(ctx context.Context, timeout int64) error {
	return s.withPatience(ctx, timeout, func() error { return s.exec("BEGIN IMMEDIATE") })
}

// patiently calls f until the file is not busy, or until ctx ends. SQLite's own wait knows no context, and sleeps longer and longer,
// so that a program that writes all the time starves it.
func (s session) patiently(ctx context.Context, f func() error) error {
	timeout, err := s.number("PRAGMA busy_timeout")
	if err != nil {
		return err
	}
	return s.withPatience(ctx, timeout, f)
}

// A program that writes in a loop leaves the file free for some microseconds at a time. To meet such a gap in time, this one asks again within
// a millisecond, and several times in a row: that costs a few hundredths of a core.
const (
	firstPause   = 50 * time.Microsecond
	longestPause = time.Millisecond
	triesInARow  = 4
)

func (s session) withPatience(ctx context.Context, timeout int64, f func() error) error {
	s.busyTimeout(0)
	defer s.busyTimeout(timeout)
	var busy error
	// It asks once also when ctx has ended by then: a process that did not get to run proves nothing of the file.
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		if err := ctx.Err(); err != nil && busy != nil {
			return fmt.Errorf("waiting for the file: %w (%w)", err, busy)
		}
		for range triesInARow {
			if busy = f(); !isBusy(busy) {
				return busy
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

// undo ends the transaction, if there is one.
func (s session) undo() error {
	if s.autocommit() {
		return nil
	}
	return s.exec("ROLLBACK")
}

// settings are those of a connection that a branch needs to know, or to change.
type settings struct {
	journal     string
	synchronous int64
	timeout     int64 // SQLite's own, in milliseconds
	recursive   bool
	temp        int64 // the schema version of what is temporary
}

// settings reads them all in one go.
func (s session) settings() (settings, error) {
	rows, err := s.query("PRAGMA main.journal_mode; PRAGMA main.synchronous; PRAGMA busy_timeout; PRAGMA recursive_triggers; PRAGMA temp.schema_version")
	if isRefused(err) {
		err = errUnfinished
	}
	if err != nil {
		return settings{}, err
	}
	return settings{journal: text(rows[0][0]), synchronous: integer(rows[1][0]), timeout: integer(rows[2][0]), recursive: integer(rows[3][0]) != 0, temp: integer(rows[4][0])}, nil
}

// full is the setting of synchronous under which a commit survives a loss of power. The Go driver's default for WAL files is
// less.
const full = 2

// synchronous sets it, outside of a transaction; more than full is left as it is.
func (s session) synchronous(was, want int64) error {
	if was >= full {
		return nil
	}
	return s.exec(fmt.Sprintf("PRAGMA main.synchronous=%d", want))
}

// transact runs f in a transaction that holds the write lock, and that is durable when transact returns nil.
func (s session) transact(ctx context.Context, f func() error) (err error) {
	set, err := s.settings()
	if err != nil {
		return err
	}
	if err := s.synchronous(set.synchronous, full); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.synchronous(set.synchronous, set.synchronous)) }()
	if err := s.lock(ctx, set.timeout); err != nil {
		return err
	}
	if err := f(); err != nil {
		return errors.Join(err, s.undo())
	}
	if err := s.exec("COMMIT"); err != nil {
		return errors.Join(err, s.undo())
	}
	return nil
}

// hasAuthorizer reports whether the application has registered an authorizer on the connection. A branch needs that
// place, and SQLite can't give the old one back. The Go driver keeps it in an unexported field; where there is no such
// field, the answer is false.
func hasAuthorizer(raw *sqlite3.SQLiteConn) bool {
	f := reflect.ValueOf(raw).Elem().FieldByName("authorizerHandle")
	return f.IsValid() && f.Kind() == reflect.UnsafePointer && !f.IsNil()
}

package memdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// session is the server's end of a connection. Its fields are guarded by DB.mu.
type session struct {
	db    *DB
	txn   *txn          // the last transaction; it may be finished, perhaps by somebody else
	cut   bool          // the client gets no answer any more
	ended chan struct{} // closed when the server knows that the client is gone
}

// endSession does what a server does when it notices that a client is gone. d.mu is held.
func (d *DB) endSession(s *session) {
	select {
	case <-s.ended:
		return
	default:
	}
	s.cut = true
	close(s.ended)
	delete(d.sessions, s)
	if t := s.txn; t != nil {
		switch t.state {
		case active:
			d.finish(t, false)
		case prepared:
			t.holder = nil
		}
	}
}

// open returns the session's transaction that is not finished, or nil. db.mu is held.
func (s *session) open() *txn {
	if s.txn == nil || s.txn.state == finished {
		return nil
	}
	return s.txn
}

// begin starts a transaction on the session; a zero xid starts a local one. db.mu is held.
func (s *session) begin(xid drivers.XID, opts *sql.TxOptions) (*txn, error) {
	if err := checkOptions(opts); err != nil {
		return nil, err
	}
	if s.open() != nil {
		return nil, errors.New("memdb: the connection is inside a transaction already")
	}
	t := newTxn(xid, opts)
	if !t.local() {
		if s.db.branches[xid] != nil {
			return nil, fmt.Errorf("memdb: branch %s exists already", xid)
		}
		s.db.branches[xid] = t
	}
	t.holder, s.txn = s, t
	return t, nil
}

// reply is a statement's answer: at most one row of one column.
type reply struct {
	column   string
	value    *string
	affected int64
}

// execute runs a statement in the session's transaction, or in one of its own.
func (s *session) execute(ctx context.Context, query string, args []driver.NamedValue) (reply, error) {
	words, err := bind(query, args)
	if err != nil {
		return reply{}, err
	}
	if err := ctx.Err(); err != nil {
		return reply{}, err
	}
	d := s.db
	d.mu.Lock()
	defer d.mu.Unlock()
	t := s.open()
	switch {
	case t == nil:
		t = newTxn(drivers.XID{}, nil)
		r, err := s.statement(ctx, t, words)
		if t.state == active {
			d.finish(t, err == nil)
		}
		return r, err
	case t.state == prepared:
		d.violations = append(d.violations, fmt.Sprintf("%s: statement %q beside the prepared branch %s", d.name, query, t.xid))
		return reply{}, fmt.Errorf("memdb: branch %s is prepared: no statement before it is finished", t.xid)
	case t.aborted != nil:
		return reply{}, fmt.Errorf("memdb: the transaction is aborted: roll it back: %w", t.aborted)
	}
	r, err := s.statement(ctx, t, words)
	if err != nil && d.Style.AbortOnError && t.aborted == nil {
		t.aborted = err
	}
	return r, err
}

// statement runs one statement in t. d.mu is held, but for waits.
func (s *session) statement(ctx context.Context, t *txn, words []string) (reply, error) {
	d := s.db
	verb := strings.ToUpper(words[0])
	nargs, ok := map[string]int{"PUT": 2, "INSERT": 2, "DEL": 1, "GET": 1, "COUNT": 0, "POISON": 0}[verb]
	if !ok || len(words) != nargs+1 {
		return reply{}, fmt.Errorf("memdb: no such statement: %q", strings.Join(words, " "))
	}
	switch verb {
	case "GET":
		if t.level == sql.LevelSerializable {
			if err := d.lock(ctx, s, t, words[1]); err != nil {
				return reply{}, err
			}
		}
		r := reply{column: "value"}
		if v, ok := d.read(t, words[1]); ok {
			r.value = &v
		}
		return r, nil
	case "COUNT":
		if t.level == sql.LevelSerializable {
			if err := d.lock(ctx, s, t, allKeys); err != nil {
				return reply{}, err
			}
		}
		n := strconv.Itoa(d.count(t))
		return reply{column: "count", value: &n}, nil
	case "POISON":
		t.aborted = errPoison
		return reply{}, errPoison
	}
	return s.change(ctx, t, verb, words[1], words[len(words)-1])
}

// change runs a statement that writes.
func (s *session) change(ctx context.Context, t *txn, verb, key, value string) (reply, error) {
	d := s.db
	if t.readOnly {
		return reply{}, errReadOnly
	}
	if err := d.lock(ctx, s, t, key); err != nil {
		return reply{}, err
	}
	_, exists := d.read(t, key)
	switch verb {
	case "INSERT":
		if exists {
			return reply{}, errConstraint
		}
	case "DEL":
		if !exists {
			return reply{}, nil
		}
		return reply{affected: 1}, d.write(t, key, nil)
	}
	return reply{affected: 1}, d.write(t, key, &value)
}

// bind splits a statement into words, and puts the arguments in the places of the question marks.
func bind(query string, args []driver.NamedValue) ([]string, error) {
	words := strings.Fields(query)
	if len(words) == 0 {
		return nil, errors.New("memdb: empty statement")
	}
	n := 0
	for i, w := range words {
		if w != "?" {
			continue
		}
		if n == len(args) {
			return nil, fmt.Errorf("memdb: %q has more question marks than the %d arguments", query, len(args))
		}
		switch v := args[n].Value.(type) {
		case []byte:
			words[i] = string(v)
		default:
			words[i] = fmt.Sprint(v)
		}
		n++
	}
	if n != len(args) {
		return nil, fmt.Errorf("memdb: %q has %d question marks for %d arguments", query, n, len(args))
	}
	return words, nil
}

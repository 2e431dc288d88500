package memdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/xasql/xasql/drivers"
)

type state uint8

const (
	active state = iota
	prepared
	finished
)

// allKeys is the key of the lock on the whole table, rows to come included.
const allKeys = ""

var (
	errSerialization = errors.New("memdb: the row has changed since the transaction's snapshot")
	errConstraint    = errors.New("memdb: a row with this key exists")
	errPoison        = errors.New("memdb: the engine aborted the transaction")
	errReadOnly      = errors.New("memdb: the transaction is read-only")
)

// txn is a transaction, a local one or a branch, as the server knows it. Its fields are guarded by DB.mu.
type txn struct {
	xid      drivers.XID // zero: a local transaction
	number   int         // of a branch: tells it from every other of its database
	level    sql.IsolationLevel
	readOnly bool

	state    state
	writes   map[string]*string // nil: deleted
	snapshot map[string]string  // nil until the first statement, and below repeatable read
	aborted  error              // what made the engine give up the transaction
	holder   *session           // the session that it depends on; nil for a prepared branch that anybody may finish
	done     chan struct{}      // closed when finished
	at       time.Time          // when it was prepared
	owner    string
}

func newTxn(xid drivers.XID, opts *sql.TxOptions) *txn {
	t := &txn{xid: xid, writes: map[string]*string{}, done: make(chan struct{})}
	if opts != nil {
		t.level, t.readOnly = opts.Isolation, opts.ReadOnly
	}
	return t
}

// ending is how a prepared branch ended.
type ending struct {
	committed bool
	evidence  string
}

func (t *txn) evidence() string { return fmt.Sprintf("branch %d", t.number) }

func (t *txn) local() bool { return t.xid == drivers.XID{} }

func checkOptions(opts *sql.TxOptions) error {
	if opts == nil {
		return nil
	}
	switch opts.Isolation {
	case sql.LevelDefault, sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable:
		return nil
	}
	return fmt.Errorf("memdb: isolation level %s: %w: use read committed, repeatable read or serializable",
		opts.Isolation, drivers.ErrNotSupported)
}

// lock gets a lock for t, waiting for others to finish. It is called with d.mu held, and lets go of it
// while waiting.
func (d *DB) lock(ctx context.Context, s *session, t *txn, key string) error {
	for {
		holder := d.conflict(t, key)
		if holder == nil {
			d.locks[key] = t
			return nil
		}
		d.mu.Unlock()
		var err error
		select {
		case <-holder.done:
		case <-s.ended:
			err = driver.ErrBadConn
		case <-ctx.Done():
			err = ctx.Err()
		}
		d.mu.Lock()
		if err != nil {
			return err
		}
		if t.state != active {
			return driver.ErrBadConn
		}
	}
}

// conflict returns a transaction that keeps t from locking key, or nil.
func (d *DB) conflict(t *txn, key string) *txn {
	if key != allKeys {
		for _, k := range []string{key, allKeys} {
			if h := d.locks[k]; h != nil && h != t {
				return h
			}
		}
		return nil
	}
	for _, h := range d.locks {
		if h != t {
			return h
		}
	}
	return nil
}

// read returns a row as t sees it.
func (d *DB) read(t *txn, key string) (string, bool) {
	if v, ok := t.writes[key]; ok {
		if v == nil {
			return "", false
		}
		return *v, true
	}
	v, ok := d.base(t)[key]
	return v, ok
}

// base returns the committed rows that t sees below its own writes.
func (d *DB) base(t *txn) map[string]string {
	if t.level != sql.LevelRepeatableRead {
		return d.rows
	}
	if t.snapshot == nil {
		t.snapshot = maps.Clone(d.rows)
	}
	return t.snapshot
}

// write writes a row that t has locked; nil deletes it.
func (d *DB) write(t *txn, key string, value *string) error {
	if t.level == sql.LevelRepeatableRead {
		was, had := d.base(t)[key]
		if is, has := d.rows[key]; is != was || has != had {
			t.aborted = errSerialization
			return errSerialization
		}
	}
	t.writes[key] = value
	return nil
}

func (d *DB) count(t *txn) int {
	n := len(d.base(t))
	for k, v := range t.writes {
		_, had := d.base(t)[k]
		switch {
		case v != nil && !had:
			n++
		case v == nil && had:
			n--
		}
	}
	return n
}

// finish ends a transaction: its writes are applied or dropped, its locks given up, its outcome kept.
func (d *DB) finish(t *txn, commit bool) {
	if commit {
		for k, v := range t.writes {
			if v == nil {
				delete(d.rows, k)
			} else {
				d.rows[k] = *v
			}
		}
	}
	if t.state == prepared && !t.local() {
		d.outcomes[t.xid] = ending{commit, t.evidence()}
	}
	for k, h := range d.locks {
		if h == t {
			delete(d.locks, k)
		}
	}
	if d.branches[t.xid] == t {
		delete(d.branches, t.xid)
	}
	t.state = finished
	close(t.done)
}

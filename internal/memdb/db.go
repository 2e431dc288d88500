package memdb

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/xasql/xasql/drivers"
)

// Style is what engines differ in. The zero value is an engine like PostgreSQL, without read-only votes.
type Style struct {
	// SessionBound keeps a prepared branch with the session that prepared it: others get drivers.ErrHeld until
	// that session has ended (rule P12), and the driver is a drivers.SessionEnder.
	SessionBound bool
	// ReadOnlyVotes lets a branch that wrote nothing vote drivers.VoteReadOnly, and makes it a drivers.ReadOnlyBranch.
	ReadOnlyVotes bool
	// Proof keeps every branch's outcome for ever, so that a second commit or rollback gets a proven answer.
	Proof bool
	// Evidence, with Proof, makes the branches drivers.EvidentBranch: without their evidence nothing is proven, so
	// that only drivers.Prover.Outcome can tell. With ReadOnlyVotes they give none.
	Evidence bool
	// AbortOnError lets any failed statement abort its transaction, as PostgreSQL does.
	AbortOnError bool
	// Bare leaves out the driver's optional interfaces.
	Bare bool
	// NoIdentity lets Identify answer drivers.ErrNotSupported.
	NoIdentity bool
	// Findings are what Check answers.
	Findings []drivers.Finding
}

// DB is one database.
type DB struct {
	// Style is set before the first use, and not changed afterwards.
	Style Style

	name     string
	identity string

	mu         sync.Mutex // guards what follows
	rows       map[string]string
	locks      map[string]*txn // by key; allKeys is the whole table's lock
	branches   map[drivers.XID]*txn
	strangers  map[string]*txn // prepared, with names that are no XIDs
	outcomes   map[drivers.XID]ending
	begun      int // branches so far
	sessions   map[*session]struct{}
	down       bool
	onEvent    func(string)
	faults     map[Op][]Fault
	violations []string
}

// New returns an empty database. The name begins each of its events.
func New(name string) *DB {
	return &DB{
		name:      name,
		identity:  "memdb:" + rand.Text(),
		rows:      map[string]string{},
		locks:     map[string]*txn{},
		branches:  map[drivers.XID]*txn{},
		strangers: map[string]*txn{},
		outcomes:  map[drivers.XID]ending{},
		sessions:  map[*session]struct{}{},
		faults:    map[Op][]Fault{},
	}
}

// Pool returns a new pool of connections to the database. The caller closes it.
func (d *DB) Pool() *sql.DB {
	return sql.OpenDB(connector{d})
}

// Get returns a committed value.
func (d *DB) Get(key string) (string, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	v, ok := d.rows[key]
	return v, ok
}

// Rows returns a copy of what is committed.
func (d *DB) Rows() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.rows)
}

// Crash kills the server and starts it again at once: every connection breaks, unprepared work is lost, prepared
// branches are kept and belong to no session any more. With [DB.Down] first, the server stays away.
func (d *DB) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.sessions {
		d.endSession(s)
	}
}

// Down sets whether new connections are refused. Those that are open stay.
func (d *DB) Down(down bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.down = down
}

// Vanish breaks every connection without the server's noticing: what their sessions hold, active or prepared, stays held until
// drivers.SessionEnder.EndSession, [DB.Finish] or [DB.Crash].
func (d *DB) Vanish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for s := range d.sessions {
		s.cut = true
	}
}

// Stats counts what is there now.
type Stats struct {
	Conns    int // open connections
	Active   int // transactions that are not prepared, local ones and those of vanished clients included
	Prepared int // prepared branches, strangers' included
}

// Stats returns what is there now.
func (d *DB) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	st := Stats{Prepared: len(d.strangers)}
	for _, t := range d.branches {
		if t.state == prepared {
			st.Prepared++
		}
	}
	for s := range d.sessions {
		if !s.cut {
			st.Conns++
		}
		if t := s.open(); t != nil && t.state == active {
			st.Active++
		}
	}
	return st
}

// Prepared returns the XIDs of the prepared branches, in order.
func (d *DB) Prepared() []drivers.XID {
	d.mu.Lock()
	defer d.mu.Unlock()
	var xids []drivers.XID
	for xid, t := range d.branches {
		if t.state == prepared {
			xids = append(xids, xid)
		}
	}
	slices.SortFunc(xids, func(a, b drivers.XID) int { return strings.Compare(a.String(), b.String()) })
	return xids
}

// Finish commits or rolls back a prepared branch behind everybody's back, as a person at the database would. It
// reports whether there was one.
func (d *DB) Finish(xid drivers.XID, commit bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.branches[xid]
	if t == nil || t.state != prepared {
		return false
	}
	d.finish(t, commit)
	return true
}

// Stranger makes a prepared branch of another program, with an XID or with a raw name, or
// takes it away again.
func (d *DB) Stranger(p drivers.Prepared, present bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !present && p.Raw != "":
		delete(d.strangers, p.Raw)
	case !present:
		if t := d.branches[p.XID]; t != nil {
			d.finish(t, false)
		}
	default:
		t := newTxn(p.XID, nil)
		t.state, t.at, t.owner = prepared, p.At, p.Owner
		if p.Raw != "" {
			d.strangers[p.Raw] = t
		} else {
			d.branches[p.XID] = t
		}
	}
}

// Violations returns what callers did that would harm a real pool, in order of time. A test expects none.
func (d *DB) Violations() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.violations)
}

// connector makes a DB's connections for database/sql.
type connector struct{ db *DB }

var errRefused = errors.New("memdb: connection refused")

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := c.db.run(ctx, OpConnect, nil, func() error { return nil }); err != nil {
		return nil, err
	}
	d := c.db
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.down {
		return nil, errRefused
	}
	s := &session{db: d, ended: make(chan struct{})}
	d.sessions[s] = struct{}{}
	return &conn{d, s}, nil
}

func (c connector) Driver() driver.Driver { return sqlDriver{c} }

// sqlDriver exists because driver.Connector asks for one: nobody opens a DB by a name.
type sqlDriver struct{ connector connector }

func (s sqlDriver) Open(string) (driver.Conn, error) {
	return s.connector.Connect(context.Background())
}

//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
)

// driver implements drivers.Driver, and its optional interfaces.
type driver struct {
	hook func(step string) // of crash tests: called between any two things that a crash may separate
}

func (d driver) step(name string) {
	if d.hook != nil {
		d.hook(name)
	}
}

// branch implements drivers.Branch.
type branch struct {
	driver  driver
	conn    *sql.Conn
	id      connID
	xid     drivers.XID
	turn    *turn // nil: it takes no write lock
	set     settings
	facts   *facts
	opts    sql.TxOptions
	state   branchState
	restore []func(s session) error // the connection's settings, the last first
	rowid   int64                   // what last_insert_rowid() is to be for the application
}

type branchState int

const (
	stateActive   branchState = iota // in its transaction, inside savepoint
	stateHeld                        // prepared: applied in an open transaction, whose COMMIT commits it
	stateRecorded                    // prepared, or not: only the file knows
	stateUnknown                     // a one-phase commit was not answered
	stateOver                        // finished, and the connection is clean
)

// savepoint encloses what the application does. It dies with the transaction, so it also tells ours from one that was started
// after SQLite had ended ours.
const savepoint = "_xa_branch"

// cleanUpLimit is how long clean-up may wait for the file, whatever has become of the caller's context.
const cleanUpLimit = 10 * time.Second

func cleanUp(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanUpLimit)
}

// Begin implements [drivers.Driver]. It waits for the file's write lock, unless the branch is read-only.
func (d driver) Begin(ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
	b := &branch{driver: d, conn: conn, xid: xid}
	if opts != nil {
		b.opts = *opts
	}
	if err := b.begin(ctx); err != nil {
		if b.turn != nil {
			turns.give(b.turn)
		}
		return nil, fmt.Errorf("sqlite: begin %s: %w", xid, err)
	}
	return b, nil
}

func (b *branch) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := b.xid.Validate(); err != nil {
		return err
	}
	if b.opts.Isolation < sql.LevelDefault || b.opts.Isolation > sql.LevelSerializable {
		return fmt.Errorf("%w: isolation level %s: SQLite's is serializable", drivers.ErrNotSupported, b.opts.Isolation)
	}
	err := within(b.conn, func(s session) (err error) {
		b.id = s.id
		if !s.autocommit() {
			return errors.New("the connection is in a transaction")
		}
		if b.set, err = s.settings(); err != nil {
			return err
		}
		if b.facts, err = s.facts(b.set.journal); err != nil {
			return err
		}
		return b.fit(s)
	})
	if err != nil {
		return err
	}
	if b.writes() {
		if b.turn, err = turns.take(ctx, b.facts.file, b.id, b.xid); err != nil {
			return err
		}
	}
	return b.within(func(s session) error {
		err := b.start(ctx, s)
		if err != nil {
			err = errors.Join(err, s.undo(), b.leave(s))
		}
		return err
	})
}

// writes reports whether the branch takes the write lock. A serializable one that only reads does, too: what
// it read must hold until every branch of the transaction has been prepared.
func (b *branch) writes() bool { return !b.opts.ReadOnly || b.holdsReads() }

func (b *branch) holdsReads() bool { return b.opts.Isolation == sql.LevelSerializable }

// start begins the transaction and puts the guard on.
func (b *branch) start(ctx context.Context, s session) error {
	b.rowid = s.lastRowid()
	if !b.writes() {
		if err := s.exec("BEGIN; SAVEPOINT " + savepoint); err != nil {
			return err
		}
		return b.guard(s, guardReadOnly)
	}
	if err := s.synchronous(b.set.synchronous, full); err != nil {
		return err
	}
	b.restore = append(b.restore, func(s session) error { return s.synchronous(b.set.synchronous, b.set.synchronous) })
	if err := b.lockFree(ctx, s); err != nil {
		return err
	}
	if err := s.exec("SAVEPOINT " + savepoint); err != nil {
		return err
	}
	if b.opts.ReadOnly {
		return b.guard(s, guardReadOnly)
	}
	return b.startCapture(s)
}

// fit checks that the branch would see all that is done on the connection.
func (b *branch) fit(s session) error {
	switch {
	case hasAuthorizer(s.raw):
		return fmt.Errorf("%w: the connection has an authorizer, whose place a branch needs: register none on this pool", drivers.ErrNotSupported)
	case !s.triggersEnabled():
		return fmt.Errorf("%w: triggers are turned off on the connection", drivers.ErrNotSupported)
	case b.facts.temp == b.set.temp && b.facts.temp != 0 || b.set.temp == 0:
		return nil
	}
	n, err := s.number("SELECT count(*) FROM temp.sqlite_schema WHERE type = 'trigger'")
	if err == nil && n > 0 {
		err = fmt.Errorf("%w: the connection has temporary triggers: drop them", drivers.ErrNotSupported)
	}
	if err == nil {
		b.facts.temp = b.set.temp
	}
	return err
}

// startCapture makes everything that the branch will change be captured.
func (b *branch) startCapture(s session) error {
	c := b.facts.capture
	if c == nil || b.facts.recursive != b.set.recursive {
		b.facts.recursive = b.set.recursive
		c = newCapture(b.facts.schema, b.facts.recursive)
		if err := s.writable(c.tables, c.writable); err != nil {
			return err
		}
		b.facts.capture = c
	}
	// Made inside the savepoint, so that a rollback takes them away.
	if c.create != "" {
		if err := s.exec(c.create); err != nil {
			return fmt.Errorf("capture changes: %w", err)
		}
	}
	if c.recursive {
		if err := s.exec("PRAGMA recursive_triggers=1"); err != nil {
			return err
		}
		b.restore = append(b.restore, func(s session) error { return s.exec("PRAGMA recursive_triggers=0") })
	}
	return b.guard(s, guardActive)
}

func (b *branch) guard(s session, g guard) error {
	s.setLastRowid(b.rowid)
	err := s.bridge.guard(g)
	if errors.Is(err, errCommitHook) {
		err = fmt.Errorf("%w: %w, whose place a branch needs: register none on this pool", drivers.ErrNotSupported, err)
	}
	return err
}

// leave makes the connection as it was before Begin, and ends the branch. There must be no transaction.
func (b *branch) leave(s session) error {
	s.unguard()
	var errs []error
	if b.captures() && b.facts.schema != nil && len(b.facts.schema.virtual) > 0 {
		errs = append(errs, s.forgetVirtual())
	}
	for i := len(b.restore) - 1; i >= 0; i-- {
		errs = append(errs, b.restore[i](s))
	}
	s.setLastRowid(b.rowid)
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("restore the connection's settings: %w", err)
	}
	b.restore, b.state = nil, stateOver
	if b.turn != nil {
		turns.give(b.turn)
	}
	return nil
}

// block undoes the transaction of a branch that could not be finished, and lets nothing more through on its connection, which
// the caller should discard.
func (b *branch) block(s session, cause error) error {
	return errors.Join(cause, s.undo(), s.bridge.guard(guardSealed))
}

// within calls f with the session of the branch's connection.
func (b *branch) within(f func(s session) error) error {
	return onRaw(b.conn, func(raw *sqlite3.SQLiteConn) (err error) {
		s := session{raw: raw, id: b.id}
		if s.bridge, err = b.id.bridge(); err != nil {
			return err
		}
		return f(s)
	})
}

// wrap adds what was done to which branch.
func (b *branch) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("sqlite: %s %s: %w", op, b.xid, err)
}

// ReadOnly implements [drivers.ReadOnlyBranch].
func (b *branch) ReadOnly(context.Context) (bool, error) {
	if b.state != stateActive || b.holdsReads() {
		return false, nil
	}
	r := b.id.look()
	return r.found && !r.ended && !r.wrote && !r.header, nil
}

// Explain implements [drivers.Explainer]: [drivers.ErrNotSupported] with the reason where the statement was
// refused, [drivers.ErrRolledBack] where SQLite has ended the transaction, and else err itself.
func (b *branch) Explain(err error) error {
	var cannot map[string]string
	if b.facts.capture != nil {
		cannot = b.facts.capture.cannot
	}
	return explain(err, b.id.look(), cannot, b.opts.ReadOnly, b.state == stateHeld || b.state == stateRecorded)
}

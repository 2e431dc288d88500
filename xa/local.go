package xa

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
)

// ownTx is the *sql.Tx behind a Branch's own methods. Its end is the end of their use of the connection.
type ownTx struct{}

func (ownTx) Commit() error   { return nil }
func (ownTx) Rollback() error { return nil }

// localTx is the application's *sql.Tx inside a branch.
type localTx struct {
	b     *Branch
	began string // where the application began it
}

// beginLocal begins the application's *sql.Tx. b.io is held.
func (b *Branch) beginLocal(opts driver.TxOptions) (driver.Tx, error) {
	if b.local != nil {
		return nil, fmt.Errorf("xa: branch %s: a local transaction is open already, begun %s: "+
			"the two would share one connection, and each other's rollback: end it first, or use a savepoint", b.res.Name, b.local.began)
	}
	own := b.tx.opts.Isolation
	if own == sql.LevelDefault { // with no engine below read committed, unless somebody has set it so
		own = sql.LevelReadCommitted
	}
	if want := sql.IsolationLevel(opts.Isolation); want > max(own, sql.LevelReadUncommitted) {
		return nil, fmt.Errorf("xa: branch %s: isolation level %v is asked for inside of a global transaction whose level is %v: set it in TxOptions of Do or Begin", b.res.Name, want, b.tx.opts.Isolation)
	}
	b.local = &localTx{b: b, began: at(caller())}
	return b.local, nil
}

// end ends the local use. It tells why the branch can't be committed any more.
func (l *localTx) end() error {
	if l.b.lock() {
		if l.b.local == l {
			l.b.local = nil
		}
		l.b.io.Unlock()
	}
	l.b.tx.mu.Lock()
	defer l.b.tx.mu.Unlock()
	switch {
	case l.b.tx.state != active:
		return l.b.tx.endedError()
	case l.b.tx.only != nil:
		return fmt.Errorf("xa: branch %s: the global transaction can only be rolled back: %w", l.b.res.Name, l.b.tx.only)
	}
	return nil
}

// Commit ends the local use; the commit stays with the global transaction.
func (l *localTx) Commit() error { return l.end() }

// Rollback marks the global transaction: what was done locally can't be undone alone.
func (l *localTx) Rollback() error {
	where := at(caller())
	if where == "" { // database/sql called it by itself
		where = "when its context ended"
	}
	l.b.tx.SetRollbackOnly(fmt.Errorf("branch %s: its local transaction was rolled back %s", l.b.res.Name, where))
	l.end()
	return nil
}

// plainTx is a local transaction outside of any global one.
type plainTx struct {
	raw driver.Tx
	ctx context.Context // BeginTx's
	p   *plain
}

func (t plainTx) Commit() error { return t.p.note(t.raw.Commit()) }

// Rollback keeps to what database/sql does when the context ends: a connection that could be neither reset nor validated is discarded.
func (t plainTx) Rollback() error {
	_, resets := t.p.raw.(driver.SessionResetter)
	_, validates := t.p.raw.(driver.Validator)
	if t.ctx.Err() != nil && !(resets && validates) {
		t.p.bad = true
	}
	return t.p.note(t.raw.Rollback())
}

// unended tells of a local transaction that the application has forgotten. b.io is held.
func (b *Branch) unended() error {
	if b.local == nil {
		return nil
	}
	return fmt.Errorf("branch %s: its local transaction, begun %s, was neither committed nor rolled back", b.res.Name, b.local.began)
}

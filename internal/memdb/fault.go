package memdb

import (
	"context"
	"database/sql/driver"
	"errors"

	"github.com/xasql/xasql/drivers"
)

// Op is a call that can fail, and that is told as an event.
type Op string

// The calls. The last four are told as no events.
const (
	OpBegin            Op = "begin"
	OpPrepare          Op = "prepare"
	OpCommit           Op = "commit"
	OpCommitOnePhase   Op = "commit-one-phase"
	OpRollback         Op = "rollback"
	OpReadOnly         Op = "read-only"
	OpList             Op = "list"
	OpCommitPrepared   Op = "commit-prepared"
	OpRollbackPrepared Op = "rollback-prepared"
	OpEndSession       Op = "end-session"

	OpIdentify  Op = "identify"
	OpOutcome   Op = "outcome"
	OpStatement Op = "statement"
	OpConnect   Op = "connect"
)

// Fault is what goes wrong with one call. Hook runs first, then Hang, Lost and Err give the answer; with none of
// the three, the call goes on.
type Fault struct {
	After bool   // the call has acted before the fault; else it does not act, unless there is only a Hook
	Hook  func() // called on the caller's goroutine
	Hang  bool   // wait until the context ends; the answer is its error, and the connection breaks
	Lost  bool   // the connection breaks; the answer is Err, or else driver.ErrBadConn
	Err   error  // the answer
}

// Fail lets the next call of op fail that no earlier Fail has a claim on.
func (d *DB) Fail(op Op, f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults[op] = append(d.faults[op], f)
}

// Heal forgets the faults that have not happened yet.
func (d *DB) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	clear(d.faults)
}

// OnEvent sets the function that gets one line a two-phase call, when it has its answer: "orders begin",
// "orders prepare: prepared", "orders commit: lost connection". Calls that run at once tell their events at once,
// so f must be safe for concurrent use. nil stops it.
func (d *DB) OnEvent(f func(event string)) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.onEvent = f
}

// run does one call: the fault that waits for it, if any, and the act.
func (d *DB) run(ctx context.Context, op Op, c *conn, act func() error) error {
	f, faulty := d.nextFault(op)
	if !faulty {
		return act()
	}
	if f.After {
		err := act()
		if ferr := d.suffer(ctx, c, f); ferr != nil {
			return ferr
		}
		return err
	}
	if err := d.suffer(ctx, c, f); err != nil {
		return err
	}
	return act()
}

func (d *DB) nextFault(op Op) (Fault, bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	queue := d.faults[op]
	if len(queue) == 0 {
		return Fault{}, false
	}
	d.faults[op] = queue[1:]
	return queue[0], true
}

func (d *DB) suffer(ctx context.Context, c *conn, f Fault) error {
	if f.Hook != nil {
		f.Hook()
	}
	if f.Hang {
		<-ctx.Done()
	}
	if c != nil && (f.Hang || f.Lost) {
		c.breakOff()
	}
	switch {
	case f.Err != nil:
		return f.Err
	case f.Hang:
		return ctx.Err()
	case f.Lost:
		return driver.ErrBadConn
	}
	return nil
}

// tell tells an event.
func (d *DB) tell(op Op, answer string, err error) {
	d.mu.Lock()
	f := d.onEvent
	d.mu.Unlock()
	if f == nil {
		return
	}
	if err != nil {
		answer = describe(err)
	}
	event := d.name + " " + string(op)
	if answer != "" {
		event += ": " + answer
	}
	f(event)
}

// describe says what an error is in words that stay the same from run to run.
func describe(err error) string {
	for _, known := range []struct {
		err  error
		text string
	}{
		{driver.ErrBadConn, "lost connection"},
		{drivers.ErrHeld, "held"},
		{drivers.ErrRolledBack, "rolled back"},
		{drivers.ErrCommitted, "already committed"},
		{drivers.ErrUnknownXID, "unknown xid"},
		{drivers.ErrNotSupported, "not supported"},
		{context.Canceled, "canceled"},
		{context.DeadlineExceeded, "deadline exceeded"},
	} {
		if errors.Is(err, known.err) {
			return known.text
		}
	}
	return err.Error()
}

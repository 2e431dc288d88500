package xa

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
)

// Raw calls f with the driver's own connection of the branch, e.g. pgx's *stdlib.Conn, for what database/sql has no words for: bulk loads,
// batches, the client library's own types. f must not use it after it has returned, nor end the transaction on it, nor
// call the branch's or the handle's methods: they wait until f has returned, or the transaction's timeout is over. After the transaction's end Raw returns [ErrTxDone]. The end waits
// for f; one that interrupts, as a timeout does, ends the context of [Manager.Do]'s function, which f should use.
//
// When f panics, or its error means that the connection is lost or a context has ended, the transaction can only be rolled back.
// Raw returns f's error.
func (b *Branch) Raw(f func(driverConn any) error) error {
	if err := b.acquire(context.Background()); err != nil {
		return err
	}
	defer b.io.Unlock()
	returned := false
	defer func() {
		if !returned {
			b.tx.SetRollbackOnly(&BranchError{Op: "statement", XID: b.xid, Err: errRawPanic})
		}
	}()
	err := f(b.raw)
	returned = true
	broken := len(b.rows) == 0 && !b.answers() // with rows open some drivers call the connection busy
	ended := errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
	if explained := b.explain(context.Background(), err); explained != nil {
		err = explained
	}
	switch {
	case broken && err == nil:
		err = errBroken
		fallthrough
	case broken, ended:
		b.tx.SetRollbackOnly(&BranchError{Op: "statement", XID: b.xid, Err: err})
	}
	return err
}

// answers tells whether the connection is still of use. A driver that can't tell has to ask. b.io is held.
func (b *Branch) answers() bool {
	switch raw := b.raw.(type) {
	case driver.Validator:
		return raw.IsValid()
	case driver.Pinger:
		return raw.Ping(b.tx.lifetime) == nil
	}
	return true
}

var (
	errRawPanic = errors.New("Raw's function did not return")
	errBroken   = errors.New("Raw's function has left the connection broken or busy")
)

// Raw calls f with the driver's own connection under a *sql.Conn, as its method Raw does. On a connection of [Manager.DB]'s handle that method
// passes the handle's, which keeps statements inside of their transaction; Raw passes the driver's: that of the branch, as
// [Branch.Raw] does, or that of the resource's pool.
func Raw(c *sql.Conn, f func(driverConn any) error) error {
	return c.Raw(func(driverConn any) error {
		if own, ok := driverConn.(*conn); ok {
			return own.Raw(f)
		}
		return f(driverConn)
	})
}

// Raw gives a *sql.Conn's user the driver's own connection.
func (c *conn) Raw(f func(driverConn any) error) error {
	switch {
	case c.b != nil:
		return c.b.Raw(f)
	case c.plain == nil:
		return errStray
	}
	returned := false
	defer func() { c.plain.bad = c.plain.bad || !returned }()
	err := f(c.plain.raw)
	returned = true
	return c.plain.note(err)
}

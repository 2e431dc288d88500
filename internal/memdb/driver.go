package memdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"

	"github.com/xasql/xasql/drivers"
)

// Driver returns the driver. As the Style says it is also a drivers.Checker, drivers.Classifier,
// drivers.Identifier, drivers.SessionEnder or drivers.Prover.
func (d *DB) Driver() drivers.Driver {
	switch {
	case d.Style.Bare:
		return xaDriver{d}
	case d.Style.SessionBound:
		return boundDriver{fullDriver{xaDriver{d}}}
	case d.Style.Proof:
		return provingDriver{fullDriver{xaDriver{d}}}
	}
	return fullDriver{xaDriver{d}}
}

// xaDriver is the driver without optional interfaces. The DB in it takes the faults and the events; what is
// done is done to the database that the given pool or connection leads to.
type xaDriver struct{ db *DB }

// Begin implements drivers.Driver.
func (x xaDriver) Begin(ctx context.Context, sc *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
	var evidence string
	err := x.onConn(ctx, OpBegin, sc, func(c *conn) error {
		if err := xid.Validate(); err != nil {
			return err
		}
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		t, err := c.session.begin(xid, opts)
		if err == nil {
			c.db.begun++
			t.number = c.db.begun
			evidence = t.evidence()
		}
		return err
	})
	x.db.tell(OpBegin, "", err)
	if err != nil {
		return nil, err
	}
	b := &branch{driver: x, conn: sc, xid: xid, evidence: evidence}
	switch {
	case x.db.Style.ReadOnlyVotes:
		return readOnlyBranch{b}, nil
	case x.db.Style.Evidence:
		return evidentBranch{b}, nil
	}
	return b, nil
}

// Prepared implements drivers.Driver.
func (x xaDriver) Prepared(ctx context.Context, pool *sql.DB) ([]drivers.Prepared, error) {
	var list []drivers.Prepared
	err := x.onPool(ctx, OpList, pool, func(c *conn) error {
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		for xid, t := range c.db.branches {
			if t.state == prepared {
				list = append(list, drivers.Prepared{XID: xid, At: t.at, Owner: t.owner, Held: t.holder != nil})
			}
		}
		for raw, t := range c.db.strangers {
			list = append(list, drivers.Prepared{Raw: raw, At: t.at, Owner: t.owner})
		}
		return nil
	})
	x.db.tell(OpList, strconv.Itoa(len(list)), err)
	if err != nil {
		return nil, err
	}
	return list, nil
}

// CommitPrepared implements drivers.Driver.
func (x xaDriver) CommitPrepared(ctx context.Context, pool *sql.DB, xid drivers.XID) error {
	err := x.onPool(ctx, OpCommitPrepared, pool, func(c *conn) error {
		return c.resolve(xid, true)
	})
	x.db.tell(OpCommitPrepared, "", err)
	return err
}

// RollbackPrepared implements drivers.Driver.
func (x xaDriver) RollbackPrepared(ctx context.Context, pool *sql.DB, xid drivers.XID) error {
	err := x.onPool(ctx, OpRollbackPrepared, pool, func(c *conn) error {
		return c.resolve(xid, false)
	})
	x.db.tell(OpRollbackPrepared, "", err)
	return err
}

// onPool makes one call over one connection of the pool.
func (x xaDriver) onPool(ctx context.Context, op Op, pool *sql.DB, act func(c *conn) error) error {
	sc, err := pool.Conn(ctx)
	if err != nil {
		return err
	}
	defer sc.Close()
	return x.onConn(ctx, op, sc, act)
}

// onConn makes one call over a connection.
func (x xaDriver) onConn(ctx context.Context, op Op, sc *sql.Conn, act func(c *conn) error) error {
	return sc.Raw(func(dc any) error {
		c, ok := dc.(*conn)
		if !ok {
			return fmt.Errorf("memdb: the connection is a %T: use a pool made by memdb", dc)
		}
		return x.db.run(ctx, op, c, func() error {
			if err := ctx.Err(); err != nil {
				return err
			}
			if c.broken() {
				return driver.ErrBadConn
			}
			return act(c)
		})
	})
}

// resolve finishes a prepared branch from its XID.
func (c *conn) resolve(xid drivers.XID, commit bool) error {
	d := c.db
	d.mu.Lock()
	defer d.mu.Unlock()
	t := d.branches[xid]
	if t == nil || t.state != prepared {
		return d.unknown(xid, commit)
	}
	if t.holder != nil && t.holder != c.session {
		return fmt.Errorf("memdb: branch %s: %w", xid, drivers.ErrHeld)
	}
	d.finish(t, commit)
	return nil
}

// unknown answers a commit or rollback of a branch that is not there, with proof where the Style has it.
func (d *DB) unknown(xid drivers.XID, commit bool) error {
	end, known := d.outcomes[xid]
	switch {
	case !known || !d.Style.Proof || d.Style.Evidence:
		return fmt.Errorf("memdb: branch %s: %w", xid, drivers.ErrUnknownXID)
	case end.committed == commit:
		return nil
	case end.committed:
		return fmt.Errorf("memdb: branch %s: %w", xid, drivers.ErrCommitted)
	}
	return fmt.Errorf("memdb: branch %s: %w: %w", xid, drivers.ErrUnknownXID, drivers.ErrRolledBack)
}

// provingDriver is the driver of a Style with Proof.
type provingDriver struct{ fullDriver }

var _ drivers.Prover = provingDriver{}

// Outcome implements drivers.Prover.
func (p provingDriver) Outcome(ctx context.Context, pool *sql.DB, xid drivers.XID, evidence string) (committed, proven bool, err error) {
	if p.db.Style.Evidence && evidence == "" {
		return false, false, nil // as PostgreSQL's, which has nothing to ask by
	}
	err = p.onPool(ctx, OpOutcome, pool, func(c *conn) error {
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		end, known := c.db.outcomes[xid]
		committed, proven = end.committed, known && (!c.db.Style.Evidence || end.evidence == evidence)
		return nil
	})
	return committed, proven, err
}

// fullDriver adds the optional interfaces.
type fullDriver struct{ xaDriver }

// Check implements drivers.Checker.
func (f fullDriver) Check(ctx context.Context, pool *sql.DB) ([]drivers.Finding, error) {
	if err := pool.PingContext(ctx); err != nil {
		return nil, err
	}
	return f.db.Style.Findings, nil
}

// Classify implements drivers.Classifier.
func (f fullDriver) Classify(err error) drivers.Class {
	for known, class := range map[error]drivers.Class{
		errSerialization:  drivers.ClassSerialization,
		errConstraint:     drivers.ClassConstraint,
		errRefused:        drivers.ClassConnection,
		driver.ErrBadConn: drivers.ClassConnection,
	} {
		if errors.Is(err, known) {
			return class
		}
	}
	return drivers.ClassOther
}

// Identify implements drivers.Identifier.
func (f fullDriver) Identify(ctx context.Context, pool *sql.DB) (string, error) {
	var id string
	err := f.onPool(ctx, OpIdentify, pool, func(c *conn) error {
		id = c.db.identity
		if c.db.Style.NoIdentity {
			return fmt.Errorf("memdb: identity: %w", drivers.ErrNotSupported)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return id, nil
}

// boundDriver is the driver of an engine whose prepared branches belong to their sessions.
type boundDriver struct{ fullDriver }

// EndSession implements drivers.SessionEnder.
func (b boundDriver) EndSession(ctx context.Context, pool *sql.DB, xid drivers.XID) error {
	err := b.onPool(ctx, OpEndSession, pool, func(c *conn) error {
		c.db.mu.Lock()
		defer c.db.mu.Unlock()
		if t := c.db.branches[xid]; t != nil && t.state == prepared && t.holder != nil {
			c.db.endSession(t.holder)
		}
		return nil
	})
	b.db.tell(OpEndSession, "", err)
	return err
}

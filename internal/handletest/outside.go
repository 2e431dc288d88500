package handletest

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
)

// Side is a handle to be compared.
type Side struct {
	DB *sql.DB
	// Raw gives the driver's own connection. nil: (*sql.Conn).Raw.
	Raw func(conn *sql.Conn, f func(driverConn any) error) error
}

// outside is a side that uses the handle as any program does: statements, transactions, connections of its own.
type outside struct {
	Side
	ctx  context.Context
	tx   *sql.Tx
	conn *sql.Conn
	kept *sql.Stmt
}

func (o *outside) context() context.Context { return o.ctx }
func (o *outside) stmt() **sql.Stmt         { return &o.kept }

func (o *outside) querier(on string) querier {
	switch {
	case on == "tx" && o.tx != nil:
		return o.tx
	case on == "conn" && o.conn != nil:
		return o.conn
	}
	return o.DB
}

// Outside makes the same calls on both sides, outside of any global transaction.
func Outside(t testing.TB, cfg Config, plain, handle Side) {
	t.Helper()
	q := newSequence(cfg)
	a, b := &outside{Side: plain, ctx: t.Context()}, &outside{Side: handle, ctx: t.Context()}
	for _, o := range []*outside{a, b} {
		if o.Raw == nil {
			o.Raw = (*sql.Conn).Raw
		}
		defer o.close()
	}
	for range q.cfg.Steps {
		q.play(t, q.outside(a.tx != nil), a, b)
	}
	q.play(t, step{"the end", func(p player) string {
		o := p.(*outside)
		o.close()
		rows, err := o.DB.QueryContext(o.ctx, counts)
		return rowsOf(rows, err, 2) + fmt.Sprintf("%d in use", o.DB.Stats().InUse)
	}}, a, b)
}

// outside draws a step. While a transaction is open only that writes: what another connection would wait for depends on the engine.
func (q *sequence) outside(open bool) step {
	switch q.r.IntN(24) {
	case 0, 1:
		return q.begin()
	case 2, 3:
		return step{"commit", func(p player) string { return p.(*outside).finish((*sql.Tx).Commit) }}
	case 4:
		return step{"roll back", func(p player) string { return p.(*outside).finish((*sql.Tx).Rollback) }}
	case 5:
		return step{"conn", func(p player) string { return p.(*outside).take() }}
	case 6:
		return step{"close conn", func(p player) string { return p.(*outside).giveBack() }}
	case 7:
		return step{"raw", func(p player) string { return p.(*outside).raw() }}
	case 13:
		return q.ended("db", "tx") // what a *sql.Conn answers is up to the driver
	case 8:
		return step{"ping", func(p player) string { return describe(p.(*outside).DB.PingContext(p.context())) }}
	case 9:
		return q.keepStatement("db")
	case 10, 11:
		return q.useStatement("use the statement", func(_ player, s *sql.Stmt) *sql.Stmt { return s })
	case 12:
		return q.useStatement("use the statement in the transaction", func(p player, s *sql.Stmt) *sql.Stmt {
			if o := p.(*outside); o.tx != nil {
				return o.tx.StmtContext(o.ctx, s)
			}
			return s
		})
	}
	if open {
		if q.r.IntN(3) > 0 {
			return q.statement(true, "tx")
		}
		return q.statement(false, "db", "conn")
	}
	return q.statement(true, "db", "conn", "tx")
}

// begin begins a transaction on the handle or on the connection, with some options, perhaps such as the engine lacks.
func (q *sequence) begin() step {
	opts := []*sql.TxOptions{nil, nil, {}, {ReadOnly: true}, {Isolation: sql.LevelSerializable}, {Isolation: sql.LevelReadCommitted}, {Isolation: sql.LevelLinearizable}}[q.r.IntN(7)]
	onConn := q.r.IntN(2) == 0
	return step{fmt.Sprint("begin ", opts), func(p player) string {
		o := p.(*outside)
		if o.tx != nil {
			return "open already"
		}
		begin := o.DB.BeginTx
		if onConn && o.conn != nil {
			begin = o.conn.BeginTx
		}
		tx, err := begin(o.ctx, opts)
		if err == nil {
			o.tx = tx
		}
		return describe(err)
	}}
}

// finish ends the transaction, and uses it once more.
func (o *outside) finish(how func(*sql.Tx) error) string {
	if o.tx == nil {
		return "none"
	}
	tx := o.tx
	o.tx = nil
	out := describe(how(tx))
	_, err := tx.ExecContext(o.ctx, "SELECT 1")
	return out + describe(err) + describe(tx.Commit()) + describe(tx.Rollback())
}

func (o *outside) take() string {
	if o.conn != nil {
		return "taken already"
	}
	conn, err := o.DB.Conn(o.ctx)
	if err == nil {
		o.conn = conn
	}
	return describe(err)
}

func (o *outside) giveBack() string {
	if o.conn == nil || o.tx != nil {
		return "not now"
	}
	conn := o.conn
	o.conn = nil
	out := describe(conn.Close())
	return out + describe(conn.Close()) + describe(conn.PingContext(o.ctx))
}

// raw tells which type the driver's own connection has.
func (o *outside) raw() string {
	if o.conn == nil {
		return "none"
	}
	var out string
	err := o.Raw(o.conn, func(c any) error {
		out = fmt.Sprintf("%T", c)
		return errFailing
	})
	return out + describe(err)
}

func (o *outside) close() {
	if o.tx != nil {
		o.tx.Rollback()
	}
	if o.conn != nil {
		o.conn.Close()
	}
	if o.kept != nil {
		o.kept.Close()
	}
	o.tx, o.conn, o.kept = nil, nil, nil
}

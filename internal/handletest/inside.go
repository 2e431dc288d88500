package handletest

import (
	"context"
	"database/sql"
	"testing"
)

// Joined is a handle under a global transaction's context.
type Joined struct {
	DB     *sql.DB
	Ctx    context.Context // carries the transaction
	Branch querier         // its branch
}

// inside is a side whose statements are all in one transaction: a plain *sql.Tx, or a global one's branch.
type inside struct {
	ctx  context.Context
	on   map[string]querier
	kept *sql.Stmt

	db    *sql.DB // nil: the plain side
	local *sql.Tx
	conn  *sql.Conn
}

func (i *inside) context() context.Context { return i.ctx }
func (i *inside) stmt() **sql.Stmt         { return &i.kept }

func (i *inside) querier(on string) querier {
	switch {
	case i.db == nil:
		return i.on["tx"]
	case on == "local" && i.local != nil:
		return i.local
	case on == "conn" && i.conn != nil:
		return i.conn
	case on == "branch":
		return i.on["branch"]
	}
	return i.db
}

// Inside makes the same calls in the plain transaction, and inside the global one: on the handle, a local transaction and a connection of it,
// and the branch, in turn. Neither is ended; the caller does that, and may compare what is in the tables.
func Inside(t testing.TB, cfg Config, plain *sql.Tx, handle Joined) {
	t.Helper()
	q := newSequence(cfg)
	a := &inside{ctx: t.Context(), on: map[string]querier{"tx": plain}}
	b := &inside{ctx: handle.Ctx, on: map[string]querier{"branch": handle.Branch}, db: handle.DB}
	defer a.close()
	defer b.close()
	erred := false
	for range q.cfg.Steps {
		if cfg.Aborts {
			a.resume(erred)
			b.resume(erred)
		}
		erred = q.play(t, q.inside(), a, b)
	}
	if cfg.Aborts {
		a.resume(erred)
		b.resume(erred)
	}
}

// resume makes a savepoint, or goes back to the last one.
func (i *inside) resume(erred bool) {
	query := "SAVEPOINT step"
	if erred {
		query = "ROLLBACK TO SAVEPOINT step"
	}
	i.querier("branch").ExecContext(i.ctx, query)
}

func (q *sequence) inside() step {
	savepoint := func(query string) step {
		return step{query, func(p player) string {
			_, err := p.querier("local").ExecContext(p.context(), query) // how many rows it affected is what the last statement left
			return describe(err)
		}}
	}
	switch q.r.IntN(24) {
	case 0, 1:
		return step{"begin locally", func(p player) string { return p.(*inside).begin() }}
	case 2, 3:
		return step{"commit locally", func(p player) string { return p.(*inside).commit() }}
	case 4:
		return step{"conn", func(p player) string { return p.(*inside).take() }}
	case 5:
		return step{"close conn", func(p player) string { return p.(*inside).giveBack() }}
	case 6:
		return q.keepStatement("db")
	case 7, 8:
		return q.useStatement("use the statement", func(_ player, s *sql.Stmt) *sql.Stmt { return s })
	case 12:
		return q.ended("db", "local", "conn", "branch")
	case 9:
		return savepoint("SAVEPOINT mine")
	case 10:
		return savepoint("ROLLBACK TO SAVEPOINT mine")
	case 11:
		return savepoint("RELEASE SAVEPOINT mine")
	}
	return q.statement(true, "db", "local", "conn", "branch")
}

// begin, commit, take and giveBack do nothing on the plain side: their outcome must be nothing but ok.

func (i *inside) begin() string {
	if i.db == nil || i.local != nil {
		return describe(nil)
	}
	var err error
	begin := i.db.BeginTx
	if i.conn != nil {
		begin = i.conn.BeginTx
	}
	i.local, err = begin(i.ctx, nil)
	return describe(err)
}

func (i *inside) commit() string {
	if i.local == nil {
		return describe(nil)
	}
	local := i.local
	i.local = nil
	return describe(local.Commit())
}

func (i *inside) take() string {
	if i.db == nil || i.conn != nil {
		return describe(nil)
	}
	var err error
	i.conn, err = i.db.Conn(i.ctx)
	return describe(err)
}

func (i *inside) giveBack() string {
	if i.conn == nil || i.local != nil {
		return describe(nil)
	}
	conn := i.conn
	i.conn = nil
	return describe(conn.Close())
}

func (i *inside) close() {
	i.commit()
	i.giveBack()
	if i.kept != nil {
		i.kept.Close()
	}
}

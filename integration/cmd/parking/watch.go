package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/integration/crash"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// trace stops the trial at the events of its transaction. Where a server replies, the reply is an event of the wire; SQLite has no wire, and
// its reply is that the call returns.
func (t *trial) trace() *xa.Trace {
	start := func(step string) func(xa.BranchEvent) {
		return func(e xa.BranchEvent) {
			t.at(step + "-start " + side(e.XID))
			if r := t.resources[side(e.XID)]; r.statements != nil {
				r.tap.expect(r.statements[reply(step, e)], reply(step, e))
			}
		}
	}
	done := func(step string) func(xa.BranchEvent) {
		return func(e xa.BranchEvent) {
			if t.resources[side(e.XID)].statements == nil {
				t.at(reply(step, e) + " " + side(e.XID))
			}
			t.at(step + "-done " + side(e.XID))
		}
	}
	return &xa.Trace{
		PrepareStart: start("prepare"), PrepareDone: done("prepare"),
		CommitStart: start("commit"), CommitDone: done("commit"),
		RollbackStart: start("rollback"), RollbackDone: done("rollback"),
		DecideStart: func(xa.TxEvent) { t.at("decide-start") },
		DecideDone:  func(xa.TxEvent) { t.decided() },
	}
}

// reply is the event of a step's reply, without the branch.
func reply(step string, e xa.BranchEvent) string {
	if e.OnePhase {
		return "one-phase-reply"
	}
	return step + "-reply"
}

// decided is where a compaction runs into its point.
func (t *trial) decided() {
	if t.armed.Load() && t.point.Twist == crash.Compact {
		t.moving.Store(true)
		go func() {
			if err := t.log.Compact(context.Background()); err != nil {
				t.logger.Error("compaction", "err", err)
			}
		}()
	}
	t.at("decide-done")
}

// side is "a" or "b", as resources' names begin.
func side(xid drivers.XID) string { return xid.BQual[:1] }

// log stops the trial at what recovery asks of its log.
type log struct {
	*filelog.Log
	t *trial
}

func (l log) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	outcome, err := l.Log.Decide(ctx, d)
	if d.Outcome == txlog.Aborted {
		l.t.at("aborted")
	}
	return outcome, err
}

func (l log) Settle(ctx context.Context, id string) error {
	l.t.at("settle")
	return l.Log.Settle(ctx, id)
}

// engine is what all drivers can do.
type engine interface {
	drivers.Driver
	drivers.Checker
	drivers.Classifier
	drivers.Identifier
}

// watched stops the trial at what recovery asks of a database.
type watched struct {
	engine
	t    *trial
	side string
}

// watch keeps what else recovery asks of some drivers.
func (t *trial) watch(d drivers.Driver, side string) (drivers.Driver, error) {
	e, ok := d.(engine)
	if !ok {
		return nil, fmt.Errorf("%T can't check, classify and identify", d)
	}
	w := watched{e, t, side}
	finisher, finishes := d.(drivers.Finisher)
	ender, ends := d.(drivers.SessionEnder)
	prover, proves := d.(drivers.Prover)
	switch {
	case finishes && ends && !proves:
		return struct {
			watched
			drivers.Finisher
			drivers.SessionEnder
		}{w, watchedFinisher{finisher, w}, ender}, nil
	case finishes && proves && !ends:
		return struct {
			watched
			drivers.Finisher
			drivers.Prover
		}{w, watchedFinisher{finisher, w}, prover}, nil
	case proves && !finishes && !ends:
		return struct {
			watched
			drivers.Prover
		}{w, prover}, nil
	}
	return nil, fmt.Errorf("%T can do what this program does not know: let watch keep it", d)
}

func (w watched) Prepared(ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
	list, err := w.engine.Prepared(ctx, db)
	w.t.at("listed " + w.side)
	return list, err
}

func (w watched) CommitPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	return w.finish(func() error { return w.engine.CommitPrepared(ctx, db, xid) })
}

func (w watched) RollbackPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	return w.finish(func() error { return w.engine.RollbackPrepared(ctx, db, xid) })
}

// watchedFinisher is watched for what recovery has listed.
type watchedFinisher struct {
	drivers.Finisher
	w watched
}

func (f watchedFinisher) FinishListed(ctx context.Context, conn *sql.Conn, xid drivers.XID, commit bool) error {
	return f.w.finish(func() error { return f.Finisher.FinishListed(ctx, conn, xid, commit) })
}

// finish tells of a branch as finished only when it is: one that its session still holds is tried again.
func (w watched) finish(f func() error) error {
	w.t.at("finish " + w.side)
	err := f()
	if err == nil {
		w.t.at("finished " + w.side)
	}
	return err
}

func (w watched) Begin(ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
	b, err := w.engine.Begin(ctx, conn, xid, opts)
	switch twist := w.t.point.Twist; {
	case err != nil:
		return nil, err
	case twist == crash.NoVote && w.side == "b":
		return refusing{b}, nil
	case twist == crash.Unreached:
		return unreached{b}, nil
	}
	return b, nil
}

// refusing is a branch that its database rolls back when it is to prepare.
type refusing struct{ drivers.Branch }

func (b refusing) Prepare(ctx context.Context) (drivers.Vote, error) {
	if err := b.Rollback(ctx); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("%w: by the test's wish", drivers.ErrRolledBack)
}

// unreached is a branch that does not hear of its commit.
type unreached struct{ drivers.Branch }

func (unreached) Commit(context.Context) error {
	return errors.New("not sent, by the test's wish")
}

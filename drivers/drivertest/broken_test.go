package drivertest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
)

// TestEveryBrokenRuleIsCaughtByItsOwnCase breaks a good driver in one respect at a time, and runs the whole suite against it.
func TestEveryBrokenRuleIsCaughtByItsOwnCase(t *testing.T) {
	broken := brokenDrivers()
	for rule := range rules() {
		if !slices.ContainsFunc(broken, func(b brokenDriver) bool { return b.rule == rule }) {
			t.Errorf("no broken driver shows that the case of %s can fail", rule)
		}
	}
	for _, b := range broken {
		t.Run(b.rule+" "+b.defect, func(t *testing.T) {
			for _, c := range suite() {
				var r *recorder
				synctest.Test(t, func(t *testing.T) {
					d := memdb.New("orders")
					d.Style = b.style
					h := newHarness(d)
					b.smash(d, &h)
					r = record(t, c, h)
				})
				text := strings.Join(r.log, "\n")
				if want := c.rule == b.rule; r.failed != want {
					t.Errorf("case %s failed: %v, want %v:\n%s", c.name(), r.failed, want, text)
				}
				if r.failed && !strings.Contains(text, "rule "+c.rule+": "+rules()[c.rule]) {
					t.Errorf("case %s fails without the rule's text:\n%s", c.name(), text)
				}
			}
		})
	}
}

type brokenDriver struct {
	rule   string
	defect string
	style  memdb.Style
	smash  func(d *memdb.DB, h *Harness)
}

func brokenDrivers() []brokenDriver {
	return slices.Concat(brokenInRecovery(), brokenInCalls(), brokenInBranches(), brokenOptionally())
}

// brokenInRecovery break D1 to D7.
func brokenInRecovery() []brokenDriver {
	plain, bound := memdb.Style{}, memdb.Style{SessionBound: true}
	return []brokenDriver{
		{"D1", "a crash loses prepared branches", plain, func(d *memdb.DB, h *Harness) {
			h.Crash = func(context.Context) error {
				d.Crash()
				for _, xid := range d.Prepared() {
					d.Finish(xid, false)
				}
				return nil
			}
		}},
		{"D1", "a crash commits prepared branches", plain, func(d *memdb.DB, h *Harness) {
			h.Crash = func(context.Context) error {
				d.Crash()
				for _, xid := range d.Prepared() {
					d.Finish(xid, true)
				}
				return nil
			}
		}},
		{"D2", "CommitPrepared rolls back", plain, wrap(wrapper{commit: drivers.Driver.RollbackPrepared})},
		{"D3", "RollbackPrepared commits", plain, wrap(wrapper{rollback: drivers.Driver.CommitPrepared})},
		{"D4", "an unknown XID is taken for committed", plain, wrap(wrapper{commit: ignore(drivers.Driver.CommitPrepared, drivers.ErrUnknownXID)})},
		{"D4", "an unknown XID is taken for rolled back", plain, wrap(wrapper{rollback: ignore(drivers.Driver.RollbackPrepared, drivers.ErrUnknownXID)})},
		{"D5", "a held branch is taken for unknown", bound, wrap(wrapper{
			commit: func(next drivers.Driver, ctx context.Context, db *sql.DB, xid drivers.XID) error {
				err := next.CommitPrepared(ctx, db, xid)
				if errors.Is(err, drivers.ErrHeld) {
					return drivers.ErrUnknownXID
				}
				return err
			}})},
		{"D5", "a held branch is waited for", bound, wrap(wrapper{
			commit: func(next drivers.Driver, ctx context.Context, db *sql.DB, xid drivers.XID) error {
				for {
					err := next.CommitPrepared(ctx, db, xid)
					if !errors.Is(err, drivers.ErrHeld) || ctx.Err() != nil {
						return err
					}
					tick(ctx)
				}
			}})},
		{"D6", "strangers are not listed", plain, wrap(wrapper{
			prepared: func(next drivers.Driver, ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
				list, err := next.Prepared(ctx, db)
				return slices.DeleteFunc(list, func(p drivers.Prepared) bool { return p.Raw != "" }), err
			}})},
		{"D6", "listing removes strangers", plain, func(d *memdb.DB, h *Harness) {
			wrap(wrapper{
				prepared: func(next drivers.Driver, ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
					list, err := next.Prepared(ctx, db)
					for _, p := range list {
						if p.Raw != "" {
							d.Stranger(p, false)
						}
					}
					return list, err
				}})(d, h)
		}},
		{"D7", "upper and lower case are the same", plain, wrap(wrapper{commit: confuse(drivers.Driver.CommitPrepared, func(a, b drivers.XID) bool {
			return strings.EqualFold(a.String(), b.String())
		})})},
		{"D7", "the format id does not count", plain, wrap(wrapper{commit: confuse(drivers.Driver.CommitPrepared, func(a, b drivers.XID) bool {
			return a.GTRID == b.GTRID && a.BQual == b.BQual
		})})},
		{"D7", "the parts are joined by a dot", plain, wrap(wrapper{rollback: confuse(drivers.Driver.RollbackPrepared, func(a, b drivers.XID) bool {
			return a.FormatID == b.FormatID && a.GTRID+"."+a.BQual == b.GTRID+"."+b.BQual
		})})},
		{"D7", "long parts are cut off", plain, wrap(wrapper{rollback: confuse(drivers.Driver.RollbackPrepared, func(a, b drivers.XID) bool {
			return a.FormatID == b.FormatID && a.BQual == b.BQual && strings.HasPrefix(a.GTRID, b.GTRID)
		})})},
	}
}

// ignore turns an error of a method into success.
func ignore(method finishFunc, ignored error) finishFunc {
	return func(next drivers.Driver, ctx context.Context, db *sql.DB, xid drivers.XID) error {
		err := method(next, ctx, db, xid)
		if errors.Is(err, ignored) {
			return nil
		}
		return err
	}
}

// confuse lets a method finish another branch, that same takes for the one asked for.
func confuse(method finishFunc, same func(asked, found drivers.XID) bool) finishFunc {
	return func(next drivers.Driver, ctx context.Context, db *sql.DB, xid drivers.XID) error {
		list, err := next.Prepared(ctx, db)
		if err != nil {
			return err
		}
		for _, p := range list {
			if p.Raw == "" && p.XID != xid && same(xid, p.XID) {
				return method(next, ctx, db, p.XID)
			}
		}
		return method(next, ctx, db, xid)
	}
}

// brokenInCalls break D8 to D11.
func brokenInCalls() []brokenDriver {
	plain := memdb.Style{}
	return []brokenDriver{
		{"D8", "a Begin that fails leaves a prepared branch", plain, wrap(wrapper{begin: func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
			b, err := next.Begin(context.WithoutCancel(ctx), conn, xid, opts)
			if err == nil && ctx.Err() != nil {
				_, _ = b.Prepare(context.WithoutCancel(ctx))
				return nil, ctx.Err()
			}
			return b, err
		}})},
		{"D8", "a Begin under an ended context succeeds", plain, wrap(wrapper{begin: func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
			return next.Begin(context.WithoutCancel(ctx), conn, xid, opts)
		}})},
		{"D9", "CommitPrepared ignores its context", plain, wrap(wrapper{commit: func(next drivers.Driver, ctx context.Context, db *sql.DB, xid drivers.XID) error {
			return next.CommitPrepared(context.WithoutCancel(ctx), db, xid)
		}})},
		{"D9", "Prepared ignores its context", plain, wrap(wrapper{prepared: func(next drivers.Driver, ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
			return next.Prepared(context.WithoutCancel(ctx), db)
		}})},
		{"D10", "a refusal is no ErrNotSupported", plain, wrap(wrapper{begin: refuseWith(errors.New("no"))})},
		{"D10", "a refusal tells no way out", plain, wrap(wrapper{begin: refuseWith(drivers.ErrNotSupported)})},
		{"D11", "a lost CommitPrepared is sent again", plain, wrap(wrapper{commit: again(drivers.Driver.CommitPrepared)})},
		{"D11", "a lost RollbackPrepared is sent again", plain, wrap(wrapper{rollback: again(drivers.Driver.RollbackPrepared)})},
		{"D11", "a lost Prepare is taken for a no", plain, wrapBranch(func(b *wrappedBranch) {
			b.prepare = func(ctx context.Context) (drivers.Vote, error) {
				v, err := b.Branch.Prepare(ctx)
				if errors.Is(err, driver.ErrBadConn) {
					return 0, drivers.ErrRolledBack
				}
				return v, err
			}
		})},
	}
}

func refuseWith(refusal error) beginFunc {
	return func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
		b, err := next.Begin(ctx, conn, xid, opts)
		if errors.Is(err, drivers.ErrNotSupported) {
			return nil, refusal
		}
		return b, err
	}
}

func again(method finishFunc) finishFunc {
	return func(next drivers.Driver, ctx context.Context, db *sql.DB, xid drivers.XID) error {
		err := method(next, ctx, db, xid)
		if errors.Is(err, driver.ErrBadConn) {
			return method(next, ctx, db, xid)
		}
		return err
	}
}

// brokenInBranches break B1 to B9.
func brokenInBranches() []brokenDriver {
	plain := memdb.Style{}
	return []brokenDriver{
		{"B1", "Commit leaves the connection in a transaction", plain, wrapBranch(func(b *wrappedBranch) {
			b.commit = func(ctx context.Context) error {
				err := b.Branch.Commit(ctx)
				b.soil(ctx)
				return err
			}
		})},
		{"B1", "Commit rolls back", plain, wrapBranch(func(b *wrappedBranch) {
			b.commit = func(ctx context.Context) error {
				if err := b.Branch.Rollback(ctx); !errors.Is(err, drivers.ErrUnknownXID) {
					return err
				}
				return b.Branch.Commit(ctx)
			}
		})},
		{"B2", "a second Rollback fails", plain, wrapBranch(func(b *wrappedBranch) {
			called := false
			b.rollback = func(ctx context.Context) error {
				if called {
					return errors.New("again?")
				}
				called = true
				return b.Branch.Rollback(ctx)
			}
		})},
		{"B2", "Rollback leaves the connection in a transaction", plain, wrapBranch(func(b *wrappedBranch) {
			called := false
			b.rollback = func(ctx context.Context) error {
				err := b.Branch.Rollback(ctx)
				if !called {
					b.soil(ctx)
				}
				called = true
				return err
			}
		})},
		{"B3", "an aborted transaction commits in one phase", plain, wrapBranch(func(b *wrappedBranch) {
			b.onePhase = func(ctx context.Context) error {
				err := b.Branch.CommitOnePhase(ctx)
				if errors.Is(err, drivers.ErrRolledBack) {
					return nil
				}
				return err
			}
		})},
		{"B3", "a commit in one phase is told as rolled back", plain, wrapBranch(func(b *wrappedBranch) {
			b.onePhase = func(ctx context.Context) error {
				if err := b.Branch.CommitOnePhase(ctx); err != nil {
					return err
				}
				return drivers.ErrRolledBack
			}
		})},
		{"B4", "an aborted transaction votes yes", plain, wrapBranch(func(b *wrappedBranch) {
			b.prepare = func(ctx context.Context) (drivers.Vote, error) {
				v, err := b.Branch.Prepare(ctx)
				if errors.Is(err, drivers.ErrRolledBack) {
					return drivers.VotePrepared, nil
				}
				return v, err
			}
		})},
		{"B5", "an interrupted Prepare is told as rolled back", plain, wrapBranch(func(b *wrappedBranch) {
			b.prepare = func(ctx context.Context) (drivers.Vote, error) {
				v, err := b.Branch.Prepare(context.WithoutCancel(ctx))
				if err == nil && ctx.Err() != nil {
					return 0, drivers.ErrRolledBack
				}
				return v, err
			}
		})},
		{"B6", "a serializable branch votes read-only", memdb.Style{ReadOnlyVotes: true}, func(d *memdb.DB, h *Harness) {
			h.SingleWriter = true // else B8 sees that the level below is no serializable one
			wrap(wrapper{begin: func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
				if opts != nil && opts.Isolation == sql.LevelSerializable {
					opts = &sql.TxOptions{Isolation: sql.LevelRepeatableRead}
				}
				return next.Begin(ctx, conn, xid, opts)
			}})(d, h)
		}},
		{"B7", "a branch that is gone is taken for committed", plain, wrapBranch(func(b *wrappedBranch) {
			b.commit = func(ctx context.Context) error {
				err := b.Branch.Commit(ctx)
				if errors.Is(err, drivers.ErrUnknownXID) {
					return nil
				}
				return err
			}
		})},
		{"B7", "a branch that is gone is taken for rolled back", plain, wrapBranch(func(b *wrappedBranch) {
			b.commit = func(ctx context.Context) error {
				err := b.Branch.Commit(ctx)
				if errors.Is(err, drivers.ErrUnknownXID) {
					return drivers.ErrRolledBack
				}
				return err
			}
		})},
		{"B8", "read-only is forgotten", plain, wrap(wrapper{begin: forget(func(o *sql.TxOptions) { o.ReadOnly = false })})},
		{"B8", "serializable is only repeatable read", plain, wrap(wrapper{begin: forget(func(o *sql.TxOptions) {
			if o.Isolation == sql.LevelSerializable {
				o.Isolation = sql.LevelRepeatableRead
			}
		})})},
		{"B8", "repeatable read is only read committed", plain, wrap(wrapper{begin: forget(func(o *sql.TxOptions) {
			if o.Isolation == sql.LevelRepeatableRead {
				o.Isolation = sql.LevelReadCommitted
			}
		})})},
		{"B9", "Rollback gives up under an ended context", plain, wrapBranch(func(b *wrappedBranch) {
			b.rollback = func(ctx context.Context) error {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				return b.Branch.Rollback(ctx)
			}
		})},
	}
}

func forget(what func(*sql.TxOptions)) beginFunc {
	return func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
		if opts != nil {
			o := *opts
			what(&o)
			opts = &o
		}
		return next.Begin(ctx, conn, xid, opts)
	}
}

// brokenOptionally break the optional interfaces.
func brokenOptionally() []brokenDriver {
	bound := memdb.Style{SessionBound: true}
	return []brokenDriver{
		{"Checker", "a good server is found unfit", memdb.Style{Findings: []drivers.Finding{{Severity: drivers.Fatal, Problem: "p", Hint: "h"}}},
			func(*memdb.DB, *Harness) {}},
		{"Classifier", "nothing is classified", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			h.Driver = struct {
				drivers.Driver
				blindClassifier
			}{Driver: h.Driver}
		}},
		{"Identifier", "the identity changes", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			h.Driver = identityDriver{h.Driver, rand.Text}
		}},
		{"Identifier", "all databases are the same", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			h.Driver = identityDriver{h.Driver, func() string { return "the database" }}
		}},
		{"SessionEnder", "the session goes on", bound, func(_ *memdb.DB, h *Harness) {
			h.Driver = sessionDriver{h.Driver, func(context.Context, *sql.DB, drivers.XID) error { return nil }}
		}},
		{"SessionEnder", "the branch ends with the session", bound, func(d *memdb.DB, h *Harness) {
			h.Driver = sessionDriver{h.Driver, func(_ context.Context, _ *sql.DB, xid drivers.XID) error {
				d.Finish(xid, true)
				return nil
			}}
		}},
		{"Prover", "what is prepared counts as rolled back", memdb.Style{Proof: true}, func(_ *memdb.DB, h *Harness) {
			honest := h.Driver.(drivers.Prover)
			h.Driver = provingDriver{h.Driver, func(ctx context.Context, db *sql.DB, xid drivers.XID, evidence string) (bool, bool, error) {
				committed, _, err := honest.Outcome(ctx, db, xid, evidence)
				return committed, true, err
			}}
		}},
		{"Prover", "evidence of something else counts as a rollback", memdb.Style{Proof: true, Evidence: true}, func(_ *memdb.DB, h *Harness) {
			honest := h.Driver.(drivers.Prover)
			h.Driver = provingDriver{h.Driver, func(ctx context.Context, db *sql.DB, xid drivers.XID, evidence string) (bool, bool, error) {
				committed, proven, err := honest.Outcome(ctx, db, xid, evidence)
				if evidence != "" && !strings.HasPrefix(evidence, "branch ") {
					return false, true, err
				}
				return committed, proven, err
			}}
		}},
		{"EvidentBranch", "the evidence changes", memdb.Style{Proof: true}, evident(rand.Text)},
		{"EvidentBranch", "all branches have the same evidence", memdb.Style{Proof: true}, evident(func() string { return "this very branch" })},
		{"EvidentBranch", "there is no evidence", memdb.Style{Proof: true}, evident(func() string { return "" })},
		{"EvidentBranch", "nobody can use the evidence", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			n := 0
			h.Driver = evidentDriver(h.Driver, func() func() string {
				n++
				s := strings.Repeat("x", n)
				return func() string { return s }
			})
		}},
		{"Finisher", "whatever is listed is committed", memdb.Style{}, func(d *memdb.DB, h *Harness) {
			h.Driver = finishingDriver{h.Driver, func(xid drivers.XID) error {
				if !d.Finish(xid, true) {
					return drivers.ErrUnknownXID
				}
				return nil
			}}
		}},
		{"Finisher", "a branch that is not there counts as finished", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			h.Driver = finishingDriver{h.Driver, func(drivers.XID) error { return nil }}
		}},
		{"Blocker", "a branch that is gone still holds locks", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			h.Driver = blockingDriver{h.Driver}
		}},
		{"Locker", "a branch that is gone still locks tables", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			h.Driver = lockingDriver{h.Driver, func(bool) []string { return []string{"shop.orders"} }}
		}},
		{"Locker", "what is not known looks like none", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			h.Driver = lockingDriver{h.Driver, func(bool) []string { return nil }}
		}},
		{"Locker", "a table is named twice", memdb.Style{}, func(_ *memdb.DB, h *Harness) {
			h.Driver = lockingDriver{h.Driver, func(prepared bool) []string {
				if !prepared {
					return nil
				}
				return []string{"shop.orders", "shop.orders"}
			}}
		}},
		{"ReadOnlyBranch", "every branch says that it changed nothing", memdb.Style{}, wrap(wrapper{
			begin: func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
				b, err := next.Begin(ctx, conn, xid, opts)
				if err != nil {
					return nil, err
				}
				return credulousBranch{b}, nil
			}})},
		{"Explainer", "every error means that the branch is gone", memdb.Style{}, wrap(wrapper{
			begin: func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
				b, err := next.Begin(ctx, conn, xid, opts)
				if err != nil {
					return nil, err
				}
				return alarmedBranch{b}, nil
			}})},
	}
}

type blindClassifier struct{}

func (blindClassifier) Classify(error) drivers.Class { return drivers.ClassOther }

type identityDriver struct {
	drivers.Driver
	id func() string
}

func (i identityDriver) Identify(context.Context, *sql.DB) (string, error) { return i.id(), nil }

type sessionDriver struct {
	drivers.Driver
	end func(ctx context.Context, db *sql.DB, xid drivers.XID) error
}

func (s sessionDriver) EndSession(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	return s.end(ctx, db, xid)
}

type provingDriver struct {
	drivers.Driver
	outcome func(ctx context.Context, db *sql.DB, xid drivers.XID, evidence string) (committed, proven bool, err error)
}

func (p provingDriver) Outcome(ctx context.Context, db *sql.DB, xid drivers.XID, evidence string) (committed, proven bool, err error) {
	return p.outcome(ctx, db, xid, evidence)
}

// evident gives every branch that evidence. The driver stays a Prover, and does not look at it.
func evident(evidence func() string) func(*memdb.DB, *Harness) {
	return func(_ *memdb.DB, h *Harness) {
		honest := h.Driver.(drivers.Prover)
		h.Driver = provingDriver{evidentDriver(h.Driver, func() func() string { return evidence }), honest.Outcome}
	}
}

// evidentDriver makes every branch an EvidentBranch, each with evidence of its own.
func evidentDriver(next drivers.Driver, evidence func() func() string) drivers.Driver {
	return wrapper{Driver: next, begin: func(next drivers.Driver, ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
		b, err := next.Begin(ctx, conn, xid, opts)
		if err != nil {
			return nil, err
		}
		return talkativeBranch{b, evidence()}, nil
	}}
}

type talkativeBranch struct {
	drivers.Branch
	evidence func() string
}

func (t talkativeBranch) Evidence() string { return t.evidence() }

type blockingDriver struct{ drivers.Driver }

func (blockingDriver) Blocking(context.Context, *sql.DB, drivers.XID) (locks, waiting int, xminAge int64, err error) {
	return 1, 0, 0, nil
}

type lockingDriver struct {
	drivers.Driver
	tables func(prepared bool) []string
}

func (l lockingDriver) LockedTables(ctx context.Context, db *sql.DB, xid drivers.XID) ([]string, error) {
	listed, err := l.Prepared(ctx, db)
	return l.tables(slices.ContainsFunc(listed, func(p drivers.Prepared) bool { return p.XID == xid })), err
}

type finishingDriver struct {
	drivers.Driver
	finish func(xid drivers.XID) error
}

func (f finishingDriver) FinishListed(_ context.Context, _ *sql.Conn, xid drivers.XID, _ bool) error {
	return f.finish(xid)
}

type credulousBranch struct{ drivers.Branch }

func (credulousBranch) ReadOnly(context.Context) (bool, error) { return true, nil }

type alarmedBranch struct{ drivers.Branch }

func (alarmedBranch) Explain(error) error { return drivers.ErrRolledBack }

// tick waits a little.
func tick(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, brief)
	defer cancel()
	<-ctx.Done()
}

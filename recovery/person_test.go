package recovery_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

// proving is a driver that can tell afterwards what has become of a branch.
type proving struct {
	drivers.Driver
	committed map[string]bool // by transaction; none: it can't tell
	err       error
}

var _ drivers.Prover = proving{}

func (p proving) Outcome(_ context.Context, _ *sql.DB, xid drivers.XID, _ string) (committed, proven bool, err error) {
	committed, proven = p.committed[xid.GTRID]
	return committed, proven, p.err
}

// proves makes a resource prove outcomes.
func (b *bench) proves(resource string, committed map[string]bool) {
	for i, r := range b.r.Resources {
		if r.Name == resource {
			b.r.Resources[i].Driver = proving{Driver: b.dbs[resource].Driver(), committed: committed}
		}
	}
}

func (b *bench) notes(id string) (notes []txlog.Note) {
	for n, err := range b.log.Noted(b.Context(), id) {
		if err != nil {
			b.Error(err)
		}
		notes = append(notes, n)
	}
	return notes
}

func (b *bench) holding() int {
	n := 0
	for _, db := range b.dbs {
		n += len(db.Prepared())
	}
	return n
}

// finish carries out what was judged: Judge must have changed nothing, and have told what Finish does.
func (b *bench) finish(v recovery.Verdict) (recovery.Report, error) {
	b.Helper()
	v.By, v.Why = "ada@db7", "the customer has paid"
	state := func() string {
		outcome, err := b.log.Lookup(b.Context(), v.ID)
		return fmt.Sprint(outcome, err, b.unsettled(), len(b.notes("")), b.holding())
	}
	before := state()
	judged, told := b.r.Judge(b.Context(), v)
	if after := state(); after != before || judged.Acted {
		b.Errorf("Judge changed something: %s, and then %s", before, after)
	}
	done, err := b.r.Finish(b.Context(), v)
	if fmt.Sprint(told) != fmt.Sprint(err) || len(judged.Resources) != len(done.Resources) {
		b.Errorf("Judge says %v, and Finish %v", told, err)
	}
	if would, did := count(judged, recovery.WouldCommit)+count(judged, recovery.WouldRollBack), count(done, recovery.Committed)+count(done, recovery.RolledBack); would != did {
		b.Errorf("Judge would finish %d branches, and Finish did %d", would, did)
	}
	heuristic := func(n txlog.Note) bool { return n.Kind == txlog.Heuristic }
	if slices.ContainsFunc(judged.Notes, heuristic) != slices.ContainsFunc(done.Notes, heuristic) {
		b.Errorf("Judge would note %+v, and Finish noted %+v", judged.Notes, done.Notes)
	}
	return done, err
}

func count(report recovery.Report, a recovery.Action) int {
	return len(report.Branches(func(br recovery.Branch) bool { return br.Action == a }))
}

func TestHeuristicOutcomeIsNotedUntilForgotten(t *testing.T) {
	run(t, func(b *bench) {
		b.dbs["orders"].Style.Proof = true
		b.refresh()
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.decide(id, txlog.Committed, "orders")
		xid := b.dbs["orders"].Prepared()[0]
		b.dbs["orders"].Fail(memdb.OpCommitPrepared, memdb.Fault{Hook: func() { b.dbs["orders"].Finish(xid, false) }})
		if report := b.resolve(); len(report.Notes) != 1 || report.Heuristic() != 1 {
			b.Errorf("got %+v", report)
		}
		report := b.resolve() // there is no trace of it in any database now
		if len(report.Notes) != 1 || report.Notes[0].Kind != txlog.Heuristic || report.Notes[0].Resource != "orders" {
			b.Errorf("the next pass knows %+v", report.Notes)
		}
		if err := b.log.Forget(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		if report := b.resolve(); len(report.Notes) != 0 {
			b.Errorf("after forgetting it knows %+v", report.Notes)
		}
	})
}

func TestBranchThatWasRolledBackByHandIsFoundOutByProof(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		b.decide(id, txlog.Committed, "orders", "stock")
		b.proves("orders", map[string]bool{id: true})
		b.proves("stock", map[string]bool{id: false})
		if report, err := b.r.Scan(b.Context()); err != nil || len(report.Notes) != 1 || len(b.notes(id)) != 0 {
			b.Errorf("Scan tells %+v, %v; noted: %v", report.Notes, err, b.notes(id))
		}
		var told strings.Builder
		b.r.Logger = slog.New(slog.NewTextHandler(&told, nil))
		report := b.resolve()
		if n := b.notes(id); len(n) != 1 || n[0].Resource != "stock" || len(report.Notes) != 1 {
			b.Errorf("noted %+v", n)
		}
		if s := told.String(); strings.Count(s, "heuristic outcome") != 1 || !strings.Contains(s, id) || !strings.Contains(s, "resource=stock") {
			b.Errorf("the log says %s", s)
		}
		if len(b.unsettled()) != 0 {
			b.Error("it is not settled")
		}
	})
}

// What a heuristic outcome is known by must not be forgotten before it is noted.
func TestDecisionIsNotSettledWhileProofCannotBeHad(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		b.decide(id, txlog.Committed, "orders")
		b.r.Resources[0].Driver = proving{Driver: b.dbs["orders"].Driver(), err: errors.New("lost")}
		if report := b.resolve(); len(b.unsettled()) != 1 || report.Clean() {
			b.Errorf("got %+v", report)
		}
	})
}

func TestPersonDecidesWhatTheLogDoesNot(t *testing.T) {
	for _, outcome := range []txlog.Outcome{txlog.Committed, txlog.Aborted} {
		t.Run(outcome.String(), func(t *testing.T) {
			run(t, func(b *bench) {
				id, other := b.id(), b.id()
				for _, db := range []string{"orders", "stock"} {
					discard(b.prepared(db, id, db))
				}
				discard(b.prepared("orders", other, "orders"))
				var noted bool
				b.log.OnEvent(func(e string) {
					if strings.HasPrefix(e, "log decide") {
						noted = len(b.notes(id)) == 1
					}
				})
				report, err := b.finish(recovery.Verdict{ID: id, Outcome: outcome})
				if err != nil || !report.Clean() || len(report.Branches(func(recovery.Branch) bool { return true })) != 2 {
					b.Fatalf("got %+v, %v", report, err)
				}
				if !noted {
					b.Error("who said it was not noted before the decision")
				}
				if o, _ := b.log.Lookup(b.Context(), id); o != outcome {
					b.Errorf("the log says %v", o)
				}
				kind := map[txlog.Outcome]txlog.NoteKind{txlog.Committed: txlog.CommittedByHand, txlog.Aborted: txlog.AbortedByHand}[outcome]
				if n := b.notes(id); len(n) != 1 || n[0].Kind != kind || n[0].By != "ada@db7" || n[0].Text != "the customer has paid" {
					b.Errorf("noted %+v", n)
				}
				if rows := len(b.dbs["stock"].Rows()); (rows == 1) != (outcome == txlog.Committed) {
					b.Errorf("stock has %d rows", rows)
				}
				if n := b.holding(); n != 1 {
					b.Errorf("%d branches are left, want the other transaction's", n)
				}
				b.resolve()
			})
		})
	}
}

func TestVerdictThatContradictsIsRefusedUnlessForced(t *testing.T) {
	for name, c := range map[string]struct {
		known   func(b *bench, id string)
		outcome txlog.Outcome
		want    error
	}{
		"log":     {func(b *bench, id string) { b.decide(id, txlog.Committed, "orders", "stock") }, txlog.Aborted, recovery.ErrContradicts},
		"branch":  {func(b *bench, id string) { b.proves("stock", map[string]bool{id: false}) }, txlog.Committed, recovery.ErrContradicts},
		"unasked": {func(b *bench, id string) { b.dbs["stock"].Down(true) }, txlog.Committed, recovery.ErrUnasked},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				id := b.id()
				discard(b.prepared("orders", id, "orders"))
				c.known(b, id)
				before, _ := b.log.Lookup(b.Context(), id)
				v := recovery.Verdict{ID: id, Outcome: c.outcome}
				if _, err := b.finish(v); !errors.Is(err, c.want) {
					b.Errorf("got %v", err)
				}
				if o, _ := b.log.Lookup(b.Context(), id); o != before || b.holding() != 1 || len(b.notes(id)) != 0 {
					b.Errorf("something was done: the log says %v, %d branches, notes %v", o, b.holding(), b.notes(id))
				}
				v.Force = true
				if _, err := b.finish(v); err != nil {
					b.Error(err)
				}
				kinds := map[txlog.NoteKind]int{}
				for _, n := range b.notes(id) {
					kinds[n.Kind]++
				}
				if c.want == recovery.ErrContradicts && kinds[txlog.Heuristic] == 0 || b.holding() != 0 {
					b.Errorf("forced: notes %v, %d branches left", b.notes(id), b.holding())
				}
				b.dbs["stock"].Down(false)
				if report := b.resolve(); !report.Clean() || len(b.unsettled()) != 0 {
					b.Errorf("at the end: %+v", report)
				}
			})
		})
	}
}

// A crash after a person's word was noted must not let recovery do the contrary to a part of the branches.
func TestRecoveryDoesNothingAgainstAPersonsWord(t *testing.T) {
	for name, outcome := range map[string]txlog.Outcome{"decided otherwise": txlog.Committed, "undecided": txlog.Undecided} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				id := b.id()
				discard(b.prepared("orders", id, "orders"))
				n := txlog.Note{ID: id, Kind: txlog.CommittedByHand, By: "ada@db7"}
				v := recovery.Verdict{ID: id, Outcome: txlog.Committed}
				if outcome == txlog.Committed {
					b.decide(id, outcome, "orders")
					n.Kind, v.Outcome, v.Force = txlog.AbortedByHand, txlog.Aborted, true
				}
				if err := b.log.Note(b.Context(), n); err != nil {
					b.Fatal(err)
				}
				if br := only(b.resolve(), b); br.Action != recovery.Left || !strings.Contains(br.Reason, "ada@db7") {
					b.Errorf("got %+v", br)
				}
				if _, err := b.finish(v); err != nil || b.holding() != 0 {
					b.Errorf("again: %v, %d branches", err, b.holding())
				}
				b.resolve()
			})
		})
	}
}

func TestVerdictOnALiveTransactionIsRefused(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.r.Claim = func(string) (func(), bool) { return nil, false }
		for _, force := range []bool{false, true} {
			if _, err := b.finish(recovery.Verdict{ID: id, Outcome: txlog.Aborted, Force: force}); !errors.Is(err, recovery.ErrLive) {
				b.Errorf("force %v: got %v", force, err)
			}
		}
		b.r.Claim = nil
		b.resolve()

		_, m := b.shared()
		id = b.inDoubtOf(m)
		if _, err := b.finish(recovery.Verdict{ID: id, Outcome: txlog.Aborted, Force: true}); !errors.Is(err, recovery.ErrLive) || b.holding() != 1 {
			b.Errorf("of another member: got %v", err)
		}
		if err := m.Leave(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.resolve()
	})
}

func TestVerdictOnWhatNobodyKnowsIsRefused(t *testing.T) {
	run(t, func(b *bench) {
		if _, err := b.finish(recovery.Verdict{ID: b.id(), Outcome: txlog.Committed}); !errors.Is(err, recovery.ErrNotKnown) {
			b.Errorf("got %v", err)
		}
		for _, v := range []recovery.Verdict{{ID: b.id()}, {ID: "x", Outcome: txlog.Aborted}, {ID: txid.New("anotherlog12", "", time.Now()), Outcome: txlog.Aborted}} {
			if _, err := b.finish(v); err == nil {
				b.Errorf("%+v was taken", v)
			}
		}
	})
}

// keepsNone is a log without notes, which may have missed decisions.
type keepsNone struct{ txlog.Log }

func (keepsNone) Witnessed() error { return errors.New("it is a copy") }

func TestPersonDecidesWhatACopiedLogMayHaveMissed(t *testing.T) {
	run(t, func(b *bench) {
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.r.Log = keepsNone{b.log}
		if br := only(b.resolve(), b); br.Action != recovery.Left {
			b.Errorf("got %+v", br)
		}
		report, err := b.finish(recovery.Verdict{ID: id, Outcome: txlog.Committed})
		if err != nil || !report.NoNotes || count(report, recovery.Committed) != 1 {
			b.Errorf("got %+v, %v", report, err)
		}
		id = b.id()
		discard(b.prepared("orders", id, "orders"))
		b.decide(id, txlog.Committed, "orders")
		if _, err := b.finish(recovery.Verdict{ID: id, Outcome: txlog.Aborted, Force: true}); !errors.Is(err, recovery.ErrContradicts) || b.holding() != 1 {
			b.Errorf("forced on a log that would forget it: %v", err)
		}
		b.resolve()
	})
}

func TestYoungBranchesAreLeft(t *testing.T) {
	run(t, func(b *bench) {
		old := b.id()
		discard(b.prepared("orders", old, "orders"))
		time.Sleep(time.Hour)
		young := b.id()
		discard(b.prepared("orders", young, "orders"))
		b.r.Before = time.Now().Add(-time.Minute)
		report := b.resolve()
		if left := b.dbs["orders"].Prepared(); len(left) != 1 || left[0].GTRID != young || report.InDoubt() != 1 {
			b.Errorf("left: %v", left)
		}
		b.r.Before = time.Time{}
		b.resolve()
	})
}

// lost leaves branches of a log that nobody has, and makes the bench's stand in for it.
func (b *bench) lost() (id func() string) {
	log := logtest.NewMemory()
	b.r.Adopted = []string{log.ID()}
	return func() string { return txid.New(log.ID(), "", time.Now()) }
}

func TestLostLogsBranchesAreFinishedAsIsProvenOnly(t *testing.T) {
	run(t, func(b *bench) {
		id := b.lost()
		committed, aborted, unknown := id(), id(), id()
		for _, id := range []string{committed, aborted, unknown} {
			discard(b.prepared("orders", id, "orders"))
		}
		b.proves("stock", map[string]bool{committed: true, aborted: false})
		adopted := b.r.Adopted
		b.r.Adopted = nil
		if report := b.resolve(); b.holding() != 3 || count(report, recovery.Foreign) != 3 {
			b.Errorf("before they are adopted: %+v", report)
		}
		b.r.Adopted = adopted
		report := b.resolve()
		if count(report, recovery.Committed) != 1 || count(report, recovery.RolledBack) != 1 || count(report, recovery.Left) != 1 {
			b.Errorf("got %+v", report)
		}
		if _, ok := b.dbs["orders"].Get(committed); !ok || len(b.dbs["orders"].Rows()) != 1 {
			b.Errorf("rows: %v", b.dbs["orders"].Rows())
		}
		if report, err := b.finish(recovery.Verdict{ID: unknown, Outcome: txlog.Aborted}); err != nil || !report.Clean() {
			b.Errorf("a person's word: %+v, %v", report, err)
		}
		if b.r.Adopted = nil; !b.resolve().Clean() || len(b.unsettled()) != 0 {
			b.Error("something is unsettled")
		}
	})
}

// P6: what was decided of an adopted transaction is not forgotten while a branch of it waits, adopted in this run or not.
func TestAdoptedDecisionIsFinishedByEveryLaterRun(t *testing.T) {
	run(t, func(b *bench) {
		id := b.lost()()
		discard(b.prepared("orders", id, "orders"))
		b.proves("stock", map[string]bool{id: true})
		b.dbs["orders"].Fail(memdb.OpCommitPrepared, memdb.Fault{Err: errors.New("lock timeout")})
		b.resolve()
		b.r.Adopted = nil
		if len(b.unsettled()) != 1 {
			b.Error("settled while a branch waits")
		}
		if br := only(b.resolve(), b); br.Action != recovery.Committed || len(b.unsettled()) != 0 {
			b.Errorf("got %+v", br)
		}
	})
}

func TestContradictoryProofIsLeftToAPerson(t *testing.T) {
	run(t, func(b *bench) {
		b.add("bank", b.dbs["stock"])
		delete(b.dbs, "bank")
		id := b.lost()()
		discard(b.prepared("orders", id, "orders"))
		b.r.Resources[1].Driver = proving{Driver: b.dbs["stock"].Driver(), committed: map[string]bool{id: true}}
		b.r.Resources[2].Driver = proving{Driver: b.dbs["stock"].Driver(), committed: map[string]bool{id: false}}
		if br := only(b.resolve(), b); br.Action != recovery.Left || len(b.unsettled()) != 0 {
			b.Errorf("got %+v", br)
		}
	})
}

// A log that is said to be lost may be alive elsewhere: a session that still holds its branch says so.
func TestHeldBranchOfALostLogIsLeftAndItsSessionToo(t *testing.T) {
	run(t, func(b *bench) {
		b.dbs["orders"].Style.SessionBound = true
		b.refresh()
		id := b.lost()()
		conn := b.prepared("orders", id, "orders")
		b.proves("stock", map[string]bool{id: true})
		if br := only(b.resolve(), b); br.Action != recovery.Left || !strings.Contains(br.Reason, "is in use") || len(b.unsettled()) != 0 {
			b.Errorf("got %+v, decided: %v", br, b.unsettled())
		}
		if _, err := b.finish(recovery.Verdict{ID: id, Outcome: txlog.Committed, Force: true}); !errors.Is(err, recovery.ErrLive) {
			b.Errorf("got %v", err)
		}
		if err := conn.PingContext(b.Context()); err != nil {
			b.Errorf("its session was ended: %v", err)
		}
		discard(conn)
		b.resolve()
	})
}

// A log is lost as a whole or not at all: what a session shows in one database spares the branches of that log in all others, and those of no other log.
func TestLogWhoseSessionLivesInOneDatabaseIsAdoptedInNone(t *testing.T) {
	run(t, func(b *bench) {
		b.dbs["orders"].Style.SessionBound = true
		b.add("bank", memdb.New("bank"))
		b.refresh()
		alive := b.lost()
		held, sibling, proven := alive(), alive(), alive()
		lost := b.lost()()
		log, _, _ := txid.Split(held)
		b.r.Adopted = append(b.r.Adopted, log)
		conn := b.prepared("orders", held, "orders")
		for _, id := range []string{held, sibling, proven, lost} {
			discard(b.prepared("stock", id, "stock"))
		}
		b.proves("bank", map[string]bool{proven: true, lost: true})
		slow := memdb.Fault{Hook: func() { time.Sleep(time.Second) }}
		b.dbs["orders"].Fail(memdb.OpList, slow) // the others must wait for what it shows
		b.dbs["orders"].Fail(memdb.OpList, slow)
		report := b.resolve()
		if report.InUse[log] == "" || len(report.InUse) != 1 || count(report, recovery.Left) != 4 || count(report, recovery.Committed) != 1 {
			b.Errorf("got %+v", report)
		}
		for _, id := range []string{held, sibling, proven} {
			for _, o := range []txlog.Outcome{txlog.Committed, txlog.Aborted} {
				_, err := b.finish(recovery.Verdict{ID: id, Outcome: o, Force: true})
				if !errors.Is(err, recovery.ErrLive) || !strings.Contains(err.Error(), "log "+log+" is in use: a live session in orders") {
					b.Errorf("%v: got %v", o, err)
				}
			}
		}
		if n := b.holding(); n != 4 || len(b.unsettled()) != 0 {
			b.Errorf("%d branches are left, decided: %v", n, b.unsettled())
		}
		discard(conn)
		b.resolve()
	})
}

// Not even where the database shows only at the commit that a session holds it.
func TestNoSessionOfALostLogIsEnded(t *testing.T) {
	run(t, func(b *bench) {
		b.dbs["stock"].Style.SessionBound = true
		b.refresh()
		id := b.lost()()
		discard(b.prepared("stock", id, "stock"))
		b.proves("orders", map[string]bool{id: true})
		b.dbs["stock"].OnEvent(func(e string) {
			if strings.Contains(e, string(memdb.OpEndSession)) {
				b.Error(e)
			}
		})
		for range 100 {
			b.dbs["stock"].Fail(memdb.OpCommitPrepared, memdb.Fault{Err: drivers.ErrHeld})
		}
		if br := only(b.resolve(), b); br.Action != recovery.Left {
			b.Errorf("got %+v", br)
		}
	})
}

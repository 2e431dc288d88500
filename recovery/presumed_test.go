package recovery_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

const restored = `the log has no decision, and "orders" has committed it: was the log restored from an old copy?`

// halved leaves what a coordinator leaves whose log has lost the decision: a branch in each of these databases, finished where finished says so. The databases
// prove that.
func (b *bench) halved(finished map[string]bool, in ...string) (id string) {
	b.Helper()
	for name := range finished {
		b.dbs[name].Style.Proof = true
	}
	b.refresh()
	id = b.id()
	for _, name := range in {
		discard(b.prepared(name, id, name))
		if committed, is := finished[name]; is {
			b.dbs[name].Finish(drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: name}, committed)
		}
	}
	return id
}

// became is what each database made of the transaction: "committed", "rolled back", or "prepared".
func (b *bench) became(id string) map[string]string {
	out := map[string]string{}
	for name, db := range b.dbs {
		_, applied := db.Rows()[id]
		switch held := slices.ContainsFunc(db.Prepared(), func(x drivers.XID) bool { return x.GTRID == id }); {
		case held:
			out[name] = "prepared"
		case applied:
			out[name] = "committed"
		default:
			out[name] = "rolled back"
		}
	}
	return out
}

func (b *bench) wantBecame(id, outcome string, in ...string) {
	b.Helper()
	became := b.became(id)
	for _, name := range in {
		if became[name] != outcome {
			b.Errorf("%s: %s, want %s", name, became[name], outcome)
		}
	}
}

func (b *bench) wantStands(id string, want txlog.Outcome) {
	b.Helper()
	if got, err := b.log.Lookup(b.Context(), id); got != want || err != nil {
		b.Errorf("the log says %v, %v; want %v", got, err, want)
	}
}

// Of a transaction that the log knows nothing of, one branch has committed: the rest is committed too, and it is told.
func TestUndecidedIsCommittedWhereADatabaseProvesThatItHas(t *testing.T) {
	run(t, func(b *bench) {
		b.add("third", memdb.New("third"))
		id := b.halved(map[string]bool{"orders": true}, "orders", "stock", "third")
		var told bytes.Buffer
		b.r.Logger = slog.New(slog.NewTextHandler(&told, nil))

		look, err := b.r.Scan(b.Context())
		if err != nil || counted(look, recovery.WouldCommit) != 2 || len(b.notes(id)) != 0 || told.Len() != 0 {
			b.Errorf("Scan: %v, %+v; it noted %v and logged %s", err, look, b.notes(id), &told)
		}
		b.wantStands(id, txlog.Undecided)

		report := b.resolve()
		b.wantBecame(id, "committed", "orders", "stock", "third")
		b.wantStands(id, txlog.Committed)
		if counted(report, recovery.Committed) != 2 || !report.Clean() || len(b.unsettled()) != 0 {
			b.Errorf("got %+v", report)
		}
		for _, br := range append(report.Branches(func(recovery.Branch) bool { return true }), look.Branches(func(recovery.Branch) bool { return true })...) {
			if br.Reason != restored {
				b.Errorf("%s %s: %q", br.Resource, br.Action, br.Reason)
			}
		}
		n := b.notes(id)
		if len(n) != 1 || n[0].Kind != txlog.Heuristic || n[0].Resource != "orders" || !strings.Contains(n[0].Text, "restored from an old copy") || !slices.Equal(report.Notes, n) {
			b.Errorf("noted %+v, reported %+v", n, report.Notes)
		}
		if s := told.String(); strings.Count(s, "level=ERROR") != 1 || !strings.Contains(s, "was the log restored from an old copy?") || !strings.Contains(s, id) {
			b.Errorf("logged:\n%s", s)
		}
	})
}

func TestUndecidedIsRolledBackWhereNoDatabaseProvesACommit(t *testing.T) {
	for name, c := range map[string]struct {
		finished map[string]bool
		reason   string // of Scan
	}{
		"one has rolled back":  {map[string]bool{"orders": false}, `the log has no decision to commit it, and "orders" has rolled it back`},
		"one was never a part": {nil, "the log has no decision to commit it"},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				b.dbs["orders"].Style.Proof = true
				in := []string{"stock"}
				if c.finished != nil {
					in = append(in, "orders")
				}
				id := b.halved(c.finished, in...)
				b.refresh()
				look, err := b.r.Scan(b.Context())
				if br := only(look, b); err != nil || br.Action != recovery.WouldRollBack || br.Reason != c.reason {
					b.Errorf("Scan: %v, %+v", err, br)
				}
				if report := b.resolve(); !report.Clean() || counted(report, recovery.RolledBack) != 1 || len(b.notes(id)) != 0 {
					b.Errorf("got %+v", report)
				}
				b.wantBecame(id, "rolled back", "orders", "stock")
				b.wantStands(id, txlog.Aborted)
			})
		})
	}
}

// One has committed and one has rolled back: whatever is presumed is wrong somewhere.
func TestNothingIsPresumedWhereDatabasesContradictEachOther(t *testing.T) {
	run(t, func(b *bench) {
		b.add("third", memdb.New("third"))
		id := b.halved(map[string]bool{"orders": true, "stock": false}, "orders", "stock", "third")
		for range 2 {
			report := b.resolve()
			want := `the log has no decision, and "orders" has committed it and "stock" has rolled it back: a person must look, and decide with xa-recover commit or rollback ` + id + " --force"
			if br := only(report, b); br.Action != recovery.Left || br.Reason != want || report.Clean() {
				b.Errorf("got %+v", br)
			}
			b.wantStands(id, txlog.Undecided)
			b.wantBecame(id, "prepared", "third")
		}
		if _, err := b.finish(recovery.Verdict{ID: id, Outcome: txlog.Committed}); !errors.Is(err, recovery.ErrContradicts) {
			b.Errorf("without force: %v", err)
		}
		if _, err := b.finish(recovery.Verdict{ID: id, Outcome: txlog.Committed, Force: true}); err != nil {
			b.Error(err)
		}
		b.wantBecame(id, "committed", "orders", "third")
	})
}

// What could tell is out of reach: the rows of others are not kept locked for it. What was done is told when it is back, and not forgotten before.
func TestWhoCannotBeAskedKeepsNoRowsLocked(t *testing.T) {
	for name, c := range map[string]struct {
		fault  memdb.Fault
		within time.Duration
	}{
		"it refuses":       {memdb.Fault{Err: errors.New("disk I/O error")}, 0},
		"it never answers": {memdb.Fault{Hang: true}, 10 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				b.add("third", memdb.New("third"))
				var ids []string
				for range 20 {
					ids = append(ids, b.halved(map[string]bool{"orders": true}, "orders", "stock", "third"))
				}
				for range 6 * len(ids) { // twice each, in each of three passes at most
					b.dbs["orders"].Fail(memdb.OpOutcome, c.fault)
				}
				begun := time.Now()
				b.r.Progress = func(resource string, done, _ int) {
					if took := time.Since(begun); took > c.within {
						b.Errorf("%s: branch %d was finished after %v", resource, done, took)
					}
				}
				report := b.resolve()
				for _, id := range ids {
					b.wantBecame(id, "rolled back", "stock", "third")
				}
				if report.Clean() || len(b.unsettled()) != len(ids) {
					b.Errorf("%d are unsettled: the aborts are forgotten before the database was asked", len(b.unsettled()))
				}
				b.dbs["orders"].Heal()
				report = b.resolve()
				if !report.Clean() || len(report.Notes) != len(ids) || report.Notes[0].Kind != txlog.Heuristic || report.Notes[0].Resource != "orders" {
					b.Errorf("that orders had committed is told as %+v", report.Notes)
				}
			})
		})
	}
}

// asking counts what a database is asked to prove, and how many connections are used for it at most.
type asking struct {
	drivers.Driver
	before func(id string) // of each answer
	asked  atomic.Int64
	most   atomic.Int64
}

func (a *asking) Outcome(ctx context.Context, db *sql.DB, xid drivers.XID, evidence string) (committed, proven bool, err error) {
	a.asked.Add(1)
	if a.before != nil {
		a.before(xid.GTRID)
	}
	if n := int64(db.Stats().InUse) + 1; n > a.most.Load() {
		a.most.Store(n)
	}
	return a.Driver.(drivers.Prover).Outcome(ctx, db, xid, evidence)
}

// asked makes orders prove outcomes, and counts.
func (b *bench) asked(before func(id string)) *asking {
	b.dbs["orders"].Style.Proof = true
	b.refresh()
	a := &asking{Driver: b.r.Resources[0].Driver, before: before}
	b.r.Resources[0].Driver = a
	return a
}

// P4, P13: what somebody has in hand is nobody else's to ask about; nor is what the log has decided.
func TestNobodyIsAskedAboutWhatIsInOtherHands(t *testing.T) {
	for name, prepare := range map[string]func(b *bench, id string){
		"live in this process": func(b *bench, id string) { b.r.Claim = func(string) (func(), bool) { return nil, false } },
		"decided":              func(b *bench, id string) { b.decide(id, txlog.Committed, "stock") },
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				id := b.halved(nil, "stock")
				a := b.asked(nil)
				prepare(b, id)
				b.resolve()
				if a.asked.Load() != 0 {
					b.Error("a database was asked")
				}
				b.r.Claim = nil
				b.resolve()
			})
		})
	}
	t.Run("another member's", func(t *testing.T) {
		run(t, func(b *bench) {
			a := b.asked(nil)
			_, m := b.shared()
			b.inDoubtOf(m)
			b.resolve()
			if a.asked.Load() != 0 {
				b.Error("a database was asked")
			}
			if err := m.Leave(b.Context()); err != nil {
				b.Error(err)
			}
			if b.resolve(); a.asked.Load() != 1 {
				b.Errorf("once it has left, it was asked %d times", a.asked.Load())
			}
		})
	})
}

// A coordinator that was thought dead decides and commits between the look into the log and the question: the log has lost nothing.
func TestLateDecisionIsNoLostOne(t *testing.T) {
	run(t, func(b *bench) {
		id := b.halved(nil, "orders", "stock")
		orders := b.dbs["orders"]
		xid := orders.Prepared()[0]
		var once sync.Once
		b.asked(func(id string) {
			once.Do(func() {
				b.decide(id, txlog.Committed, "orders", "stock")
				orders.Finish(xid, true) // unless recovery, which looks for orders' branch at the same time, was first
			})
		})
		report := b.resolve()
		if !report.Clean() || len(report.Notes) != 0 {
			b.Errorf("got %+v", report)
		}
		for _, br := range report.Branches(func(br recovery.Branch) bool { return br.Reason != "" }) {
			b.Errorf("%s %s: %q", br.Resource, br.Action, br.Reason)
		}
		b.wantBecame(id, "committed", "orders", "stock")
	})
}

// Somebody else was first to write Aborted. The log is right, and that a database had committed is told.
func TestAbortThatWasFirstStandsAndTheCommitIsTold(t *testing.T) {
	run(t, func(b *bench) {
		id := b.halved(map[string]bool{"orders": true}, "orders", "stock")
		b.r.Log = first{b.log, b}
		b.resolve()
		b.r.Log = b.log
		b.wantStands(id, txlog.Aborted)
		b.wantBecame(id, "rolled back", "stock")
		if n := b.notes(id); len(n) != 1 || n[0].Kind != txlog.Heuristic || n[0].Resource != "orders" {
			b.Errorf("noted %+v", n)
		}
	})
}

// first is a log in which somebody else writes Aborted just before each decision.
type first struct {
	*logtest.Memory
	b *bench
}

func (f first) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	f.b.decide(d.ID, txlog.Aborted, d.Resources...)
	return f.Memory.Decide(ctx, d)
}

// A person has said rollback, and was cut short before the decision: what is proven since then, or was not heeded, does not undo their word.
func TestProofDoesNotOverruleAPerson(t *testing.T) {
	for kind, want := range map[txlog.NoteKind]string{txlog.AbortedByHand: "xa-recover rollback", txlog.CommittedByHand: "xa-recover commit"} {
		run(t, func(b *bench) {
			id := b.halved(map[string]bool{"orders": true}, "orders", "stock")
			if err := b.log.Note(b.Context(), txlog.Note{ID: id, Kind: kind, By: "ada@db7"}); err != nil {
				b.Fatal(err)
			}
			if br := only(b.resolve(), b); br.Action != recovery.Left || !strings.Contains(br.Reason, want) {
				b.Errorf("got %+v", br)
			}
			b.wantStands(id, txlog.Undecided)
			if len(b.notes(id)) != 1 {
				b.Errorf("noted %+v", b.notes(id))
			}
		})
	}
}

// The note comes before the decision: a crash in between must not lose it.
func TestWhatTheLogLacksIsNotedBeforeItIsDecided(t *testing.T) {
	run(t, func(b *bench) {
		id := b.halved(map[string]bool{"orders": true}, "orders", "stock")
		b.r.Log = noted{b.log, b, false}
		b.resolve()
		b.wantStands(id, txlog.Committed)
	})
	run(t, func(b *bench) {
		id := b.halved(map[string]bool{"orders": true}, "orders", "stock")
		b.r.Log = noted{b.log, b, true}
		if br := only(b.resolve(), b); br.Action != recovery.Left || !errors.Is(br.Err, errNoNote) {
			b.Errorf("got %+v", br)
		}
		b.wantStands(id, txlog.Undecided)
	})
}

var errNoNote = errors.New("the disk is full")

// noted is a log that finds out whether a decision comes before its note, or that takes none.
type noted struct {
	*logtest.Memory
	b    *bench
	full bool
}

func (n noted) Note(ctx context.Context, note txlog.Note) error {
	if n.full {
		return errNoNote
	}
	return n.Memory.Note(ctx, note)
}

func (n noted) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	if len(n.b.notes(d.ID)) != 1 {
		n.b.Error("it is decided before it is noted")
	}
	return n.Memory.Decide(ctx, d)
}

// Thousands of branches in several databases: each transaction is asked about once a pass, some at once, and over half of the pool at most.
func TestEachTransactionIsAskedAboutOnce(t *testing.T) {
	for limit, most := range map[int]int64{0: 8, 1: 1, 4: 2} {
		run(t, func(b *bench) {
			b.add("third", memdb.New("third"))
			a := b.asked(nil)
			a.before = func(string) { time.Sleep(time.Millisecond) }
			const n = 1000
			for range n {
				b.halved(nil, "stock", "third")
			}
			a.Driver = b.dbs["orders"].Driver()
			b.r.Resources[0].Driver = a
			b.r.Resources[0].DB.SetMaxOpenConns(limit)
			begun := time.Now()
			report := b.resolve()
			took := time.Since(begun)
			if !report.Clean() || counted(report, recovery.RolledBack) != 2*n || a.asked.Load() != n {
				b.Errorf("%d were rolled back; %d transactions were asked about", counted(report, recovery.RolledBack), a.asked.Load())
			}
			if a.most.Load() > most || took > n*time.Millisecond/time.Duration(most)+100*time.Millisecond {
				b.Errorf("of a pool of %d: %d connections at once, in %v", limit, a.most.Load(), took)
			}
		})
	}
}

// Who needs evidence is not asked without.
func TestWhoNeedsEvidenceIsNotAsked(t *testing.T) {
	run(t, func(b *bench) {
		b.dbs["orders"].Style = memdb.Style{Proof: true, Evidence: true}
		id := b.halved(nil, "stock")
		b.refresh()
		b.dbs["orders"].Fail(memdb.OpOutcome, memdb.Fault{Hook: func() { b.Error("it was asked") }})
		b.resolve()
		b.wantBecame(id, "rolled back", "stock")
	})
}

// Who forces a rollback has been told what it contradicts, and has it noted: recovery, which completes it, has nothing to add.
func TestForcedRollbackIsNotedOnce(t *testing.T) {
	run(t, func(b *bench) {
		id := b.halved(map[string]bool{"orders": true}, "orders", "stock")
		b.dbs["stock"].Fail(memdb.OpRollbackPrepared, memdb.Fault{Err: errors.New("lock timeout")})
		if _, err := b.r.Finish(b.Context(), recovery.Verdict{ID: id, Outcome: txlog.Aborted, By: "ada@db7", Force: true}); err != nil {
			b.Fatal(err)
		}
		before := b.notes(id)
		if report := b.resolve(); !report.Clean() {
			b.Errorf("got %+v", report)
		}
		b.wantBecame(id, "rolled back", "stock")
		if after := b.notes(id); len(before) != 2 || !slices.Equal(before, after) {
			b.Errorf("noted %+v, then %+v", before, after)
		}
	})
}

// A database whose turn to ask does not come in time is given up for this run; that must not count as an answer for the others, who wait for the same one.
func TestGivenUpQuestionIsNoAnswer(t *testing.T) {
	run(t, func(b *bench) {
		b.add("third", memdb.New("third"))
		for range 40 {
			b.halved(nil, "stock")
		}
		last := b.halved(map[string]bool{"orders": true}, "orders", "stock", "third")
		b.asked(func(string) { time.Sleep(9 * time.Second) })
		b.r.Resources[0].DB.SetMaxOpenConns(1)
		b.dbs["third"].Fail(memdb.OpList, memdb.Fault{Hook: func() { time.Sleep(time.Second) }})
		b.resolve()
		b.wantBecame(last, "committed", "orders", "stock")
		b.resolve()
		b.wantBecame(last, "committed", "orders", "stock", "third")
	})
}

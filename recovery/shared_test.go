package recovery_test

import (
	"context"
	"errors"
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

const lease = 10 * time.Second

// shared puts a shared log into the bench: app is the opening of an application, with its membership; the resolver has an opening of its own.
func (b *bench) shared() (app *logtest.SharedMemory, member txlog.Member) {
	b.Helper()
	app = logtest.NewSharedMemory(lease)
	b.log = app.Memory
	b.r.Log = app.Another()
	member, err := app.Join(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	return app, member
}

func (b *bench) inDoubtOf(m txlog.Member) (id string) {
	id = txid.New(b.log.ID(), m.Mark(), time.Now())
	discard(b.prepared("orders", id, "orders"))
	return id
}

// P13: what another living member works on is left alone, decided or not; once it has left, or its lease is over, it is not.
func TestTransactionOfAnotherLivingMemberIsLeftAlone(t *testing.T) {
	ends := map[string]func(b *bench, app *logtest.SharedMemory, m txlog.Member){
		"it leaves": func(b *bench, _ *logtest.SharedMemory, m txlog.Member) {
			if err := m.Leave(b.Context()); err != nil {
				b.Error(err)
			}
		},
		"its lease is over": func(_ *bench, app *logtest.SharedMemory, _ txlog.Member) {
			app.Pause()
			time.Sleep(lease + time.Second)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				app, m := b.shared()
				committed, undecided := b.inDoubtOf(m), b.inDoubtOf(m)
				b.decide(committed, txlog.Committed, "orders")

				report := b.resolve()
				live := report.Branches(func(br recovery.Branch) bool { return br.Action == recovery.Live && br.Holder != "" })
				if len(live) != 2 || report.Clean() || len(b.dbs["orders"].Prepared()) != 2 {
					b.Errorf("while it lives: %+v", report)
				}
				if out, _ := b.log.Lookup(b.Context(), undecided); out != txlog.Undecided || len(b.unsettled()) != 1 {
					b.Errorf("recovery wrote %v into the log, unsettled %q", out, b.unsettled())
				}

				end(b, app, m)
				if report := b.resolve(); !report.Clean() || len(b.unsettled()) != 0 {
					b.Errorf("afterwards: %+v", report)
				}
				if out, _ := b.log.Lookup(b.Context(), undecided); out != txlog.Aborted {
					b.Errorf("the undecided one is %v", out)
				}
			})
		})
	}
}

// P6, P13: a decision whose branches another member is committing is not settled because a database holds nothing of it any more.
func TestDecisionOfAnotherLivingMemberIsNotSettled(t *testing.T) {
	run(t, func(b *bench) {
		_, m := b.shared()
		id := txid.New(b.log.ID(), m.Mark(), time.Now())
		b.decide(id, txlog.Committed, "orders")
		b.resolve()
		if len(b.unsettled()) != 1 {
			b.Error("it was settled")
		}
		m.Leave(b.Context())
		b.resolve()
	})
}

func TestTwoRecoveriesDoNotDoTheSameWork(t *testing.T) {
	run(t, func(b *bench) {
		app, m := b.shared()
		id := b.inDoubtOf(m)
		b.decide(id, txlog.Committed, "orders")
		m.Leave(b.Context())

		other := b.r // a recovery that has claimed it, and is stuck at the commit
		other.Log = app.Another()
		b.dbs["orders"].Fail(memdb.OpCommitPrepared, memdb.Fault{Hook: func() {
			report, err := other.Resolve(b.Context())
			if err != nil || len(report.Branches(func(br recovery.Branch) bool { return br.Action == recovery.Live && br.Holder != "" })) != 1 {
				b.Errorf("the other one: %v, %+v", err, report)
			}
		}})
		if report := b.resolve(); !report.Clean() {
			b.Errorf("got %+v", report)
		}
	})
}

func TestScanClaimsNothing(t *testing.T) {
	run(t, func(b *bench) {
		app, m := b.shared()
		id := b.inDoubtOf(m)
		m.Leave(b.Context())
		b.r.Log.(*logtest.SharedMemory).OnEvent(func(e string) {
			if !strings.HasPrefix(e, "log lookup") {
				b.Errorf("Scan does %q", e)
			}
		})
		report, err := b.r.Scan(b.Context())
		b.r.Log.(*logtest.SharedMemory).OnEvent(nil)
		if err != nil || only(report, b).Action != recovery.WouldRollBack {
			b.Errorf("got %v, %+v", err, report)
		}
		if holders, err := app.Holders(b.Context(), []string{id}); err != nil || holders[id].Alive {
			b.Errorf("holders: %v, %v", holders, err)
		}
		b.resolve()
	})
}

func TestNothingIsDoneWhileTheLogCantTellWhoWorksOnIt(t *testing.T) {
	run(t, func(b *bench) {
		_, m := b.shared()
		b.inDoubtOf(m)
		m.Leave(b.Context())
		b.r.Log.(*logtest.SharedMemory).FailClaim()
		if br := only(b.resolve(), b); br.Action != recovery.Left || br.Err == nil || len(b.dbs["orders"].Prepared()) != 1 {
			b.Errorf("got %+v", br)
		}
		b.decide(b.id(), txlog.Committed, "stock")
		b.r.Log.(*logtest.SharedMemory).FailClaim()
		if report, err := b.r.Resolve(b.Context()); err == nil || len(b.unsettled()) != 1 {
			b.Errorf("with an unsettled decision: %v, %+v", err, report)
		}
		b.resolve()
	})
}

func TestLatchesAreGivenBackWhenTheClaimIsRefused(t *testing.T) {
	run(t, func(b *bench) {
		_, m := b.shared()
		b.inDoubtOf(m)
		held := 0
		b.r.Claim = func(string) (func(), bool) { held++; return func() { held-- }, true }
		b.resolve()
		if held != 0 {
			b.Errorf("%d latches are held", held)
		}
		m.Leave(b.Context())
		b.resolve()
	})
}

func TestPassLeavesTheSharedLog(t *testing.T) {
	run(t, func(b *bench) {
		b.shared()
		id := b.id()
		discard(b.prepared("orders", id, "orders"))
		b.dbs["orders"].Down(true)
		b.decide(id, txlog.Committed, "orders")
		b.resolve() // claims it, and can't finish
		b.dbs["orders"].Down(false)
		b.r.Log = b.r.Log.(*logtest.SharedMemory).Another()
		if report := b.resolve(); !report.Clean() {
			b.Errorf("the next recovery has to wait for one that is over: %+v", report)
		}
	})
}

// P14: on a shared log another application may mean another database by the name, and be about to decide.
func TestSharedLogIsNeverReboundByItself(t *testing.T) {
	run(t, func(b *bench) {
		b.shared()
		b.resolve() // the log learns the identities
		other := memdb.New("restored")
		pool := other.Pool()
		defer pool.Close()
		b.r.Resources[0] = drivers.Resource{Name: "orders", DB: pool, Driver: other.Driver()}
		if report := b.resolve(); report.Resources[0].Withheld == "" {
			b.Errorf("got %+v", report.Resources[0])
		}
		b.r.Rebind = []string{"orders"}
		if report := b.resolve(); report.Resources[0].Withheld != "" {
			b.Errorf("rebound: %+v", report.Resources[0])
		}
	})
}

// copied is a log that may have missed decisions.
type copied struct{ txlog.Log }

var errCopied = errors.New("the log was copied")

func (copied) Witnessed() error { return errCopied }

func TestWhatTheLogMayHaveMissedIsNotTakenForUndecided(t *testing.T) {
	run(t, func(b *bench) {
		missed := b.id()
		discard(b.prepared("orders", missed, "orders"))
		decided := b.id()
		discard(b.prepared("orders", decided, "orders"))
		b.decide(decided, txlog.Committed, "orders")
		b.r.Log = copied{b.log}

		for _, look := range []func(context.Context) (recovery.Report, error){b.r.Scan, b.r.Resolve} {
			report, err := look(b.Context())
			left := report.Branches(func(br recovery.Branch) bool { return br.Action == recovery.Left })
			if err != nil || len(left) != 1 || left[0].XID.GTRID != missed || !errors.Is(left[0].Err, errCopied) {
				b.Errorf("got %v, %+v", err, left)
			}
		}
		want := drivers.XID{FormatID: drivers.FormatID, GTRID: missed, BQual: "orders"}
		if prepared := b.dbs["orders"].Prepared(); len(prepared) != 1 || prepared[0] != want {
			b.Errorf("prepared: %v", prepared)
		}
		if out, _ := b.log.Lookup(b.Context(), missed); out != txlog.Undecided {
			b.Errorf("it was decided: %v", out)
		}
		b.r.Log = b.log
		b.resolve()
	})
}

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog"
)

func TestNothingInDoubtExitsZero(t *testing.T) {
	w := newWorld(t)
	w.wantStatus(w.run("list"), 0)
	w.wantStatus(w.run("resolve"), 0)
	w.wantStatus(w.run("list", "-o", "json"), 0)
	w.golden("nothing")
}

func TestListTellsWhatWouldBeDoneAndTouchesNothing(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.log.OnEvent(func(event string) {
		if !strings.HasPrefix(event, "log lookup ") {
			t.Errorf("the log was written: %s", event)
		}
	})
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("list", "--all"), 3)
	w.wantStatus(w.run("list", "--all", "--output", "json"), 3)
	w.wantStatus(w.run("resolve", "--dry-run"), 3)
	if b, p := w.dbs["berlin"].Stats().Prepared, w.dbs["paris"].Stats().Prepared; b != 5 || p != 2 {
		t.Errorf("berlin holds %d branches and paris %d, want 5 and 2", b, p)
	}
	w.golden("list")
}

func TestResolveSettlesOurBranchesAndLeavesStrangers(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.wantStatus(w.run("resolve"), 0)
	w.wantStatus(w.run("resolve"), 0)
	if b, p := w.dbs["berlin"].Stats().Prepared, w.dbs["paris"].Stats().Prepared; b != 3 || p != 0 {
		t.Errorf("berlin holds %d branches and paris %d, want 3 strangers' and 0", b, p)
	}
	w.golden("resolve")
}

func TestResolveInJSON(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.decide(1, txlog.Committed, 11*time.Second, "berlin", "paris")
	w.wantStatus(w.run("resolve", "--output=json"), 0)
	w.golden("resolve-json")
}

func TestStrangersAloneDoNotCount(t *testing.T) {
	w := newWorld(t)
	w.strangers()
	w.wantStatus(w.run("list"), 0)
	w.wantStatus(w.run("list", "--all"), 0)
	w.golden("strangers")
}

func TestDatabaseThatIsDownIsReportedAndStopsNoOther(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.dbs["paris"].Down(true)
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("resolve"), 3)
	w.wantStatus(w.run("resolve"), 3)
	w.dbs["paris"].Down(false)
	w.wantStatus(w.run("resolve"), 0)
	w.golden("down")
}

func TestDecisionThatNamesAnUnknownResourceIsKept(t *testing.T) {
	w := newWorld(t)
	w.decide(1, txlog.Committed, 3*time.Hour, "berlin", "rome")
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("resolve"), 3)
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.golden("unknown-resource")
}

func TestManyUnsettledDecisionsAreCutShort(t *testing.T) {
	w := newWorld(t)
	for n := range 25 {
		w.decide(10+n, txlog.Committed, time.Hour, "rome")
	}
	w.wantStatus(w.run("list"), 3)
	w.golden("many")
}

func TestLiveOwnerHasItInHand(t *testing.T) {
	w := newWorld(t)
	w.owned = true
	w.wantStatus(w.run("resolve"), 0)
	w.doubt()
	w.wantStatus(w.run("resolve"), 3)
	w.wantStatus(w.run("resolve", "-o", "json"), 3)
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("show", w.id(2)), 3)
	if n := w.dbs["berlin"].Stats().Prepared; n != 5 {
		t.Errorf("berlin holds %d branches, want 5: a live owner's were touched", n)
	}
	w.golden("owned")
}

func TestHeuristicOutcomeExitsFour(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin", "paris")
	w.decide(1, txlog.Committed, time.Minute, "berlin", "paris")
	w.dbs["paris"].Fail(memdb.OpCommitPrepared, memdb.Fault{Err: fmt.Errorf("memdb: paris: row changed: %w", drivers.ErrHeuristic)})
	w.wantStatus(w.run("resolve"), 4)
	w.golden("heuristic")
}

func TestBranchThatIsRefusedIsLeftWithTheReason(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin", "paris")
	for range 3 { // one run looks again where it met the decision at the very moment when it was written
		w.dbs["paris"].Fail(memdb.OpRollbackPrepared, memdb.Fault{Err: errors.New("memdb: permission denied\nto roll back")})
	}
	w.wantStatus(w.run("resolve"), 3)
	w.golden("refused")
}

func TestMixedUpURLsAreNamed(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin")
	w.wantStatus(w.run("list", "--resource", "berlin=mem:paris", "--resource", "paris=mem:berlin"), 3)
	w.golden("mixed-up")
}

func TestShowExplainsOneTransaction(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.wantStatus(w.run("show", w.id(1)+"/paris"), 3)
	w.wantStatus(w.run("show", w.id(2)), 3)
	w.wantStatus(w.run("show", w.id(3), "--output", "json"), 3)
	w.wantStatus(w.run("show", "otherlog.01JD0000000000000000000009"), 0)
	w.wantStatus(w.run("show", "1:bitronix%20x/%01"), 0)
	w.wantStatus(w.run("resolve"), 0)
	w.wantStatus(w.run("show", w.id(1)), 0)
	w.golden("show")
}

func TestShowOfAnUnknownIDIsAnError(t *testing.T) {
	w := newWorld(t)
	w.wantStatus(w.run("show", w.id(7)), 1)
	w.wantStatus(w.run("show", "otherlog.01JD0000000000000000000007"), 1)
	w.dbs["paris"].Down(true)
	w.wantStatus(w.run("show", w.id(7)), 3)
	for _, id := range []string{"", "x", w.id(7) + "1", w.id(7) + "/pa ris", "y:a/b"} {
		w.wantStatus(w.run("show", id), 2)
	}
	w.wantStatus(w.run("show"), 2)
	w.wantStatus(w.run("show", "a", "b"), 2)
	w.golden("show-unknown")
}

func TestWrongUsageExitsTwo(t *testing.T) {
	for _, args := range [][]string{
		{},
		{"lst"},
		{"list", "--bogus"},
		{"list", "extra"},
		{"resolve", "extra"},
		{"list", "--output", "yaml"},
		{"list", "--timeout", "soon"},
		{"list", "--timeout", "0s"},
		{"resolve", "--rebind", "rome"},
		{"list", "--resource", "postgres://u:geheim@h/d"},
		{"list", "--resource", "berlin=postgres://u:gehe/im@h/d"},
		{"list", "--resource", "berlin=oracle://u:geheim@h/d"},
		{"list", "--resource", "ber lin=mem:berlin"},
		{"list", "--resource", "berlin=mem:berlin", "--resource", "berlin=mem:paris"},
	} {
		w := newWorld(t)
		w.wantStatus(w.run(args...), 2)
		w.golden("usage-" + name(args))
	}
}

func TestMissingConfigurationExitsTwo(t *testing.T) {
	w := newWorld(t)
	w.env["XA_RESOURCES"] = ""
	w.wantStatus(w.run("list"), 2)
	w.env["XA_LOG"] = ""
	w.wantStatus(w.run("list", "--resource", "berlin=mem:berlin"), 2)
	w.env["XA_RESOURCES"] = "mem:berlin"
	w.wantStatus(w.run("list", "--log", "mem:log"), 2)
	w.golden("usage-missing")
}

func TestFlagsAreStrongerThanTheEnvironment(t *testing.T) {
	w := newWorld(t)
	w.env["XA_LOG"] = "mem:none"
	w.env["XA_RESOURCES"] = "\n  berlin=sqlite:/no such/berlin.db\n\n  paris=mem:paris\n"
	w.wantStatus(w.run("list"), 3)
	w.wantStatus(w.run("resolve", "--log", "mem:log", "--resource", "berlin=mem:berlin"), 0)
	w.golden("environment")
}

func TestLogThatCannotBeOpenedExitsOne(t *testing.T) {
	w := newWorld(t)
	w.logErr = fmt.Errorf("filelog: corrupt record at 00000003.xalog+8192: crc is 1a2b, want 3c4d: %w", txlog.ErrCorrupt)
	w.wantStatus(w.run("list"), 1)
	w.wantStatus(w.run("resolve"), 1)
	w.wantStatus(w.run("show", w.id(1)), 1)
	w.golden("corrupt")
}

func TestDatabaseThatGivesNoAnswerIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.doubt()
		w.dbs["paris"].Fail(memdb.OpList, memdb.Fault{Hang: true})
		w.wantStatus(w.run("resolve", "--timeout", "5s"), 3)
		w.golden("timeout")
	})
}

// A limit for standing still is none for what goes on.
func TestNothingThatMovesIsCutShort(t *testing.T) {
	for _, args := range [][]string{
		{"resolve", "--timeout", "5s", "--quiet"},
		{"resolve", "--timeout", "5s", "--quiet", "--watch", "1h"},
		{"rollback", "--timeout", "5s", "--yes", "--why", "x"},
	} {
		t.Run(args[0]+args[len(args)-1], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				for n := range 5 {
					w.prepare(10+n, time.Minute, "berlin")
					w.dbs["berlin"].Fail(memdb.OpRollbackPrepared, memdb.Fault{Hook: func() { time.Sleep(4 * time.Second) }})
				}
				runs := 0
				w.onOpen = func() {
					if runs++; runs == 2 {
						cancel() // of --watch: the first run is over
					}
				}
				left := 0
				if args[0] == "rollback" {
					args, left = append(args, w.id(10)), 4
					w.dbs["paris"].Fail(memdb.OpList, memdb.Fault{}) // of the look before
					w.dbs["paris"].Fail(memdb.OpList, memdb.Fault{Hook: func() { time.Sleep(4 * time.Second) }})
				}
				w.wantStatus(w.runContext(ctx, args...), 0)
				if n := w.dbs["berlin"].Stats().Prepared; n != left {
					t.Errorf("%d branches are left:\n%s", n, w.session.String())
				}
			})
		})
	}
}

func TestInterruptedRunTellsWhatIsLeft(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	ctx, cancel := context.WithCancel(t.Context())
	w.dbs["paris"].Fail(memdb.OpList, memdb.Fault{Hook: cancel, Hang: true})
	w.dbs["berlin"].Fail(memdb.OpList, memdb.Fault{Hang: true})
	w.wantStatus(w.runContext(ctx, "resolve"), 3)
	w.wantStatus(w.runContext(ctx, "resolve"), 1)
	w.golden("interrupted")
}

func TestVerboseTellsEachStep(t *testing.T) {
	w := newWorld(t)
	w.prepare(1, time.Minute, "berlin")
	w.wantStatus(w.run("resolve", "-v"), 0)
	w.golden("verbose")
}

// name makes a file's name of a command line.
func name(args []string) string {
	s := ""
	for _, arg := range args {
		for _, c := range arg {
			if c >= 'a' && c <= 'z' {
				s += string(c)
			}
		}
		s += "-"
	}
	return s + fmt.Sprint(len(args))
}

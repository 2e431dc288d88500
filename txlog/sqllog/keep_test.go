package sqllog

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

const updateSettled = "UPDATE xasql_decision SET settled_at"

func unsettledIDs(t *testing.T, l *Log) []string {
	t.Helper()
	var list []string
	for d, err := range l.Unsettled(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, d.ID)
	}
	return list
}

func mustSettle(t *testing.T, l *testLog, id string) {
	t.Helper()
	if err := l.Settle(t.Context(), id); err != nil {
		t.Fatal(err)
	}
}

func decideMany(t *testing.T, l *testLog, prefix string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { mustDecide(t, l, fmt.Sprint(prefix, i), txlog.Committed) })
	}
	wg.Wait()
}

func TestSettledDecisionsShareAStatement(t *testing.T) {
	l := newLog(t, Options{settle: time.Hour})
	const n = settleBatch*2 + 1
	decideMany(t, l, "t", n)
	for i := range n {
		mustSettle(t, l, fmt.Sprint("t", i))
	}
	eventually(t, "full batches are written at once", func() bool { return l.faults.count(updateSettled) >= 2 })
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if got := l.faults.count(updateSettled); got > 12 {
		t.Errorf("%d settled decisions took %d statements", n, got)
	}
	again := openFile(t, l.dsn, Options{})
	if got := unsettledIDs(t, again.Log); len(got) != 0 {
		t.Errorf("after Close %d decisions are unsettled", len(got))
	}
}

func TestSettleThatFailsIsTriedAgain(t *testing.T) {
	l := newLog(t, Options{settle: time.Millisecond})
	mustDecide(t, l, "t", txlog.Committed)
	l.faults.add(fault{text: updateSettled, times: 2 * sqliteTries})
	mustSettle(t, l, "t")
	eventually(t, "the statement has failed", func() bool {
		l.faults.mu.Lock()
		defer l.faults.mu.Unlock()
		return l.faults.rules[0].times < 2*sqliteTries
	})
	other := openFile(t, l.dsn, Options{})
	eventually(t, "another opening sees it settled", func() bool { return len(unsettledIDs(t, other.Log)) == 0 })
}

func TestWhatIsSettledWhileTheDatabaseIsAwayIsBounded(t *testing.T) {
	l := newLog(t, Options{settle: time.Hour})
	l.faults.add(fault{text: updateSettled, times: -1})
	for range maxSettles + 10 {
		mustSettle(t, l, "t")
	}
	l.mu.Lock()
	n := len(l.settles)
	l.mu.Unlock()
	if n > maxSettles+settleBatch {
		t.Errorf("%d IDs are kept", n)
	}
	l.faults.clear()
}

func TestCompactDropsWhatIsOverAndNothingElse(t *testing.T) {
	l := newLog(t, Options{Retention: -1})
	const n = cleanBatch + 10
	decideMany(t, l, "settled", n)
	decideMany(t, l, "open", 10)
	for i := range n {
		mustSettle(t, l, fmt.Sprint("settled", i))
	}
	if err := l.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := l.Info(t.Context())
	if err != nil || info.Settled != 0 || info.Unsettled != 10 {
		t.Errorf("%+v, %v; want 10 unsettled, and nothing else", info, err)
	}
	mustLookup(t, l, "settled0", txlog.Undecided)
}

func TestCompactKeepsWhatIsWithinItsRetention(t *testing.T) {
	l := newLog(t, Options{Retention: time.Hour})
	mustDecide(t, l, "old", txlog.Committed)
	mustDecide(t, l, "new", txlog.Committed)
	mustSettle(t, l, "old")
	mustSettle(t, l, "new")
	unsettledIDs(t, l.Log)
	if _, err := l.db.ExecContext(t.Context(), "UPDATE xasql_decision SET settled_at = settled_at - 3601000000 WHERE id = 'old'"); err != nil {
		t.Fatal(err)
	}
	if err := l.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustLookup(t, l, "new", txlog.Committed)
	mustLookup(t, l, "old", txlog.Undecided)
}

func TestTheLogCleansUpByItself(t *testing.T) {
	l := newLog(t, Options{Retention: -1, sweep: 10 * time.Millisecond, settle: time.Millisecond})
	mustDecide(t, l, "t", txlog.Committed)
	mustSettle(t, l, "t")
	eventually(t, "the decision is dropped", func() bool {
		o, err := l.Lookup(t.Context(), "t")
		return err == nil && o == txlog.Undecided
	})
}

func TestCompactStopsWithItsContext(t *testing.T) {
	l := newLog(t, Options{Retention: -1})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Compact(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Compact: %v", err)
	}
}

func TestSettledIsNotSettledAgainLater(t *testing.T) {
	l := newLog(t, Options{})
	mustDecide(t, l, "t", txlog.Committed)
	mustSettle(t, l, "t")
	at := func() time.Time {
		unsettledIDs(t, l.Log)
		for e, err := range l.Entries(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			return e.SettledAt
		}
		return time.Time{}
	}
	first := at()
	if _, err := l.db.ExecContext(t.Context(), "UPDATE xasql_decision SET settled_at = settled_at - 1000000"); err != nil {
		t.Fatal(err)
	}
	mustSettle(t, l, "t")
	if second := at(); !second.Before(first) || second.IsZero() {
		t.Errorf("settled at %s, and again at %s", first, second)
	}
}

func TestWhatDeadMembersLeftIsDroppedInTheEnd(t *testing.T) {
	l := newLog(t, Options{})
	other := openFile(t, l.dsn, Options{})
	dead, err := other.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	other.pause(true)
	alive, err := l.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustDecide(t, l, "decided", txlog.Committed)
	for m, ids := range map[txlog.Member][]string{dead: {"decided", "gone"}, alive: {"mine"}} {
		if _, err := m.Claim(t.Context(), ids); err != nil {
			t.Fatal(err)
		}
	}
	claims := func() []string {
		list, err := l.column(t.Context(), "SELECT id FROM xasql_claim ORDER BY id")
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	compact := func() {
		if err := l.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	compact()
	if got := claims(); len(got) != 3 {
		t.Errorf("claims are %q, want all 3", got)
	}
	for _, s := range []string{"UPDATE xasql_claim SET claimed_at = claimed_at - 90000000000", "UPDATE xasql_member SET expires = expires - 90000000000 WHERE mark = '" + dead.Mark() + "'"} {
		if _, err := l.db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	compact()
	if got := claims(); !slices.Equal(got, []string{"decided", "mine"}) {
		t.Errorf("claims are %q, want that of a decision, and that of a living member", got)
	}
	holders, err := l.Holders(t.Context(), []string{"decided"})
	if h := holders["decided"]; err != nil || h.Mark != dead.Mark() || h.Alive || h.Name == "" {
		t.Errorf("Holders = %+v, %v; want the dead one", holders, err)
	}
	other.pause(false)
	eventually(t, "a member whose row was dropped is alive again", func() bool {
		info, err := l.Info(t.Context())
		return err == nil && len(info.Members) == 2 && info.Members[0].Alive && info.Members[1].Alive
	})
}

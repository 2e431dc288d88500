package logtest

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// TB is what the cases need of a [testing.TB], so that something else can record how they end.
type TB interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	TempDir() string
	Failed() bool
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Harness is a log under test, with a storage of its own, and what can be done to it. A nil function is a gap: the
// rules that need it must be listed in Gaps, and are then skipped.
type Harness struct {
	// Log is a new, empty log. Its retention is at least an hour. The suite closes it.
	Log txlog.Log
	// Reopen opens the storage again, after the log on it was closed.
	Reopen func(t TB) txlog.Log
	// Crash returns what another process finds in the storage when this one is killed now. The log that was open
	// is used no more, and not closed by the suite.
	Crash func(t TB) txlog.Log
	// ReadOnly opens the storage to be read, while Log is open.
	ReadOnly func(t TB) txlog.Log
	// Break makes the next write, or the next sync, of the open log fail, once.
	Break func(t TB)
	// FindsOut tells that the log leaves writing to a database, and asks there what became of a write that failed (L4, L8): Decide
	// may then succeed after Break, and go on after it failed. Never may it contradict itself.
	FindsOut bool
	// Another opens the storage once more while Log is open, as another process does. It is for a log that is [txlog.Shared].
	Another func(t TB) txlog.Log
	// Pause keeps the members of Log from renewing their leases, as if its process were stopped, until resume is called: Log is not used
	// meanwhile. Their leases should end at once, or within a second: the suite waits for it. Those of others may end,
	// too, as when the machine stood still, but else must not: give members that can renew their leases long ones.
	Pause func(t TB) (resume func())
	// Gaps are the rules, e.g. "L8", that this log can't be tested for.
	Gaps []string

	patience time.Duration // how long to look for what is bound to come; 0: a minute
}

// eventually looks until ok, and fails the case when it lasts too long.
func (h Harness) eventually(t TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(cmp.Or(h.patience, time.Minute)); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

// rule is one rule of txlog.Log, txlog.Shared or txlog.Notes and its case.
type rule struct {
	number string
	text   string // as in the contract's comment: a test compares them
	lacks  func(Harness) string
	run    func(t TB, h Harness, another func() Harness)
}

// Run runs the case of each rule of [txlog.Log], and of each of [txlog.Shared] and [txlog.Notes] where the log is one, as a subtest with a harness of its
// own. A case that fails prints its rule; one of an interface that the log does not implement is skipped, and tells so.
func Run(t *testing.T, newHarness func(t TB) Harness) {
	for _, r := range rules() {
		t.Run(r.number, func(t *testing.T) {
			if gap := runRule(t, r, newHarness); gap != "" {
				t.Skip(gap)
			}
		})
	}
}

// runRule returns why the rule was left out, or "".
func runRule(t TB, r rule, newHarness func(t TB) Harness) (gap string) {
	t.Helper()
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("rule %s: %s", r.number, r.text)
		}
	})
	h := newHarness(t)
	if _, shared := h.Log.(txlog.Shared); !shared && strings.HasPrefix(r.number, "S") {
		_ = h.Log.Close()
		return "not a shared log"
	}
	if _, notes := h.Log.(txlog.Notes); !notes && strings.HasPrefix(r.number, "N") {
		_ = h.Log.Close()
		return "not a log that keeps notes"
	}
	if r.lacks != nil {
		if lacks := r.lacks(h); lacks != "" {
			if !slices.Contains(h.Gaps, r.number) {
				t.Fatalf("the harness has no %s, which this rule needs: set it, or list the rule in Gaps", lacks)
			}
			_ = h.Log.Close()
			return "a gap of this log: its harness has no " + lacks
		}
	}
	r.run(t, h, func() Harness { return newHarness(t) })
	return ""
}

func lacksReopen(h Harness) string {
	if h.Reopen == nil {
		return "Reopen"
	}
	return ""
}

func lacksBreak(h Harness) string {
	if h.Break == nil {
		return "Break"
	}
	return lacksReopen(h)
}

func lacksCrash(h Harness) string {
	if h.Crash == nil {
		return "Crash"
	}
	return ""
}

func lacksReadOnly(h Harness) string {
	if h.ReadOnly == nil {
		return "ReadOnly"
	}
	return ""
}

// The helpers below fail the case when the log does what no rule allows at that point.

func decide(t TB, l txlog.Log, id string, o txlog.Outcome, resources ...string) {
	t.Helper()
	got, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: o, Resources: resources})
	if err != nil {
		t.Fatalf("Decide(%q, %s): %v", id, o, err)
	}
	if got != o {
		t.Fatalf("Decide(%q, %s), the first of this ID, returns %s", id, o, got)
	}
}

func lookup(t TB, l txlog.Log, id string, want txlog.Outcome) {
	t.Helper()
	if got, err := l.Lookup(t.Context(), id); err != nil || got != want {
		t.Errorf("Lookup(%q) = %s, %v; want %s", id, got, err, want)
	}
}

func unsettled(t TB, l txlog.Log) []txlog.Decision {
	t.Helper()
	var list []txlog.Decision
	for d, err := range l.Unsettled(t.Context()) {
		if err != nil {
			t.Fatalf("Unsettled: %v", err)
		}
		list = append(list, d)
	}
	return list
}

func ids(list []txlog.Decision) []string {
	names := make([]string, len(list))
	for i, d := range list {
		names[i] = d.ID
	}
	return names
}

func closeLog(t TB, l txlog.Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
}

func reopen(t TB, h Harness, l txlog.Log) txlog.Log {
	t.Helper()
	closeLog(t, l)
	return h.Reopen(t)
}

// at is a time that a log can keep in whatever unit it has.
func at(i int) time.Time { return time.Date(2026, 5, 17, 10, 30, i, 0, time.UTC) }

package integration

import (
	"fmt"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// crash is a point of the protocol at which the application is killed, and what must come of the transaction.
type crash struct {
	point     string
	committed bool
}

var crashes = []crash{
	{"branch-start", false},  // one branch is active
	{"prepare-start", false}, // both have written; perhaps one is prepared
	{"prepare-done", false},  // one is prepared, the other perhaps
	{"decide-start", false},  // both are prepared, nothing is decided
	{"decide-done", true},    // decided, no branch has been told
	{"commit-start", true},   // no branch is committed, or one
	{"commit-done", true},    // one is committed, the other perhaps
	{"settled", true},        // both are committed, and the log knows
}

// Every pair of engines, one engine twice included, commits all or nothing when the application is killed at any point before or after the
// decision, whether the application's next start recovers it or xa-recover does.
func TestKilledApplicationLeavesAllOrNothingOnEveryPair(t *testing.T) {
	es := append(engines.All(), sqlite)
	engines.Start(engines.All()...)
	for i, a := range es {
		for _, b := range es[i:] {
			t.Run(a.Name+"+"+b.Name, func(t *testing.T) {
				t.Parallel()
				bank := newBank(t, a, b)
				for n, c := range crashes {
					bank.crashAndRecover(t, c, fmt.Sprintf("s%d", n), bank.restart)
					bank.crashAndRecover(t, c, fmt.Sprintf("x%d", n), bank.resolve)
				}
			})
		}
	}
}

// crashAndRecover kills the application in its second transfer, recovers, and checks.
func (b *bank) crashAndRecover(t *testing.T, c crash, prefix string, way func(t *testing.T, prefix string)) {
	t.Helper()
	b.start(t, "-prefix", prefix, "-count", "2", "-kill", c.point, "-after", "1").want(t, -1)
	if strings.HasPrefix(c.point, "prepare-") {
		// The other branch's PREPARE may still be on its way. A recovery that comes first finds nothing of it; this
		// test is not about how often an operator's cron job runs.
		b.awaitQuiet(t)
	}
	way(t, prefix)
	books, told := b.check(t)
	id := prefix + "-2"
	if told[prefix+"-1"] != ledger.Committed || told[id] != ledger.Begun {
		t.Fatalf("%s: told %q of the first transfer and %q of the killed one", c.point, told[prefix+"-1"], told[id])
	}
	for name, book := range books {
		if _, there := book.Entries[id]; there != c.committed {
			t.Errorf("%s: killed at %s: in the books: %v, want %v", name, c.point, there, c.committed)
		}
	}
	if t.Failed() {
		t.FailNow() // what follows would fail for the same reason
	}
}

// restart recovers by the application's next start, which makes another transfer to show that nothing is in its way.
func (b *bank) restart(t *testing.T, prefix string) {
	t.Helper()
	b.start(t, "-prefix", prefix+"-again", "-count", "1").want(t, 0)
}

// resolve recovers by xa-recover.
func (b *bank) resolve(t *testing.T, _ string) {
	t.Helper()
	b.startRecover(t, "resolve").want(t, 0)
	b.startRecover(t, "list").want(t, 0)
}

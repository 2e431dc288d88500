package recovery_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// Wherever Finish is cut short, recovery does nothing against it, and Finish again completes it: both databases end alike, and as the
// person said.
func TestVerdictThatIsCutShortAnywhereIsCompleted(t *testing.T) {
	for name, c := range map[string]struct {
		stands txlog.Outcome // in the log before
		says   txlog.Outcome // the person
	}{
		"commit":          {txlog.Undecided, txlog.Committed},
		"rollback":        {txlog.Undecided, txlog.Aborted},
		"forced commit":   {txlog.Aborted, txlog.Committed},
		"forced rollback": {txlog.Committed, txlog.Aborted},
	} {
		t.Run(name, func(t *testing.T) {
			for step, reached := int64(1), true; reached; step++ {
				t.Run(fmt.Sprint(step), func(t *testing.T) {
					run(t, func(b *bench) { reached = cutShort(b, c.stands, c.says, step) })
				})
			}
		})
	}
}

// cutShort tells whether there was such a step.
func cutShort(b *bench, stands, says txlog.Outcome, step int64) bool {
	id := b.id()
	for _, name := range []string{"orders", "stock"} {
		discard(b.prepared(name, id, name))
	}
	if stands != txlog.Undecided {
		b.decide(id, stands, "orders", "stock")
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	var steps atomic.Int64
	count := func(string) {
		if steps.Add(1) == step {
			cancel()
		}
	}
	b.log.OnEvent(count)
	for _, db := range b.dbs {
		db.OnEvent(count)
	}
	v := recovery.Verdict{ID: id, Outcome: says, By: "ada@db7", Why: "paid", Force: stands != txlog.Undecided}
	_, err := b.r.Finish(ctx, v)
	b.log.OnEvent(nil)
	for _, db := range b.dbs {
		db.OnEvent(nil)
	}

	noted := len(b.notes(id)) > 0
	b.resolve() // cron comes by
	if noted && wrong(b, says) {
		b.Errorf("after %v and a recovery something was done against the person's word", err)
	}
	if _, err := b.r.Finish(b.Context(), v); noted && err != nil && !errors.Is(err, recovery.ErrNotKnown) {
		b.Errorf("again: %v", err)
	}
	b.resolve()
	orders, stock := len(b.dbs["orders"].Rows()), len(b.dbs["stock"].Rows())
	if orders != stock || b.holding() != 0 || len(b.unsettled()) != 0 {
		b.Errorf("orders has %d rows and stock %d; %d branches and %d decisions are left", orders, stock, b.holding(), len(b.unsettled()))
	}
	return steps.Load() >= step
}

// wrong tells whether a database has done the contrary of what a person said.
func wrong(b *bench, says txlog.Outcome) bool {
	for _, db := range b.dbs {
		if len(db.Prepared()) == 0 && (len(db.Rows()) == 1) != (says == txlog.Committed) {
			return true
		}
	}
	return false
}

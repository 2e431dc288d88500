package simulation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

// TestCheckerKnowsEveryBrokenPromise gives the checker made-up histories.
func TestCheckerKnowsEveryBrokenPromise(t *testing.T) {
	for name, tt := range map[string]struct {
		tx   txHistory
		want string // "": nothing is wrong
	}{
		"committed everywhere":              {txHistory{told: committed, applied: []int{0, 1}}, ""},
		"committed nowhere":                 {txHistory{told: committed}, "acknowledged"},
		"committed by half":                 {txHistory{told: committed, applied: []int{1}}, "not atomic"},
		"rolled back":                       {txHistory{told: rolledBack}, ""},
		"rolled back, and applied":          {txHistory{told: rolledBack, applied: []int{0, 1}}, "rolled back: applied"},
		"unknown, applied":                  {txHistory{told: unknown, applied: []int{0, 1}}, ""},
		"unknown, nowhere":                  {txHistory{told: unknown}, ""},
		"unknown, by half":                  {txHistory{told: unknown, applied: []int{0}}, "not atomic"},
		"told nothing, by half":             {txHistory{applied: []int{0}}, "not atomic"},
		"told nothing":                      {txHistory{applied: []int{0, 1}}, ""},
		"heuristic":                         {txHistory{told: heuristic, applied: []int{0, 1}}, "heuristic"},
		"recovery reported heuristic":       {txHistory{told: rolledBack, reported: true}, "heuristic"},
		"a person tore it apart":            {txHistory{told: heuristic, applied: []int{0}, byHand: true}, ""},
		"none of the outcomes":              {txHistory{told: other, err: errors.New("?")}, "unclear"},
		"aborted branch, the other one":     {txHistory{told: unknown, applied: []int{0}, poisoned: true}, "swallowed"},
		"he did at the rollback":            {txHistory{told: rolledBack, applied: []int{0}, byHand: true, gone: true}, "about a commit"},
		"a person did, and was not told of": {txHistory{told: committed, applied: []int{0}, byHand: true}, "kept silent"},
	} {
		h := history{branches: 2, events: 1, txs: map[string]*txHistory{"t1": &tt.tx}}
		expect(t, name, h.check(), tt.want)
	}
}

func expect(t *testing.T, name string, violations []string, want string) {
	t.Helper()
	found := slices.ContainsFunc(violations, func(v string) bool { return strings.Contains(v, want) })
	if want == "" && len(violations) > 0 || want != "" && !found {
		t.Errorf("%s: the checker says %q, want %q", name, violations, want)
	}
}

// TestWorldSeesWhatIsLeftOver leaves something over in a world in which otherwise nothing happens.
func TestWorldSeesWhatIsLeftOver(t *testing.T) {
	for name, tt := range map[string]struct {
		leave func(w *world, p *process)
		want  string
	}{
		"nothing":         {func(w *world, p *process) {}, ""},
		"prepared branch": {func(w *world, p *process) { w.begin(p, true) }, "in doubt"},
		"decision": {func(w *world, p *process) {
			w.memory.Decide(context.Background(), txlog.Decision{ID: w.memory.ID() + ".x", Outcome: txlog.Committed, Resources: []string{"A"}})
		}, "in doubt"},
		"half a transaction": {func(w *world, p *process) {
			w.begin(p, true)
			w.dbs[0].Finish(w.dbs[0].Prepared()[0], true)
		}, "not atomic"},
		"pinned connection":                 {func(w *world, p *process) { p.resources[0].DB.Conn(as("t1")) }, "lost connection"},
		"connection pooled inside a branch": {func(w *world, p *process) { w.begin(p, false) }, "misuse"},
		"goroutine":                         {func(w *world, p *process) { go func() { select {} }() }, "lost goroutine"},
		"stuck transaction":                 {func(w *world, p *process) { w.begin(p, true); w.settled(p) }, "blocked"},
	} {
		r := inBubble(t, name, func() result {
			s, _ := shapeNamed("plain-2b1t")
			w := newWorld(schedule{shape: s})
			w.memory = logtest.NewMemory()
			p := w.process("p1")
			tt.leave(w, p)
			p.exit()
			w.finish()
			return result{violations: w.history.check()}
		})
		expect(t, name, r.violations, tt.want)
	}
}

// begin starts a branch and prepares it, or gives its connection back to the pool.
func (w *world) begin(p *process, prepare bool) {
	ctx, r := as("t1"), p.resources[0]
	id := txid.New(w.memory.ID(), "", time.Now())
	w.begun("t1", id)
	conn, err := r.DB.Conn(ctx)
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	b, err := r.Driver.Begin(ctx, conn, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: r.Name}, nil)
	if err != nil {
		panic(err)
	}
	if !prepare {
		return
	}
	if _, err := conn.ExecContext(ctx, "PUT t1 v"); err != nil {
		panic(err)
	}
	if _, err := b.Prepare(ctx); err != nil {
		panic(err)
	}
	cut(conn)
}

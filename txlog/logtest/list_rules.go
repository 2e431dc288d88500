package logtest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xasql/xasql/txlog"
)

func unsettledYieldsAll(t TB, h Harness, _ func() Harness) {
	var want []txlog.Decision
	for i := range 8 {
		d := txlog.Decision{ID: fmt.Sprintf("t%d", 9-i), Outcome: txlog.Committed + txlog.Outcome(i%2), Resources: []string{"orders", fmt.Sprintf("ledger.%d", i)}[:i%3], At: at(i)}
		if _, err := h.Log.Decide(t.Context(), d); err != nil {
			t.Fatalf("Decide: %v", err)
		}
		want = append(want, d)
	}
	before := time.Now().Add(-time.Minute)
	decide(t, h.Log, "untimed", txlog.Committed, "a")
	check := func(l txlog.Log) {
		t.Helper()
		got := unsettled(t, l)
		if len(got) != len(want)+1 {
			t.Fatalf("Unsettled yields %q, want all %d", ids(got), len(want)+1)
		}
		for i, d := range got[:len(want)] {
			w := want[i]
			if d.ID != w.ID || d.Outcome != w.Outcome || !slices.Equal(d.Resources, w.Resources) || !d.At.Equal(w.At) {
				t.Errorf("Unsettled yields %+v as the %d., want %+v", d, i+1, w)
			}
		}
		if d := got[len(want)]; d.At.Before(before) || d.At.After(time.Now().Add(time.Minute)) {
			t.Errorf("a decision without a time is noted as of %s", d.At)
		}
	}
	check(h.Log)
	var seen []string
	for d, err := range h.Log.Unsettled(t.Context()) { // the log can be used meanwhile
		if err != nil {
			t.Fatalf("Unsettled: %v", err)
		}
		if len(seen) == 0 {
			lookup(t, h.Log, "untimed", txlog.Committed)
			decide(t, h.Log, "meanwhile", txlog.Committed)
		}
		if seen = append(seen, d.ID); len(seen) == len(want) {
			break
		}
	}
	if err := h.Log.Settle(t.Context(), "meanwhile"); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	check(h.Log)
	others := openings(t, h)[1:]
	for _, l := range others {
		check(l)
	}
	closeAll(t, others...)
	l := reopen(t, h, h.Log)
	if err := l.Settle(t.Context(), "meanwhile"); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	check(l)
	manyAreListed(t, l)
	closeLog(t, l)
}

// manyAreListed lists more than a log will read at once, decided in the same moment, and settles each as it comes.
func manyAreListed(t TB, l txlog.Log) {
	t.Helper()
	var wg sync.WaitGroup
	const writers, each = 40, 30
	for g := range writers {
		wg.Go(func() {
			for i := range each {
				d := txlog.Decision{ID: fmt.Sprintf("many%d-%d", g, i), Outcome: txlog.Aborted, At: at(59)}
				if _, err := l.Decide(t.Context(), d); err != nil {
					t.Errorf("Decide: %v", err)
				}
			}
		})
	}
	wg.Wait()
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	listed, listErr := 0, error(nil)
	for _, err := range l.Unsettled(ended) {
		if listErr = err; err == nil {
			listed++
		}
	}
	if listErr == nil && listed < writers*each {
		t.Errorf("Unsettled under a context that has ended yields %d decisions of %d, and no error", listed, writers*each)
	}
	seen := map[string]bool{}
	for d, err := range l.Unsettled(t.Context()) {
		if err != nil {
			t.Fatalf("Unsettled: %v", err)
		}
		if !strings.HasPrefix(d.ID, "many") {
			continue
		}
		if seen[d.ID] {
			t.Errorf("Unsettled yields %q twice", d.ID)
		}
		seen[d.ID] = true
		if err := l.Settle(t.Context(), d.ID); err != nil {
			t.Fatalf("Settle: %v", err)
		}
	}
	if len(seen) != writers*each {
		t.Errorf("Unsettled yields %d of %d decisions that were not settled when the iteration began", len(seen), writers*each)
	}
}

func settledStaysReadable(t TB, h Harness, _ func() Harness) {
	l := h.Log
	decide(t, l, "one", txlog.Committed, "a")
	decide(t, l, "two", txlog.Aborted, "a")
	for _, id := range []string{"one", "one", "never-heard-of"} {
		if err := l.Settle(t.Context(), id); err != nil {
			t.Errorf("Settle(%q): %v", id, err)
		}
	}
	if got := ids(unsettled(t, l)); !slices.Equal(got, []string{"two"}) {
		t.Errorf("unsettled are %q, want only \"two\"", got)
	}
	others := openings(t, h)[1:]
	if len(others) > 0 {
		settledByAnother(t, h, l, others[0])
	}
	if c, ok := l.(txlog.Compactor); ok { // nothing is due: retention is an hour at least
		if err := c.Compact(t.Context()); err != nil {
			t.Errorf("Compact: %v", err)
		}
	}
	checkEntries(t, l)
	closeAll(t, others...)
	for _, again := range []string{"", "after reopening, "} {
		lookup(t, l, "never-heard-of", txlog.Undecided)
		lookup(t, l, "one", txlog.Committed)
		if got, err := l.Decide(t.Context(), txlog.Decision{ID: "one", Outcome: txlog.Aborted}); err != nil || got != txlog.Committed {
			t.Errorf("%sDecide(aborted) of a settled ID that is committed = %s, %v", again, got, err)
		}
		if again == "" {
			l = reopen(t, h, l)
		}
	}
	closeLog(t, l)
}

// settledByAnother expects "one" to be settled, and "two" not.
func settledByAnother(t TB, h Harness, l, other txlog.Log) {
	t.Helper()
	decide(t, l, "three", txlog.Committed, "a")
	if got := ids(unsettled(t, other)); !slices.Equal(got, []string{"two", "three"}) {
		t.Errorf("unsettled are %q to another opening, want \"two\" and \"three\"", got)
	}
	if err := other.Settle(t.Context(), "three"); err != nil {
		t.Errorf("Settle by another opening: %v", err)
	}
	// It need not be written at once.
	h.eventually(t, "a log finds settled what another opening has settled", func() bool {
		return slices.Equal(ids(unsettled(t, l)), []string{"two"})
	})
	lookup(t, other, "one", txlog.Committed)
}

// checkEntries expects "one", settled, and "two", not settled, of a log that is a Historian.
func checkEntries(t TB, l txlog.Log) {
	t.Helper()
	historian, ok := l.(txlog.Historian)
	if !ok {
		return
	}
	got := map[string]txlog.Entry{}
	for e, err := range historian.Entries(t.Context()) {
		if err != nil {
			t.Fatalf("Entries: %v", err)
		}
		got[e.ID] = e
	}
	one, two := got["one"], got["two"]
	if one.Outcome != txlog.Committed || !slices.Equal(one.Resources, []string{"a"}) || one.At.IsZero() || one.SettledAt.Before(one.At.Add(-time.Second)) {
		t.Errorf("the entry of a decision that is committed and settled is %+v", one)
	}
	if two.Outcome != txlog.Aborted || !two.SettledAt.IsZero() {
		t.Errorf("the entry of a decision that is aborted and not settled is %+v", two)
	}
}

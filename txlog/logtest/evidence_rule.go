package logtest

import (
	"slices"
	"strings"

	"github.com/xasql/xasql/txlog"
)

// evidenceIsKept: a text that came back short, or beside another resource, would prove the outcome of another branch.
func evidenceIsKept(t TB, h Harness, _ func() Harness) {
	odd := "1\x00 \"%+\n\xff – " + strings.Repeat("x", 300)
	huge := strings.Repeat("y", 200_000)
	given := []string{"7301.1/4711", odd}
	cases := []struct {
		id        string
		resources []string
		evidence  []string
		want      []string
	}{
		{"both", []string{"orders", "ledger"}, given, given},
		{"first", []string{"orders", "ledger"}, []string{"7301.1/4711", ""}, []string{"7301.1/4711", ""}},
		{"second", []string{"orders", "ledger"}, []string{"", "7301.1/4712"}, []string{"", "7301.1/4712"}},
		{"middle", []string{"a", "b", "c"}, []string{"", "m", ""}, []string{"", "m", ""}},
		{"alone", []string{"orders"}, []string{"7301.1/4713"}, []string{"7301.1/4713"}},
		{"none", []string{"orders", "ledger"}, nil, nil},
		{"empty", []string{"orders", "ledger"}, []string{"", ""}, nil},
		{"few", []string{"orders", "ledger"}, []string{"7301.1/4714"}, nil},
		{"many", []string{"orders"}, []string{"", "7301.1/4715"}, nil},
		{"huge", []string{"orders", "ledger"}, []string{"7301.1/4716", huge}, nil},
	}
	for _, c := range cases {
		mine := slices.Clone(c.evidence)
		d := txlog.Decision{ID: c.id, Outcome: txlog.Committed, Resources: c.resources, Evidence: mine}
		if o, err := h.Log.Decide(t.Context(), d); err != nil || o != txlog.Committed {
			t.Errorf("Decide(%q) with evidence = %s, %v", c.id, o, err)
		}
		if len(mine) > 0 {
			mine[0] = "changed by the caller afterwards"
		}
	}
	check := func(l txlog.Log) {
		t.Helper()
		for _, d := range unsettled(t, l) {
			for i := range d.Evidence {
				d.Evidence[i] = "changed by who lists" // it is his
			}
		}
		got := map[string]txlog.Decision{}
		for _, d := range unsettled(t, l) {
			got[d.ID] = d
		}
		for _, c := range cases {
			d := got[c.id]
			if c.id == "huge" && len(d.Evidence) > 0 {
				c.want = c.evidence // it had room
			}
			if !slices.Equal(blankIsNone(d.Evidence), c.want) || !slices.Equal(d.Resources, c.resources) {
				t.Errorf("Unsettled yields %q with the evidence %.80q of the resources %q, want %.80q of %q", c.id, d.Evidence, d.Resources, c.want, c.resources)
			}
		}
	}
	check(h.Log)
	if _, err := h.Log.Decide(t.Context(), txlog.Decision{ID: "both", Outcome: txlog.Committed, Resources: cases[0].resources, Evidence: []string{"x", "y"}}); err != nil {
		t.Errorf("Decide of an ID that is committed: %v", err)
	}
	if c, ok := h.Log.(txlog.Compactor); ok {
		if err := c.Compact(t.Context()); err != nil {
			t.Errorf("Compact: %v", err)
		}
	}
	others := openings(t, h)[1:]
	for _, l := range others {
		check(l)
	}
	closeAll(t, others...)
	l := reopen(t, h, h.Log)
	check(l)
	closeLog(t, l)
}

// blankIsNone: texts that are all empty tell no more than none.
func blankIsNone(evidence []string) []string {
	if slices.ContainsFunc(evidence, func(e string) bool { return e != "" }) {
		return evidence
	}
	return nil
}

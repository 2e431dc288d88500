package judge

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Violation is one contradiction.
type Violation struct {
	Where string `json:"where"` // a transfer's ID, or a database
	What  string `json:"what"`
}

// String returns the violation as a sentence.
func (v Violation) String() string { return v.Where + ": " + v.What }

// Check compares the books of all databases, by name, with what was told, and returns all that contradicts. What is in doubt must have been settled.
func Check(books map[string]Book, told Told) []Violation {
	wrong := slices.Clone(told.Lies)
	there := map[string][]Entry{}
	var total int64
	for _, name := range slices.Sorted(maps.Keys(books)) {
		wrong = append(wrong, books[name].check(name)...)
		for id, entries := range books[name].Entries {
			there[id] = append(there[id], entries...)
		}
		for _, balance := range books[name].Balances {
			total += balance
		}
	}
	if want := int64(len(books)) * Accounts * Initial; total != want {
		wrong = append(wrong, Violation{"all databases", fmt.Sprintf("hold %d together, want %d", total, want)})
	}
	for _, id := range slices.Sorted(maps.Keys(there)) {
		if told.Transfers[id] == nil {
			wrong = append(wrong, Violation{id, fmt.Sprintf("nobody began it, and there are %d entries of it: %s", len(there[id]), text(there[id]))})
		}
	}
	for _, id := range slices.Sorted(maps.Keys(told.Transfers)) {
		if what := told.Transfers[id].check(there[id], books); what != "" {
			wrong = append(wrong, Violation{id, what})
		}
	}
	return wrong
}

// check tells what is wrong with a transfer of which these entries are there, "" for nothing.
func (t Transfer) check(there []Entry, books map[string]Book) string {
	var sum int64
	for _, e := range t.Plan {
		sum += e.Delta
		if _, known := books[e.Resource]; !known {
			return fmt.Sprintf("writes to %q, which is none of the databases", e.Resource)
		}
	}
	plan, there := slices.SortedFunc(slices.Values(t.Plan), order), slices.SortedFunc(slices.Values(there), order)
	switch {
	case sum != 0:
		return fmt.Sprintf("its amounts add up to %d, want 0", sum)
	case t.Outcome == Heuristic:
		return "was told as a heuristic outcome"
	case len(there) == 0 && t.Outcome == Committed && len(plan) > 0:
		return "was acknowledged as committed, and is nowhere"
	case len(there) > 0 && t.Outcome == RolledBack:
		return fmt.Sprintf("was acknowledged as rolled back, and there is %s", text(there))
	case len(there) > 0 && !slices.Equal(plan, there):
		return fmt.Sprintf("is not there as a whole (it was told as %s): there is %s of %s", t.Outcome, text(there), text(plan))
	}
	return ""
}

func order(a, b Entry) int {
	return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Account, b.Account), cmp.Compare(a.Delta, b.Delta))
}

// text writes entries as they are told.
func text(entries []Entry) string {
	words := make([]string, len(entries))
	for i, e := range entries {
		words[i] = fmt.Sprintf("%s:%d:%d", e.Resource, e.Account, e.Delta)
	}
	return strings.Join(words, " ")
}

// check tells whether the balances of one database are what its entries make of them.
func (b Book) check(name string) []Violation {
	want := map[int]int64{}
	for i := range Accounts {
		want[i] = Initial
	}
	for _, entries := range b.Entries {
		for _, e := range entries {
			want[e.Account] += e.Delta
		}
	}
	if maps.Equal(want, b.Balances) {
		return nil
	}
	var wrong []Violation
	for _, account := range slices.Sorted(maps.Keys(want)) {
		if got, ok := b.Balances[account]; !ok || got != want[account] {
			wrong = append(wrong, Violation{name, fmt.Sprintf("account %d holds %d, its entries make %d", account, got, want[account])})
		}
	}
	if len(b.Balances) != len(want) {
		wrong = append(wrong, Violation{name, fmt.Sprintf("has %d accounts, want %d", len(b.Balances), len(want))})
	}
	return wrong
}

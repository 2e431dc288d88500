package ledger

import (
	"fmt"
	"maps"
	"slices"
)

// Check compares the books of all databases, by name, with what was told of the transfers, and returns all that
// contradicts. The databases must have been recovered. It does not look for prepared branches: that is
// each engine's own.
func Check(books map[string]Book, told Told) []string {
	var wrong []string
	names := slices.Sorted(maps.Keys(books))
	transfers := map[string][]Entry{}
	for _, name := range names {
		wrong = append(wrong, books[name].check(name)...)
		for id, e := range books[name].Entries {
			transfers[id] = append(transfers[id], e)
			if _, ok := told[id]; !ok {
				wrong = append(wrong, fmt.Sprintf("%s: %s has an entry of a transfer that nobody began", id, name))
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(transfers)) {
		wrong = append(wrong, whole(id, transfers[id])...)
	}
	for _, id := range slices.Sorted(maps.Keys(told)) {
		n := len(transfers[id])
		switch o := told[id]; {
		case o == Committed && n == 0:
			wrong = append(wrong, fmt.Sprintf("%s: acknowledged as committed, and is nowhere", id))
		case o == RolledBack && n > 0:
			wrong = append(wrong, fmt.Sprintf("%s: acknowledged as rolled back, and is in %d databases", id, n))
		case o == Heuristic:
			wrong = append(wrong, fmt.Sprintf("%s: reported as a heuristic outcome", id))
		}
	}
	return wrong
}

// whole tells whether all databases of a transfer have their entry.
func whole(id string, entries []Entry) []string {
	var wrong []string
	var sum int64
	for _, e := range entries {
		sum += e.Delta
		if e.Parties != len(entries) {
			wrong = append(wrong, fmt.Sprintf("%s: half there: %d of %d entries", id, len(entries), e.Parties))
			return wrong
		}
	}
	if sum != 0 {
		wrong = append(wrong, fmt.Sprintf("%s: its amounts add up to %d, want 0", id, sum))
	}
	return wrong
}

// check tells whether the balances of one database are what its entries make of them.
func (b Book) check(name string) []string {
	want := map[int]int64{}
	for i := range Accounts {
		want[i] = Initial
	}
	for _, e := range b.Entries {
		want[e.Account] += e.Delta
	}
	if maps.Equal(want, b.Balances) {
		return nil
	}
	var wrong []string
	for _, account := range slices.Sorted(maps.Keys(want)) {
		if got := b.Balances[account]; got != want[account] {
			wrong = append(wrong, fmt.Sprintf("%s: account %d holds %d, its entries make %d", name, account, got, want[account]))
		}
	}
	if len(b.Balances) != len(want) {
		wrong = append(wrong, fmt.Sprintf("%s: %d accounts, want %d", name, len(b.Balances), len(want)))
	}
	return wrong
}

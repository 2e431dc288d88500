package ledger_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/ledger"
)

// books returns two databases in which transfer t-1 moved 5 from a to b, told as committed, and t-2 is nowhere, told
// as rolled back.
func books() (map[string]ledger.Book, ledger.Told) {
	book := func(account int, delta int64) ledger.Book {
		b := ledger.Book{Entries: map[string]ledger.Entry{"t-1": {ID: "t-1", Parties: 2, Account: account, Delta: delta}}, Balances: map[int]int64{}}
		for i := range ledger.Accounts {
			b.Balances[i] = ledger.Initial
		}
		b.Balances[account] += delta
		return b
	}
	return map[string]ledger.Book{"a": book(3, -5), "b": book(4, 5)},
		ledger.Told{"t-1": ledger.Committed, "t-2": ledger.RolledBack}
}

func TestCheckFindsEveryContradictionAndNoOther(t *testing.T) {
	for name, c := range map[string]struct {
		harm func(books map[string]ledger.Book, told ledger.Told)
		want []string
	}{
		"nothing wrong": {func(map[string]ledger.Book, ledger.Told) {}, nil},
		"killed before it was told": {func(_ map[string]ledger.Book, told ledger.Told) {
			told["t-1"], told["t-2"] = ledger.Begun, ledger.Unknown
		}, nil},
		"half there": {func(books map[string]ledger.Book, _ ledger.Told) {
			delete(books["b"].Entries, "t-1")
			books["b"].Balances[4] = ledger.Initial
		}, []string{"t-1: half there: 1 of 2 entries"}},
		"half there though told as unknown": {func(books map[string]ledger.Book, told ledger.Told) {
			told["t-1"] = ledger.Unknown
			delete(books["a"].Entries, "t-1")
			books["a"].Balances[3] = ledger.Initial
		}, []string{"t-1: half there: 1 of 2 entries"}},
		"acknowledged and lost": {func(books map[string]ledger.Book, _ ledger.Told) {
			delete(books["a"].Entries, "t-1")
			delete(books["b"].Entries, "t-1")
			books["a"].Balances[3], books["b"].Balances[4] = ledger.Initial, ledger.Initial
		}, []string{"t-1: acknowledged as committed, and is nowhere"}},
		"rolled back and there": {func(_ map[string]ledger.Book, told ledger.Told) { told["t-1"] = ledger.RolledBack },
			[]string{"t-1: acknowledged as rolled back, and is in 2 databases"}},
		"half of a branch": {func(books map[string]ledger.Book, _ ledger.Told) { books["b"].Balances[4] = ledger.Initial },
			[]string{"b: account 4 holds 1000, its entries make 1005"}},
		"an account is gone": {func(books map[string]ledger.Book, _ ledger.Told) { delete(books["a"].Balances, 9) },
			[]string{"a: account 9 holds 0, its entries make 1000", "a: 63 accounts, want 64"}},
		"amounts don't match": {func(books map[string]ledger.Book, _ ledger.Told) {
			books["b"].Entries["t-1"] = ledger.Entry{ID: "t-1", Parties: 2, Account: 4, Delta: 6}
			books["b"].Balances[4]++
		}, []string{"t-1: its amounts add up to 1, want 0"}},
		"out of nothing": {func(_ map[string]ledger.Book, told ledger.Told) { delete(told, "t-1") },
			[]string{"t-1: a has an entry of a transfer that nobody began", "t-1: b has an entry of a transfer that nobody began"}},
		"heuristic": {func(_ map[string]ledger.Book, told ledger.Told) { told["t-1"] = ledger.Heuristic },
			[]string{"t-1: reported as a heuristic outcome"}},
	} {
		t.Run(name, func(t *testing.T) {
			books, told := books()
			c.harm(books, told)
			if got := ledger.Check(books, told); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestLastLineWithoutItsEndWasNotTold(t *testing.T) {
	told := ledger.Told{}
	if err := told.Read(strings.NewReader("begun t-1\nbegun t-2\ncommitted t-1\ncommitted t-")); err != nil {
		t.Fatal(err)
	}
	if len(told) != 2 || told["t-1"] != ledger.Committed || told["t-2"] != ledger.Begun {
		t.Errorf("got %v", told)
	}
	if err := told.Read(strings.NewReader("perhaps t-1\n")); err == nil {
		t.Error("a line that tells nothing was read")
	}
}

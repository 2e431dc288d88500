package simulation

import (
	"fmt"
	"slices"
)

// answer is what an application was told of its transaction.
type answer uint8

const (
	nothing answer = iota // its process crashed before
	committed
	rolledBack
	unknown
	heuristic
	other
)

// history is what is known of a run when it is over, and when everybody has recovered. The checker knows nothing else: nothing of the
// code under test.
type history struct {
	branches int  // of each transaction
	events   int  // in the schedule
	reads    bool // the last one only reads
	txs      map[string]*txHistory
	seen     []string // violations that were seen on the way
}

type txHistory struct {
	told     answer
	err      error
	applied  []int // the databases that show its write
	verified []int // those that recovery took for committed
	reported bool  // recovery reported a heuristic outcome
	byHand   bool  // the schedule had a person finish one of its branches
	gone     bool  // he committed one that its coordinator knew to be prepared, and was about to roll back
	poisoned bool  // its engine aborted a branch
}

func (h *history) tx(name string) *txHistory {
	if h.txs == nil {
		h.txs = map[string]*txHistory{}
	}
	if h.txs[name] == nil {
		h.txs[name] = &txHistory{}
	}
	return h.txs[name]
}

// check returns what was promised and not kept.
func (h *history) check() []string {
	bad := slices.Clone(h.seen)
	writes := h.branches
	if h.reads {
		writes--
	}
	for name, tx := range h.txs {
		fail := func(format string, args ...any) {
			bad = append(bad, fmt.Sprintf(name+": "+format+"; applied in %v of %d, told %v", append(args, tx.applied, writes, tx.err)...))
		}
		for _, i := range tx.verified {
			if i < writes && !slices.Contains(tx.applied, i) {
				fail("verified: not committed in database %d", i)
			}
		}
		none, all := len(tx.applied) == 0, len(tx.applied) == writes
		switch {
		case tx.byHand:
			// A person may have torn it apart. That the rest of the world stands is checked all the same, and that whoever commits or rolls back on a
			// living connection hears of it.
			if tx.told == committed && !all && h.events == 1 {
				fail("heuristic: kept silent")
			}
			if tx.told == rolledBack && tx.gone {
				fail("heuristic: kept silent about a commit")
			}
			continue
		case tx.told == heuristic || tx.reported:
			fail("heuristic: nobody decided by hand")
		}
		if !none && !all {
			fail("not atomic")
		}
		if tx.poisoned && !none {
			fail("swallowed: a branch was aborted by its engine, others were committed")
		}
		switch {
		case tx.told == committed && !all:
			fail("acknowledged: not committed everywhere")
		case tx.told == rolledBack && !none:
			fail("rolled back: applied somewhere")
		case tx.told == other:
			fail("unclear: the error is none of the outcomes")
		}
	}
	slices.Sort(bad)
	return bad
}

package logtest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/xasql/xasql/txlog"
)

func sharedRules() []rule {
	return []rule{
		{"S1", "The mark of a member is five letters of the ULID alphabet, and differs from that of every other member that is alive.",
			lacksAnother, marks},
		{"S2", "Claim refuses an ID that another living member has, and names that one. A member has the IDs that carry its mark, unless somebody else has claimed them; and those that it has claimed.",
			lacksAnother, livingKeep},
		{"S3", "Claim grants an ID that nobody has, or whose holder has left, or is not alive any more because its lease has expired. Of several that claim at once one is granted it; to claim again what one has is granted.",
			lacksPause, deadLose},
		{"S4", "Holders tells who has each ID, also one who is not alive any more, and changes nothing. Who lost an ID to another finds the other there, for as long as the decision is kept.",
			lacksPause, holdersTell},
		{"S5", "A member stays alive until Leave, without being called, unless the log can't be reached for longer than the lease. One that comes back afterwards is alive again, and has what nobody has claimed meanwhile.",
			lacksPause, idleStayAlive},
		{"S6", "A log that was opened to be read returns ErrReadOnly from Join; Holders works.",
			lacksReadOnly, readersDoNotJoin},
	}
}

func marks(t TB, h Harness, _ func() Harness) {
	logs := []txlog.Log{h.Log, h.Another(t), h.Another(t)}
	var mu sync.Mutex
	seen := map[string]bool{}
	var wg sync.WaitGroup
	for range 4 {
		for _, l := range logs {
			wg.Go(func() {
				m, err := l.(txlog.Shared).Join(t.Context())
				if err != nil {
					t.Errorf("Join: %v", err)
					return
				}
				mark := m.Mark()
				mu.Lock()
				defer mu.Unlock()
				if len(mark) != txlog.MarkLen || strings.Trim(mark, txlog.MarkAlphabet) != "" {
					t.Errorf("the mark is %q: want %d letters of %s", mark, txlog.MarkLen, txlog.MarkAlphabet)
				}
				if seen[mark] {
					t.Errorf("two members that are alive have the mark %q", mark)
				}
				seen[mark] = true
			})
		}
	}
	wg.Wait()
	closeAll(t, logs...)
}

func livingKeep(t TB, h Harness, _ func() Harness) {
	other := h.Another(t)
	a, beside, b := join(t, h.Log), join(t, h.Log), join(t, other)
	own, claimed, strange := idOf(h.Log, a.Mark(), 1), idOf(h.Log, "00000", 2), "not an ID of ours"
	granted(t, b, claimed, strange)
	refused(t, b, a, own)
	refused(t, beside, a, own) // in the same process, and yet another
	for _, m := range []txlog.Member{a, beside} {
		refused(t, m, b, claimed, strange)
	}
	got := claim(t, b, own, claimed, idOf(h.Log, "00000", 3)) // some are refused, and the rest is granted
	if len(got) != 1 || got[own].Mark != a.Mark() {
		t.Errorf("Claim of an ID that another has and two that he has not refuses %+v", got)
	}
	refused(t, a, b, idOf(h.Log, "00000", 3))
	closeAll(t, other, h.Log)
}

func deadLose(t TB, h Harness, _ func() Harness) {
	other := h.Another(t)
	a, b, c := join(t, h.Log), join(t, other), join(t, other)
	own, claimed := idOf(h.Log, a.Mark(), 1), idOf(h.Log, "00000", 2)
	for range 2 {
		granted(t, a, own, claimed)
	}
	raceForClaims(t, h.Log, other)

	resume := h.Pause(t)
	untilAlive(t, h, other, own, false)
	granted(t, b, own, claimed) // the lease has expired
	resume()
	refused(t, a, b, own, claimed)
	refused(t, c, b, own)

	leave(t, b)
	granted(t, c, own) // its holder has left
	granted(t, a, claimed)
	third := h.Another(t)
	d := join(t, third)
	granted(t, d, idOf(h.Log, b.Mark(), 3))
	closeAll(t, third)
	granted(t, a, idOf(h.Log, b.Mark(), 3), idOf(h.Log, d.Mark(), 4)) // the log of its holder was closed
	closeAll(t, other, h.Log)
}

// raceForClaims makes members of both openings claim the same IDs at once.
func raceForClaims(t TB, logs ...txlog.Log) {
	t.Helper()
	var names []string
	for i := range 12 {
		names = append(names, idOf(logs[0], "00001", i))
	}
	var mu sync.Mutex
	winners := map[string][]string{} // marks, by ID
	told := map[string][]string{}
	var wg sync.WaitGroup
	var members []txlog.Member
	for i := range 4 {
		m := join(t, logs[i%len(logs)])
		members = append(members, m)
		wg.Go(func() {
			no := claim(t, m, names...)
			mu.Lock()
			defer mu.Unlock()
			for _, id := range names {
				if h, refused := no[id]; refused {
					told[id] = append(told[id], h.Mark)
				} else {
					winners[id] = append(winners[id], m.Mark())
				}
			}
		})
	}
	wg.Wait()
	for _, id := range names {
		if len(winners[id]) != 1 || slices.ContainsFunc(told[id], func(mark string) bool { return mark != winners[id][0] }) {
			t.Fatalf("of members that claim %q at once %q are granted it, and the others are told that %q have it", id, winners[id], told[id])
		}
	}
	for _, m := range members {
		leave(t, m)
	}
}

func holdersTell(t TB, h Harness, _ func() Harness) {
	other := h.Another(t)
	a, b, c := join(t, h.Log), join(t, other), join(t, other)
	own, claimed, free := idOf(h.Log, a.Mark(), 1), idOf(h.Log, "00000", 2), idOf(h.Log, "00000", 3)
	lost := idOf(h.Log, "00000", 4)
	decide(t, h.Log, lost, txlog.Committed, "orders")
	granted(t, b, claimed)
	granted(t, a, lost)
	for _, l := range []txlog.Log{h.Log, other} {
		got := holders(t, l, own, claimed, free)
		if len(got) != 2 || got[own].Mark != a.Mark() || !got[own].Alive || got[claimed].Mark != b.Mark() || !got[claimed].Alive {
			t.Errorf("Holders = %+v; want %s for %q, %s for %q, and nobody for %q", got, a.Mark(), own, b.Mark(), claimed, free)
		}
		if got[own].Name == "" {
			t.Errorf("Holders gives no name for a person to %+v", got[own])
		}
	}
	granted(t, c, free) // to ask is not to claim
	resume := h.Pause(t)
	untilAlive(t, h, other, own, false)
	if got := holders(t, other, own, lost); got[own].Mark != a.Mark() || got[lost].Mark != a.Mark() || got[lost].Alive {
		t.Errorf("Holders of what a member has that is not alive any more = %+v; want %s", got, a.Mark())
	}
	granted(t, b, lost)
	if err := other.Settle(t.Context(), lost); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	leave(t, b)
	resume()
	if got := holders(t, h.Log, lost)[lost]; got.Mark != b.Mark() || got.Alive {
		t.Errorf("%s lost an ID to %s, who settled it and left; Holders = %+v", a.Mark(), b.Mark(), got)
	}
	closeAll(t, other, h.Log)
}

func idleStayAlive(t TB, h Harness, _ func() Harness) {
	other, third := h.Another(t), h.Another(t)
	idle := join(t, other)
	a, c := join(t, h.Log), join(t, third)
	lost, kept := idOf(h.Log, "00000", 1), idOf(h.Log, "00000", 2)
	granted(t, a, lost, kept)
	resume := h.Pause(t)
	untilAlive(t, h, third, kept, false)
	// idle has been left alone for longer than a lease lasts. Where the machine stood still it may have to come back.
	untilAlive(t, h, third, idOf(h.Log, idle.Mark(), 3), true)
	refused(t, c, idle, idOf(h.Log, idle.Mark(), 3))
	granted(t, c, lost)
	resume()
	untilAlive(t, h, third, kept, true)
	refused(t, c, a, kept)
	refused(t, a, c, lost)
	leave(t, a)
	leave(t, a)
	if got := holders(t, third, kept)[kept]; got.Alive {
		t.Errorf("%+v is alive after it left", got)
	}
	closeAll(t, third, other, h.Log)
}

func readersDoNotJoin(t TB, h Harness, _ func() Harness) {
	a := join(t, h.Log)
	own := idOf(h.Log, a.Mark(), 1)
	r := h.ReadOnly(t)
	shared, ok := r.(txlog.Shared)
	if !ok {
		t.Fatalf("the log is shared, but not when it was opened to be read")
	}
	if _, err := shared.Join(t.Context()); !errors.Is(err, txlog.ErrReadOnly) {
		t.Errorf("Join of a log that is open for reading: %v, want ErrReadOnly", err)
	}
	if got := holders(t, r, own)[own]; got.Mark != a.Mark() || !got.Alive {
		t.Errorf("Holders of a log that is open for reading = %+v, want %s", got, a.Mark())
	}
	closeAll(t, r, h.Log)
}

func lacksAnother(h Harness) string {
	if h.Another == nil {
		return "Another"
	}
	return ""
}

func lacksPause(h Harness) string {
	if h.Pause == nil {
		return "Pause"
	}
	return lacksAnother(h)
}

// idOf returns an ID as a member with this mark makes it. Nobody's mark begins with many zeros, but by chance.
func idOf(l txlog.Log, mark string, n int) string {
	return fmt.Sprintf("%s.01K0000000%s%011d", l.ID(), mark, n)
}

func join(t TB, l txlog.Log) txlog.Member {
	t.Helper()
	m, err := l.(txlog.Shared).Join(t.Context())
	if err != nil {
		t.Fatalf("Join: %v", err)
	}
	return m
}

// claim claims again after an error, as the contract says.
func claim(t TB, m txlog.Member, names ...string) map[string]txlog.Holder {
	t.Helper()
	var err error
	for range 3 {
		var no map[string]txlog.Holder
		if no, err = m.Claim(t.Context(), names); err == nil {
			return no
		}
	}
	t.Errorf("Claim, three times: %v", err)
	return nil
}

func granted(t TB, m txlog.Member, names ...string) {
	t.Helper()
	if no := claim(t, m, names...); len(no) != 0 {
		t.Errorf("Claim by %s of %q refuses %+v, want all granted", m.Mark(), names, no)
	}
}

// refused claims what by has.
func refused(t TB, m, by txlog.Member, names ...string) {
	t.Helper()
	no := claim(t, m, names...)
	for _, id := range names {
		if h, ok := no[id]; !ok || h.Mark != by.Mark() || !h.Alive {
			t.Errorf("Claim by %s of %q, which %s has, who is alive, refuses %+v", m.Mark(), id, by.Mark(), no)
		}
	}
}

func leave(t TB, m txlog.Member) {
	t.Helper()
	if err := m.Leave(t.Context()); err != nil {
		t.Fatalf("Leave: %v", err)
	}
}

func holders(t TB, l txlog.Log, names ...string) map[string]txlog.Holder {
	t.Helper()
	got, err := l.(txlog.Shared).Holders(t.Context(), names)
	if err != nil {
		t.Fatalf("Holders: %v", err)
	}
	return got
}

// untilAlive waits until the holder of the ID is seen as alive, or not so.
func untilAlive(t TB, h Harness, l txlog.Log, id string, alive bool) {
	t.Helper()
	what := map[bool]string{true: "is seen alive again", false: "is not alive any more"}[alive]
	h.eventually(t, "the holder of "+id+" "+what, func() bool {
		got, ok := holders(t, l, id)[id]
		if !ok {
			t.Fatalf("Holders has nobody for %q", id)
		}
		return got.Alive == alive
	})
}

func closeAll(t TB, logs ...txlog.Log) {
	t.Helper()
	for _, l := range logs {
		closeLog(t, l)
	}
}

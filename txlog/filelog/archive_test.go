package filelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// clocked are options with a clock of the test's own, and compaction in the caller's goroutine.
func clocked(m fileSystem, now *time.Time) *Options {
	return &Options{Logger: quiet(), Retention: time.Hour, SegmentSize: 4096, extent: 700, fs: m,
		now: func() time.Time { return *now }, spawn: func(f func()) { f() }}
}

func openClocked(t testing.TB, m fileSystem, now *time.Time) *Log {
	t.Helper()
	l, err := Open("mem", clocked(m, now))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustSettle(t testing.TB, l *Log, ids ...string) {
	t.Helper()
	for _, id := range ids {
		if err := l.Settle(context.Background(), id); err != nil {
			t.Fatal(err)
		}
	}
}

func mustCompact(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Compact(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func mustLookup(t testing.TB, l *Log, id string, want txlog.Outcome) {
	t.Helper()
	if got, err := l.Lookup(context.Background(), id); got != want || err != nil {
		t.Errorf("Lookup(%q) = %s, %v; want %s", id, got, err, want)
	}
}

func entriesOf(t testing.TB, l *Log) map[string]txlog.Entry {
	t.Helper()
	all := map[string]txlog.Entry{}
	for e, err := range l.Entries(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if _, twice := all[e.ID]; twice {
			t.Errorf("Entries yields %q twice", e.ID)
		}
		all[e.ID] = e
	}
	return all
}

// TestAnArchiveFindsWhatItHoldsAndNothingElse: IDs of any form, short and long, with and without what their neighbours have.
func TestAnArchiveFindsWhatItHoldsAndNothingElse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	ids := []string{"\x00", "\xff\xff", strings.Repeat("long", 12000), "a", "aa", "aaa"}
	for i := range 3000 {
		ids = append(ids, fmt.Sprintf("log.%07d", i*2), string(rune(r.IntN(1<<16)))+fmt.Sprint(i))
	}
	slices.Sort(ids)
	m := newMemFS()
	f, _ := m.Create(archiveName(7))
	lists := [][]string{{"orders", "ledger"}, nil, {"orders"}, {strings.Repeat("x", 900)}}
	decided := func(i int) time.Time { return goldenTime(i).Add(time.Duration(i%7) * -time.Hour * 24 * 365 * 400) }
	blockSize := int64(0)
	entries := make([]archived, len(ids))
	for i, id := range ids {
		entries[i] = archived{id: []byte(id), outcome: byte(1 + i%2), resources: lists[i/50%4], sec: decided(i).Unix(), nsec: uint32(decided(i).Nanosecond()), settledAt: goldenTime(i).UnixNano()}
		blockSize = max(blockSize, blockSizeFor(entries[i].size()))
	}
	w := newArchiveWriter(f, goldenID, 7, blockSize)
	for _, e := range entries {
		if err := w.add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.add(entries[0]); err == nil {
		t.Error("an ID out of order is accepted")
	}
	a, err := w.finish()
	if err != nil {
		t.Fatal(err)
	}
	if a.min != ids[0] || a.max != ids[len(ids)-1] || a.count != int64(len(ids)) || a.blockSize != 64<<10 {
		t.Errorf("%+v", a)
	}
	listed, err := listedArchive(a.record())
	if err != nil {
		t.Fatal(err)
	}
	if cause, err := listed.check(m, goldenID); cause != nil || err != nil || *listed != *a {
		t.Fatalf("read back: %+v, %v, %v", listed, cause, err)
	}
	rd, err := openArchive(m, "mem", goldenID, listed)
	if err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		e, found, err := rd.find(id)
		if !found || err != nil || e.outcome != entries[i].outcome {
			t.Fatalf("find(%q) = %+v, %v, %v", id, e, found, err)
		}
		for _, other := range []string{id + "\x00", id[:len(id)-1], id + "~"} {
			if _, at := slices.BinarySearch(ids, other); at || i%8 != 0 {
				continue
			}
			if e, found, err := rd.find(other); found || err != nil {
				t.Fatalf("find(%q) = %+v, %v, %v", other, e, found, err)
			}
		}
	}
	c := rd.cursor()
	for i := range entries {
		e, err := c.next()
		want := entries[i]
		if err != nil || string(e.id) != string(want.id) || e.outcome != want.outcome || !slices.Equal(e.resources, want.resources) ||
			e.sec != want.sec || e.nsec != want.nsec || e.settledAt != want.settledAt {
			t.Fatalf("the %d. entry is %+v, %v; want %+v", i, e, err, want)
		}
	}
	if _, err := c.next(); err != io.EOF {
		t.Errorf("after the last: %v", err)
	}
}

func TestSettledDecisionsLeaveTheMemoryAndStayReadable(t *testing.T) {
	m, now := newMemFS(), goldenTime(0)
	l := openClocked(t, m, &now)
	mustDecide(t, l, "open")
	want := map[string]txlog.Entry{}
	for i := range 1000 {
		id, outcome := fmt.Sprintf("t%04d", i), txlog.Committed+txlog.Outcome(i%2)
		now = now.Add(time.Millisecond)
		if _, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: outcome, Resources: []string{"orders"}}); err != nil {
			t.Fatal(err)
		}
		want[id] = txlog.Entry{Decision: txlog.Decision{ID: id, Outcome: outcome, Resources: []string{"orders"}, At: now}, SettledAt: now.Add(time.Microsecond)}
		now = now.Add(time.Microsecond)
		mustSettle(t, l, id)
		if n := len(l.index.decisions); n > 120 {
			t.Fatalf("after %d decisions %d are in memory", i, n)
		}
	}
	if n := len(l.archives.list); n < 1 || n > 8 {
		t.Errorf("%d archives", n)
	}
	for range 2 {
		if info := l.Info(); info.Settled != 1000 || info.Unsettled != 1 || info.Archives != len(l.archives.list) {
			t.Errorf("%+v", info)
		}
		got := entriesOf(t, l)
		if len(got) != 1001 || !got["open"].SettledAt.IsZero() {
			t.Errorf("Entries yields %d decisions, %+v", len(got), got["open"])
		}
		for id, w := range want {
			if g := got[id]; g.Outcome != w.Outcome || !g.At.Equal(w.At) || !g.SettledAt.Equal(w.SettledAt) || !slices.Equal(g.Resources, w.Resources) {
				t.Fatalf("Entries yields %+v, want %+v", g, w)
			}
			mustLookup(t, l, id, w.Outcome)
			if o, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: 3 - w.Outcome}); o != w.Outcome || err != nil {
				t.Fatalf("Decide of %q, which is archived: %s, %v; want %s", id, o, err, w.Outcome)
			}
			mustSettle(t, l, id)
		}
		mustLookup(t, l, "t0500x", txlog.Undecided)
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		l = openClocked(t, m, &now)
	}
}

// counted counts the files that are opened.
type counted struct {
	*memFS
	opened int
}

func (c *counted) Open(name string, write bool) (file, error) {
	c.opened++
	return c.memFS.Open(name, write)
}

func TestANewIDIsDecidedWithoutALookIntoTheArchives(t *testing.T) {
	c, now := &counted{memFS: newMemFS()}, goldenTime(0)
	l := openClocked(t, c, &now)
	for _, id := range []string{"t10", "t20"} {
		mustDecide(t, l, id)
		mustSettle(t, l, id)
	}
	mustCompact(t, l)
	before := c.opened
	for _, id := range []string{"t30", "t21", "s", "t1"} { // above, and below, all that is archived
		mustDecide(t, l, id)
	}
	if n := c.opened - before; n != 0 {
		t.Errorf("%d files were opened for new IDs", n)
	}
	mustDecide(t, l, "t15")
	if n := c.opened - before; n != 1 {
		t.Errorf("%d files were opened for an ID among those that are archived", n)
	}
}

func TestArchivesAreFewAndAreDroppedWhenTheirRetentionIsOver(t *testing.T) {
	m, now := newMemFS(), goldenTime(0)
	l := openClocked(t, m, &now)
	most := 0
	for i := range 4000 { // four retentions
		id := fmt.Sprintf("t%05d", i)
		mustDecide(t, l, id)
		mustSettle(t, l, id)
		now = now.Add(time.Hour / 1000)
		most = max(most, len(l.archives.list))
		if i < 900 {
			continue
		}
		mustLookup(t, l, fmt.Sprintf("t%05d", i-900), txlog.Committed)
		if n := l.Info().Settled; n > 1300 {
			t.Fatalf("%d settled decisions are kept, of which 1000 have to be", n)
		}
	}
	if most < 8 || most > 40 {
		t.Errorf("there were up to %d archives", most)
	}
	mustLookup(t, l, "t00100", txlog.Undecided)
	mustDecide(t, l, "t00100") // may be decided anew
	now = now.Add(2 * time.Hour)
	mustCompact(t, l)
	if info := l.Info(); info.Archives != 0 || info.Settled != 0 || info.Unsettled != 1 {
		t.Errorf("after the retention: %+v", info)
	}
	names, _ := m.List()
	for _, name := range names {
		if strings.Contains(name, archiveSuffix) {
			t.Errorf("%s is still there", name)
		}
	}
}

func TestADamagedArchiveIsToldAndNeverDecidedOver(t *testing.T) {
	m, now := newMemFS(), goldenTime(0)
	opts := clocked(m, &now)
	opts.SegmentSize = 1 << 20
	l, err := Open("mem", opts)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		id := fmt.Sprintf("t%04d", i)
		mustDecide(t, l, id)
		mustSettle(t, l, id)
	}
	mustCompact(t, l)
	mustCompact(t, l)
	a := l.archives.list[0]
	if len(l.archives.list) != 1 || a.blocks < 2 {
		t.Fatalf("%+v", l.archives)
	}
	good := slices.Clone(m.Data(a.name()))
	for what, bad := range map[string][]byte{"flipped": flip(good, int(a.blockSize)*2-100), "truncated": good[:a.blockSize+100], "missing": nil} {
		if m.Put(a.name(), bad); bad == nil {
			m.Delete(a.name())
		}
		_, err := l.Lookup(t.Context(), "t0001")
		if !errors.Is(err, txlog.ErrCorrupt) || !strings.Contains(err.Error(), "mem/"+a.name()+"+") {
			t.Errorf("%s: Lookup: %v", what, err)
		}
		_, err = l.Decide(t.Context(), txlog.Decision{ID: "t0001", Outcome: txlog.Aborted})
		if !errors.Is(err, txlog.ErrCorrupt) || !errors.Is(err, txlog.ErrNotDecided) {
			t.Errorf("%s: Decide: %v", what, err)
		}
		var listed error
		for _, listed = range l.Entries(t.Context()) {
		}
		if !errors.Is(listed, txlog.ErrCorrupt) {
			t.Errorf("%s: Entries: %v", what, listed)
		}
	}
	if l.Info().Latched != nil {
		t.Error("damage that was read latches the log")
	}
	m.Put(a.name(), flip(good, int(a.blockSize)*2-100))
	for i := range 600 { // so many that the damaged one would be merged
		id := fmt.Sprintf("u%04d", i)
		mustDecide(t, l, id)
		mustSettle(t, l, id)
	}
	mustCompact(t, l) // must go on beside the damaged one, and neither drop nor rewrite it
	if len(l.archives.list) != 2 || l.archives.list[0] != a || len(l.index.decisions) != 0 {
		t.Errorf("%+v, %d in memory", l.archives, len(l.index.decisions))
	}
	mustLookup(t, l, "u0000", txlog.Committed)
}

func flip(b []byte, at int) []byte {
	b = slices.Clone(b)
	b[at] ^= 0x10
	return b
}

// hooked calls a function when a file is opened.
type hooked struct {
	*memFS
	open func(name string)
}

func (h *hooked) Open(name string, write bool) (file, error) {
	if h.open != nil {
		h.open(name)
	}
	return h.memFS.Open(name, write)
}

// TestADecisionThatIsArchivedWhileAnotherIsLookedForStands: between the look into the archives and the look into memory the ID is decided,
// settled, and moved into another archive.
func TestADecisionThatIsArchivedWhileAnotherIsLookedForStands(t *testing.T) {
	h, now := &hooked{memFS: newMemFS()}, goldenTime(0)
	l := openClocked(t, h, &now)
	for _, id := range []string{"a", "z"} {
		mustDecide(t, l, id)
		mustSettle(t, l, id)
	}
	mustCompact(t, l)
	first := l.archives.list[0].name()
	h.open = func(file string) {
		if file != first {
			return
		}
		h.open = nil
		now = now.Add(10 * time.Minute) // too far away to be merged with the first
		mustDecide(t, l, "m")           // committed
		mustSettle(t, l, "m")
		mustCompact(t, l)
	}
	if o, err := l.Decide(t.Context(), txlog.Decision{ID: "m", Outcome: txlog.Aborted}); o != txlog.Committed || err != nil {
		t.Errorf("Decide: %s, %v; it was committed meanwhile", o, err)
	}
	if len(l.archives.list) != 2 || len(l.index.decisions) != 0 {
		t.Errorf("%d archives: the test shows nothing", len(l.archives.list))
	}
	if got := entriesOf(t, l); got["m"].Outcome != txlog.Committed {
		t.Errorf("%+v", got["m"])
	}
}

func TestAReaderFollowsAnOwnerWhoReplacesArchives(t *testing.T) {
	m, now := newMemFS(), goldenTime(0)
	l := openClocked(t, m, &now)
	archive := func(ids ...string) {
		for _, id := range ids {
			mustDecide(t, l, id)
			mustSettle(t, l, id)
		}
		mustCompact(t, l)
	}
	archive("a", "c")
	r, err := openReadOnly("mem", m)
	if err != nil {
		t.Fatal(err)
	}
	s, err := openReadOnly("mem", m)
	if err != nil {
		t.Fatal(err)
	}
	archive("d", "f") // merged with the first, which is gone
	if len(l.archives.list) != 1 {
		t.Fatalf("%d archives", len(l.archives.list))
	}
	mustLookup(t, r, "c", txlog.Committed)
	mustLookup(t, r, "b", txlog.Undecided)
	if got := entriesOf(t, s); len(got) != 4 {
		t.Errorf("Entries yields %d decisions", len(got))
	}
	for range l.Entries(t.Context()) { // what an iteration has opened a compaction does not take away
		archive("g")
	}
	m.Delete(l.archives.list[0].name())
	if _, err := s.Lookup(t.Context(), "c"); !errors.Is(err, txlog.ErrCorrupt) {
		t.Errorf("Lookup in a log whose archive is gone: %v", err)
	}
	if _, err := s.Lookup(t.Context(), "b"); !errors.Is(err, txlog.ErrCorrupt) {
		t.Errorf("Lookup of what may have been there: %v", err)
	}
	if _, err := Open("mem", &Options{fs: m.kill(), Logger: quiet()}); !errors.Is(err, txlog.ErrCorrupt) {
		t.Errorf("Open: %v", err)
	}
}

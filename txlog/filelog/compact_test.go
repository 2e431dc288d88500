package filelog

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

func TestOnlySettledDecisionsAreForgottenAndOnlyAfterTheirRetention(t *testing.T) {
	now := goldenTime(0)
	m := newMemFS()
	opts := &Options{fs: m, Logger: quiet(), now: func() time.Time { return now }}
	l, err := Open("mem", opts)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"settled", "open", "late"} {
		mustDecide(t, l, id)
	}
	check := func(when string, settled, late txlog.Outcome) {
		t.Helper()
		if err := l.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			for id, want := range map[string]txlog.Outcome{"settled": settled, "late": late, "open": txlog.Committed} {
				if o, err := l.Lookup(t.Context(), id); o != want || err != nil {
					t.Errorf("%s: %q is %s, %v; want %s", when, id, o, err, want)
				}
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = Open("mem", opts); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := l.Settle(t.Context(), "settled"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(23 * time.Hour)
	check("after 23 hours", txlog.Committed, txlog.Committed)
	if err := l.Settle(t.Context(), "late"); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Hour)
	check("after 25 hours", txlog.Undecided, txlog.Committed)
	now = now.Add(1000 * time.Hour)
	check("after 1025 hours", txlog.Undecided, txlog.Undecided)
	if got := l.index.list(); len(got) != 1 || len(got[0].Resources) != 2 || !got[0].At.Equal(goldenTime(0)) {
		t.Errorf("compacted three times, the unsettled decision is %+v", got)
	}
}

func TestSizeStaysBoundedUnderEndlessLoad(t *testing.T) {
	l, err := openMem(newMemFS())
	if err != nil {
		t.Fatal(err)
	}
	mustDecide(t, l, "open")
	for i := range 5000 {
		id := fmt.Sprint("t", i)
		mustDecide(t, l, id)
		if err := l.Settle(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		if info := l.Info(); info.Bytes > 3*4096 || info.Segments > 2 || info.Settled > 100 {
			t.Fatalf("after %d decisions: %+v", i, info)
		}
	}
	if l.active.seq < 50 {
		t.Errorf("the log is at segment %d: the test shows nothing", l.active.seq)
	}
}

func TestDecisionsGoOnWhileTheLogIsCompacted(t *testing.T) {
	// The compaction that Compact starts beside itself waits: else it could be the one that is held up, and Compact's own the next.
	var beside func()
	g, l := openGated(t, Options{spawn: func(f func()) { beside = f }})
	g.holds = func(name string) bool { return name == segmentName(1)+tmpSuffix } // the compacted segment
	// The first segment was made under that name too: it must not be held up.
	l.active.file = l.active.file.(gatedFile).file
	mustDecide(t, l, "a")
	done := make(chan error)
	go func() { done <- l.Compact(t.Context()) }()
	<-g.entered
	mustDecide(t, l, "b")
	if err := l.Settle(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	mustDecide(t, l, "c")
	g.leave <- struct{}{}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	g.holds = nil
	syncs := g.total("sync")
	if beside(); g.total("sync") != syncs {
		t.Error("what has just been compacted was compacted again")
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := openMem(g.memFS)
	if err != nil {
		t.Fatal(err)
	}
	if got := l.Info(); got.Unsettled != 2 || got.Settled != 1 {
		t.Errorf("%+v", got)
	}
}

func TestACompactionThatMeetsDamageLeavesTheLogAlone(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, &Options{Logger: quiet()})
	mustDecide(t, l, "a")
	if err := l.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	path := osDir(dir).path(segmentName(1))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[headerSize+20] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	mustDecide(t, l, "b")
	before := contents(t, dir)[segmentName(1)]
	if err := l.Compact(t.Context()); err == nil {
		t.Error("Compact does not tell the damage")
	}
	if contents(t, dir)[segmentName(1)] != before {
		t.Error("Compact changes the damaged segment")
	}
	if o, err := l.Lookup(t.Context(), "a"); o != txlog.Committed || err != nil {
		t.Errorf("Lookup = %s, %v", o, err)
	}
}

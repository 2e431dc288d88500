package filelog

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// TestVerifyRaisesNoFalseAlarmBesideTheOwner: while that one decides, begins segments, compacts, merges and removes.
func TestVerifyRaisesNoFalseAlarmBesideTheOwner(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, &Options{SegmentSize: 4 << 10, Retention: 100 * time.Millisecond, extent: 1000, Logger: quiet()})
	mustDecide(t, l, "kept")
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := fmt.Sprint("t", i)
			mustDecide(t, l, id)
			mustSettle(t, l, id)
		}
	}()
	kinds := map[string]bool{}
	for reads := 0; (reads < 100 || !kinds["archive"]) && !t.Failed(); reads++ {
		v, err := Verify(t.Context(), dir)
		if err != nil || v.Damage != nil || !strings.HasPrefix(v.Owner, "pid ") {
			t.Errorf("%v, %+v", err, v)
		}
		for _, f := range v.Files {
			kinds[f.Kind] = true
			if f.Damage != nil {
				t.Errorf("%+v", f)
			}
		}
	}
	close(stop)
	<-done
}

func TestVerifyTellsAllDamage(t *testing.T) {
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
	for _, id := range []string{"u", "v", "w"} {
		mustDecide(t, l, id)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	a, last := m.Data(l.archives.list[0].name()), m.Data(segmentName(2))
	blocks := l.archives.list[0].blocks
	a[4096+2000] ^= 1
	a[2*4096+2000] ^= 1
	a[4000] ^= 1
	last[headerSize+30] ^= 1
	last[headerSize+1] ^= 1
	v, err := verify(t.Context(), "mem", m)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1.settled+96: ", "1.settled+4096: crc", "1.settled+8192: crc", "2.xalog+64: "} {
		if n := strings.Count(fmt.Sprint(v.Damage), want); n != 1 {
			t.Errorf("%v: %q is told %d times", v.Damage, want, n)
		}
	}
	for _, f := range v.Files {
		switch {
		case f.Kind == "archive" && (f.Records < 100 || f.Bytes != (blocks-1)*4096 || f.Damage == nil):
			t.Errorf("%+v", f)
		case f.Kind == "segment" && (f.Records != 2+1 || f.Damage == nil): // u is lost; the last settling went with it
			t.Errorf("%+v", f)
		}
	}
	one := newMemFS()
	one.Put(segmentName(1), flip(goldenSegment(goldenID, 1, true), 20))
	if v, err := verify(t.Context(), "mem", one); err != nil || !errors.Is(v.Damage, txlog.ErrCorrupt) || len(v.Files) != 1 || v.Files[0].Damage == nil {
		t.Errorf("a log of which no header is well: %+v, %v", v, err)
	}
	if _, err := Verify(t.Context(), t.TempDir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no log: %v", err)
	}
}

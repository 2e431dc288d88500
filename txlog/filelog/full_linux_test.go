package filelog

import (
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/xasql/xasql/txlog"
)

// TestARealDiskThatIsFullIsADefiniteNo fills a small tmpfs: the decision that does not fit was surely not made, all others were.
func TestARealDiskThatIsFullIsADefiniteNo(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mount("filelog-test", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("left out: to mount a tmpfs takes root, and here it fails: %v", err)
	}
	defer func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	opts := &Options{Logger: quiet(), SegmentSize: 200 << 10}
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	made := 0
	for ; ; made++ {
		id := fmt.Sprintf("t%06d", made)
		_, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"orders", "ledger"}})
		if err == nil {
			continue
		}
		if !errors.Is(err, txlog.ErrNotDecided) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Decide on a full disk: %v, want ErrNotDecided and ENOSPC", err)
		}
		mustLookup(t, l, id, txlog.Undecided)
		break
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for _, size := range []string{"512k", "2m"} { // still full, and then no more
		if err := syscall.Mount("filelog-test", dir, "tmpfs", syscall.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
		if l, err = Open(dir, opts); err != nil {
			t.Fatalf("with %s: %v", size, err)
		}
		if n := l.Info().Unsettled; n != made || made == 0 {
			t.Errorf("with %s: %d decisions, of %d", size, n, made)
		}
		mustLookup(t, l, fmt.Sprintf("t%06d", made), txlog.Undecided)
		if size == "2m" {
			mustDecide(t, l, "after")
			mustCompact(t, l)
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
}

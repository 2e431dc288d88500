package filelog

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

func TestReaderTellsTheOwner(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if got := r.Owner(); !strings.HasPrefix(got, "pid "+strconv.Itoa(os.Getpid())+" since ") {
		t.Errorf("with an owner: %q", got)
	}
	l.Close()
	if got := r.Owner(); got != "" {
		t.Errorf("without: %q", got)
	}
}

// A reader that asks must not keep an owner out.
func TestAskingForTheOwnerKeepsNobodyOut(t *testing.T) {
	dir := t.TempDir()
	l, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	r, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				r.Owner()
			}
		}
	})
	for range 20 {
		l, err := Open(dir, nil)
		if err != nil {
			t.Error(err)
			break
		}
		l.Close()
	}
	close(stop)
	wg.Wait()
}

//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package filelog

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/xasql/xasql/txlog"
)

// Lock takes a flock, which belongs to the open file: the system drops it when the process ends, however it ends, a
// second opening in the same process is refused like any other, and a child process does not keep it,
// since os.OpenFile closes on exec.
func (d osDir) Lock() (io.Closer, error) {
	f, err := os.OpenFile(d.path(lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for owned, shared := 0, 0; ; {
		err = flock(f, syscall.LOCK_EX)
		if !errors.Is(err, syscall.EWOULDBLOCK) || owned == lockTries || shared == shareTries {
			break
		}
		// A reader that asks who the owner is shares the lock until it has a processor again to give it up: it must not keep an owner out.
		if flock(f, syscall.LOCK_SH) == nil {
			_ = flock(f, syscall.LOCK_UN)
			shared++
		} else {
			owned++
		}
		time.Sleep(time.Millisecond)
	}
	if err == nil {
		err = writeHolder(f)
	} else if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s", txlog.ErrOwned, readHolder(f))
	} else {
		err = fmt.Errorf("lock %s: %w", d.path(lockName), err)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockTries and shareTries are how often the lock is tried for, a millisecond apart, while an owner has it, and while only readers do.
const lockTries, shareTries = 20, 10_000

func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err != syscall.EINTR {
			return err
		}
	}
}

// owner returns who holds the lock, "" if nobody does.
func (d osDir) owner() string {
	f, err := os.Open(d.path(lockName))
	if err != nil {
		return ""
	}
	defer f.Close() // gives the lock up again
	if errors.Is(flock(f, syscall.LOCK_SH), syscall.EWOULDBLOCK) {
		return readHolder(f)
	}
	return ""
}

// writeHolder notes who holds the lock, for the error that others get. It proves nothing: the flock does.
func writeHolder(f *os.File) error {
	text := fmt.Sprintf("pid %d since %s\n", os.Getpid(), time.Now().UTC().Format(time.RFC3339))
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(text), 0)
	return err
}

func readHolder(f *os.File) string {
	b := make([]byte, 100)
	n, _ := f.ReadAt(b, 0)
	line, _, ok := strings.Cut(string(b[:n]), "\n")
	if !ok {
		return "pid unknown" // it has the lock, and has not yet written
	}
	return line
}

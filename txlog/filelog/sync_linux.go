package filelog

import (
	"os"
	"syscall"
)

// datasync makes the file's contents durable, and as much of its metadata as is needed to read them.
func datasync(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var sync error
	err = conn.Control(func(fd uintptr) {
		for {
			if sync = syscall.Fdatasync(int(fd)); sync != syscall.EINTR {
				return
			}
		}
	})
	if err != nil {
		return err
	}
	if sync != nil {
		return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: sync}
	}
	return nil
}

//go:build darwin || freebsd || netbsd

package filelog

import (
	"os"
	"syscall"
	"time"
)

// identify returns the directory's inode number, and when it was made.
func identify(path string) (inode uint64, born time.Time, err error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, time.Time{}, err
	}
	st := fi.Sys().(*syscall.Stat_t)
	if sec, nsec := st.Birthtimespec.Unix(); sec > 0 {
		born = time.Unix(sec, nsec).UTC()
	}
	return uint64(st.Ino), born, nil
}

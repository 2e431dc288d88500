//go:build !linux && !darwin && !freebsd && !netbsd

package filelog

import "time"

// identify returns nothing: a copy is not told from the original here.
func identify(string) (inode uint64, born time.Time, err error) { return 0, time.Time{}, nil }

//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package filelog

import (
	"errors"
	"io"
)

func (d osDir) Lock() (io.Closer, error) {
	return nil, errors.New("this operating system has no flock: open the log on Linux, macOS or a BSD")
}

// owner can't be told without an owner's lock.
func (osDir) owner() string { return "" }

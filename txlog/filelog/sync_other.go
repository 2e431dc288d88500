//go:build !linux

package filelog

import "os"

func datasync(f *os.File) error { return f.Sync() }

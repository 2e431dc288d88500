package filelog

import (
	"encoding/binary"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"
)

// statxNumber returns the number of statx(2), which package syscall does not have; 0 where it is not known.
func statxNumber() uintptr {
	switch runtime.GOARCH {
	case "amd64":
		return 332
	case "arm64", "riscv64", "loong64":
		return 291
	case "386", "ppc64", "ppc64le":
		return 383
	case "arm":
		return 397
	case "s390x":
		return 379
	}
	return 0
}

const (
	statxBirth = 0x800 // STATX_BTIME, the bit and the offset of its answer
	birthAt    = 80
)

// identify returns the directory's inode number, and when it was made where the file system tells.
func identify(path string) (inode uint64, born time.Time, err error) {
	fi, err := os.Stat(path)
	if err != nil {
		return 0, time.Time{}, err
	}
	number := statxNumber()
	name, err := syscall.BytePtrFromString(path)
	if number == 0 || err != nil {
		return fi.Sys().(*syscall.Stat_t).Ino, time.Time{}, err
	}
	var buf [256]byte // struct statx: the same on all architectures, but for the order of bytes
	atCWD := -100     // AT_FDCWD; path is absolute
	_, _, errno := syscall.Syscall6(number, uintptr(atCWD), uintptr(unsafe.Pointer(name)), 0, statxBirth, uintptr(unsafe.Pointer(&buf)), 0)
	// A kernel that has no statx, or a sandbox that forbids it, leaves the inode number.
	if errno == 0 && binary.NativeEndian.Uint32(buf[:])&statxBirth != 0 {
		if sec := int64(binary.NativeEndian.Uint64(buf[birthAt:])); sec > 0 {
			born = time.Unix(sec, int64(binary.NativeEndian.Uint32(buf[birthAt+8:]))).UTC()
		}
	}
	return fi.Sys().(*syscall.Stat_t).Ino, born, nil
}

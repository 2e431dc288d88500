package xa

import (
	"fmt"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// stackDepth is how far up the stack the callers of interest are looked for.
const stackDepth = 64

// caller returns the frame that called into database/sql or this package, and none where no application did.
func caller() (runtime.Frame, bool) {
	var found runtime.Frame
	walk(func(f runtime.Frame) bool {
		if inside(f.Function) {
			return true
		}
		found = f
		return false
	})
	return found, found.Function != "" && found.Function != "runtime.goexit"
}

func inside(function string) bool {
	return strings.HasPrefix(function, "database/sql.") || strings.HasPrefix(function, "github.com/xasql/xasql/xa.")
}

// at says where a frame is, e.g. "at shop.(*Orders).Save (orders.go:42)"; "" where there is none.
func at(f runtime.Frame, ok bool) string {
	if !ok {
		return ""
	}
	return fmt.Sprintf("at %s (%s:%d)", path.Base(f.Function), filepath.Base(f.File), f.Line)
}

// calledFrom tells whether a function whose name begins so is on the stack.
func calledFrom(prefix string) bool {
	found := false
	walk(func(f runtime.Frame) bool {
		found = strings.HasPrefix(f.Function, prefix)
		return !found
	})
	return found
}

// walk calls f with the callers, the nearest first, while it returns true.
func walk(f func(runtime.Frame) bool) {
	var pcs [stackDepth]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs[:])])
	for {
		frame, more := frames.Next()
		if !f(frame) || !more {
			return
		}
	}
}

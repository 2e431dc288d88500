//go:build cgo && (linux || darwin)

package sqlite

/*
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	sqlite3 "github.com/mattn/go-sqlite3"
)

// The types of values in an image. See image.c.
const (
	typeInteger = 1 + iota
	typeFloat
	typeText
	typeBlob
	typeNull
)

// row is what a statement returned: int64, string, []byte or nil.
type row []any

// statement is a statement of this package's own, and the arguments of each of its runs.
type statement struct {
	sql   string
	width int // the number of arguments
	runs  int
	args  []byte
}

// add adds a run.
func (st *statement) add(args ...any) {
	st.width, st.runs = len(args), st.runs+1
	for _, a := range args {
		st.args = appendValue(st.args, a)
	}
}

func appendValue(to []byte, v any) []byte {
	switch v := v.(type) {
	case int64:
		return binary.LittleEndian.AppendUint64(append(to, typeInteger), uint64(v))
	case string:
		return append(binary.LittleEndian.AppendUint32(append(to, typeText), uint32(len(v))), v...)
	case []byte:
		if v != nil {
			return append(binary.LittleEndian.AppendUint32(append(to, typeBlob), uint32(len(v))), v...)
		}
	}
	return append(to, typeNull)
}

// run runs the statements, and calls f with each row that they return, and the number of the run that it belongs to. Nothing is ever sent
// twice. They run without a context: an interrupt makes SQLite roll back a whole transaction, and the one long wait, for the write lock, is
// [session.lock].
func (b bridge) run(st statement, f func(run int, r row)) error {
	sql := C.CString(st.sql)
	defer C.free(unsafe.Pointer(sql))
	var out *C.uchar
	var n C.size_t
	rc := C.xa_run(b.c, sql, (*C.uchar)(unsafe.SliceData(st.args)), C.int(st.width), C.int(st.runs), &out, &n)
	defer C.free(unsafe.Pointer(out))
	bytes := unsafe.Slice((*byte)(out), n)
	if rc != 0 {
		return &engineError{sqlite3.Error{Code: sqlite3.ErrNo(rc & 0xff), ExtendedCode: sqlite3.ErrNoExtended(rc)}, string(bytes)}
	}
	for len(bytes) > 0 {
		number, width := binary.LittleEndian.Uint32(bytes), binary.LittleEndian.Uint32(bytes[4:])
		bytes = bytes[8:]
		r := make(row, width)
		for i := range r {
			r[i], bytes = cutValue(bytes)
		}
		f(int(number), r)
	}
	return nil
}

// cutValue returns the first value of an image, and what follows it.
func cutValue(b []byte) (v any, rest []byte) {
	switch t := b[0]; t {
	case typeNull:
		return nil, b[1:]
	case typeInteger, typeFloat:
		return int64(binary.LittleEndian.Uint64(b[1:])), b[9:]
	default:
		end := 5 + int(binary.LittleEndian.Uint32(b[1:]))
		if t == typeText {
			return string(b[5:end]), b[end:]
		}
		return append([]byte{}, b[5:end]...), b[end:]
	}
}

// engineError is SQLite's error of a statement of this package's own.
type engineError struct {
	cause   sqlite3.Error
	message string
}

func (e *engineError) Error() string {
	if e.message == "" {
		return fmt.Sprintf("SQLite's error %d", e.cause.ExtendedCode)
	}
	return e.message
}

func (e *engineError) Unwrap() error { return e.cause }

//go:build cgo && (linux || darwin)

package sqlite

// The linker flags say that symbols may be undefined in this package alone: they are in the copy of SQLite that
// mattn/go-sqlite3 puts into every program that imports it. Both are on cgo's list of allowed flags.

/*
#cgo linux LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files -lpthread
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
#include <stdlib.h>
#include "bridge.h"
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"
)

// registered makes SQLite tell this package of every connection that is opened. A connection that was opened before can't
// carry a branch, so it must be done before main, and before any driver's constructor: hence a global.
var registered = C.xa_register()

// guard is what the statements on a branch's connection may do.
type guard C.int

const (
	guardActive   guard = C.XA_ACTIVE
	guardReadOnly guard = C.XA_READ_ONLY
	guardSealed   guard = C.XA_SEALED
)

// connID numbers the connections of this process, and is never used again.
type connID int64

// connOf returns the number of the connection with SQLite's handle db; 0: there is none.
func connOf(db unsafe.Pointer) connID { return connID(C.xa_id_of(db)) }

// connectionsTo counts this process's open connections to a file, by its path as SQLite gives it.
func connectionsTo(path string) int {
	p := C.CString(path)
	defer C.free(unsafe.Pointer(p))
	return int(C.xa_count(p))
}

// alive reports whether the connection is still open. It may be called at any time.
func (id connID) alive() bool { return C.xa_alive(C.longlong(id)) != 0 }

// report is what the guard of a connection saw.
type report struct {
	found  bool // the connection is still open
	ended  bool // SQLite has ended the branch's transaction by itself
	wrote  bool // a statement that may write rows was compiled
	header bool // likewise, of user_version or application_id
	refusal
}

// look returns what the guard saw. It may be called at any time.
func (id connID) look() report {
	var r C.xa_report
	C.xa_look(C.longlong(id), &r)
	return report{
		found: r.found != 0, ended: r.ended != 0, wrote: r.wrote != 0, header: r.header != 0,
		refusal: refusal{
			action: action(r.refused), arg1: C.GoString(&r.arg1[0]), arg2: C.GoString(&r.arg2[0]), schema: C.GoString(&r.schema[0]),
		},
	}
}

// bridge is the C side of a connection. It must only be used inside sql.Conn.Raw, where the connection can't be closed.
type bridge struct{ c *C.xa_conn }

func (id connID) bridge() (bridge, error) {
	c := C.xa_find(C.longlong(id))
	if c == nil {
		return bridge{}, errors.New("the connection is closed")
	}
	return bridge{c}, nil
}

var errCommitHook = errors.New("the connection has a commit hook")

// writable tells which tables a branch may write, until it is called again: the captured ones, whose rows the triggers note, in the
// order of the numbers that touched returns, and others.
func (b bridge) writable(captured []*table, others []string) error {
	all := make([]C.xa_table, 0, len(captured)+len(others)+1)
	add := func(name string, key int) { all = append(all, C.xa_table{name: C.CString(name), key: C.int(key)}) }
	for _, t := range captured {
		add(t.Name, len(t.Key))
	}
	for _, name := range others {
		add(name, 0)
	}
	defer func() {
		for _, t := range all {
			C.free(unsafe.Pointer(t.name))
		}
	}()
	// A copy that C may read: it holds pointers to C's memory only.
	size := C.size_t(unsafe.Sizeof(C.xa_table{}))
	list := C.calloc(C.size_t(len(all)+1), size)
	defer C.free(list)
	copy(unsafe.Slice((*C.xa_table)(list), len(all)), all)
	if C.xa_tables(b.c, (*C.xa_table)(list), C.int(len(captured)), C.int(len(all))) == 0 {
		return errors.New("out of memory")
	}
	return nil
}

// guard puts the guard on, and forgets what was captured.
func (b bridge) guard(g guard) error {
	if C.xa_guard(b.c, C.int(g)) == 0 {
		return errCommitHook
	}
	return nil
}

// pause lets this package's own statements through, until resume; unguard takes the guard off, and frees what was captured.
func (b bridge) pause()   { C.xa_pause(b.c) }
func (b bridge) resume()  { C.xa_resume(b.c) }
func (b bridge) unguard() { C.xa_unguard(b.c) }

func (b bridge) autocommit() bool      { return C.xa_autocommit(b.c) != 0 }
func (b bridge) readOnly() bool        { return C.xa_read_only(b.c) != 0 }
func (b bridge) busyStatements() int   { return int(C.xa_busy_statements(b.c)) }
func (b bridge) unresolvedFKs() bool   { return C.xa_unresolved_fks(b.c) != 0 }
func (b bridge) busyTimeout(ms int64)  { C.xa_busy_timeout(b.c, C.int(ms)) }
func (b bridge) triggersEnabled() bool { return C.xa_triggers(b.c, -1) == 1 }

func (b bridge) foreignKeys() bool { return C.xa_foreign_keys(b.c, -1) == 1 }

// What last_insert_rowid() says belongs to the application.
func (b bridge) lastRowid() int64         { return int64(C.xa_last_rowid(b.c)) }
func (b bridge) setLastRowid(rowid int64) { C.xa_set_last_rowid(b.c, C.longlong(rowid)) }

// raw turns the firing of triggers and the checking of foreign keys off. restore puts both back.
func (b bridge) raw() (restore func() error, err error) {
	triggers, fks := C.xa_triggers(b.c, 0), C.xa_foreign_keys(b.c, 0)
	restore = func() error {
		if C.xa_triggers(b.c, triggers) < 0 || C.xa_foreign_keys(b.c, fks) < 0 {
			return errors.New("triggers or foreign keys can't be turned on again")
		}
		return nil
	}
	if triggers < 0 || fks < 0 {
		return nil, errors.Join(errors.New("triggers or foreign keys can't be turned off"), restore())
	}
	return restore, nil
}

// retain keeps the file's write lock over the end of the transaction, until the next one begins or release is called. Where
// that can't be done it does nothing: another writer may then get in between, and meets the fence.
// release reports whether a transaction has taken the lock over, so that nobody had it in between.
func (b bridge) retain()       { C.xa_retain(b.c) }
func (b bridge) release() bool { return C.xa_release(b.c) != 0 }

// touched is a row that may have changed: its rowid, or its key's image.
type touched struct {
	table int
	rowid int64
	key   string
}

// touched returns the captured rows, in no order, some of them many times.
func (b bridge) touched() ([]touched, error) {
	var n C.int
	first := C.xa_rows(b.c, &n)
	rows := unsafe.Slice(first, n)
	all := make([]touched, 0, len(rows))
	for _, r := range rows {
		all = append(all, touched{table: int(r.table), rowid: int64(r.rowid)})
	}
	keys := C.xa_keys(b.c, &n)
	buf := C.GoBytes(unsafe.Pointer(keys), n)
	for len(buf) >= 8 {
		table, size := binary.LittleEndian.Uint32(buf), int(binary.LittleEndian.Uint32(buf[4:]))
		if size > len(buf)-8 {
			break
		}
		all = append(all, touched{table: int(table), key: string(buf[8 : 8+size])})
		buf = buf[8+size:]
	}
	if len(buf) != 0 {
		return nil, fmt.Errorf("captured keys are damaged: %d bytes too many", len(buf))
	}
	return all, nil
}

//go:build cgo && (linux || darwin)

package syncs

/*
#cgo linux LDFLAGS: -Wl,--unresolved-symbols=ignore-in-object-files
#cgo darwin LDFLAGS: -Wl,-undefined,dynamic_lookup
#include <stdatomic.h>
#include <stddef.h>

typedef struct file file;
typedef struct methods methods;
typedef struct vfs vfs;
struct file { const methods *methods; };
struct methods { // sqlite3_io_methods, version 3
	int version;
	int (*close)(file *), (*read)(file *, void *, int, long long), (*write)(file *, const void *, int, long long), (*truncate)(file *, long long);
	int (*sync)(file *, int);
	void *others[13];
};
struct vfs { // sqlite3_vfs, version 3
	int version, os_file, max_path;
	vfs *next;
	const char *name;
	void *data;
	int (*open)(vfs *, const char *, file *, int, int *);
	void *others[15];
};
extern vfs *sqlite3_vfs_find(const char *);
extern int sqlite3_vfs_register(vfs *, int);

static vfs counting, *plain;
static atomic_llong syncs;

// A kind of file has methods of its own: the database, which is opened first, and those that need no locks.
enum { KINDS = 4 };
static const methods *own[KINDS];
static methods counted[KINDS];

static int count_sync(file *f, int flags) {
	int kind = 0; // also where somebody else has wrapped the methods of the database once more
	for (int i = 1; i < KINDS; i++) if (f->methods == &counted[i]) kind = i;
	atomic_fetch_add(&syncs, 1);
	return own[kind]->sync(f, flags);
}

static int count_open(vfs *v, const char *name, file *f, int flags, int *out) {
	int rc = plain->open(v, name, f, flags, out);
	if (rc != 0 || !f->methods) return rc;
	for (int i = 0; i < KINDS; i++) {
		if (!own[i]) {
			own[i] = f->methods;
			counted[i] = *own[i];
			counted[i].sync = count_sync;
		}
		if (f->methods == own[i]) {
			f->methods = &counted[i];
			break;
		}
	}
	return rc;
}

static int install(const char *name) {
	plain = sqlite3_vfs_find(NULL);
	if (!plain || plain->version < 3) return 1;
	counting = *plain;
	counting.name = name;
	counting.next = NULL;
	counting.open = count_open;
	return sqlite3_vfs_register(&counting, 0);
}

static long long count(void) { return atomic_load(&syncs); }
*/
import "C"

import (
	"fmt"
	"sync"
)

// VFS is the name of the file system that counts: vfs=NAME in a DSN.
const VFS = "xasql-counting"

var install = sync.OnceValue(func() error {
	if rc := C.install(C.CString(VFS)); rc != 0 {
		return fmt.Errorf("syncs: install: code %d", int(rc))
	}
	return nil
})

// Install makes VFS known to SQLite. One that opens a database by it must do so alone at first. Calling it again is harmless.
func Install() error { return install() }

// Count returns how often the files of VFS have been synced.
func Count() int { return int(C.count()) }

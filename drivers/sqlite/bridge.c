//go:build cgo && (linux || darwin)

#include "bridge.h"
#include "engine.h"
#include <pthread.h>

// sqlite3_io_methods: public, and fixed up to version 3.
typedef struct {
	int iVersion;
	int (*xClose)(sqlite3_file *);
	int (*xRead)(sqlite3_file *, void *, int, i64);
	int (*xWrite)(sqlite3_file *, const void *, int, i64);
	int (*xTruncate)(sqlite3_file *, i64);
	int (*xSync)(sqlite3_file *, int);
	int (*xFileSize)(sqlite3_file *, i64 *);
	int (*xLock)(sqlite3_file *, int);
	int (*xUnlock)(sqlite3_file *, int);
	int (*xCheckReservedLock)(sqlite3_file *, int *);
	int (*xFileControl)(sqlite3_file *, int, void *);
	int (*xSectorSize)(sqlite3_file *);
	int (*xDeviceCharacteristics)(sqlite3_file *);
	int (*xShmMap)(sqlite3_file *, int, int, int, void volatile **);
	int (*xShmLock)(sqlite3_file *, int, int, int);
	void (*xShmBarrier)(sqlite3_file *);
	int (*xShmUnmap)(sqlite3_file *, int);
	int (*xFetch)(sqlite3_file *, i64, int, void **);
	int (*xUnfetch)(sqlite3_file *, i64, void *);
} io_methods;

struct sqlite3_file {
	const io_methods *methods;
};

// wrapped is a file's methods with another xShmLock.
typedef struct {
	io_methods m; // first: the file's methods pointer is a pointer to this struct
	const io_methods *orig;
	sqlite3_file *file;
	int kept;       // the lock is held without a transaction
	int taken_over; // a transaction has it since, and nobody had it in between
} wrapped;

struct xa_conn {
	i64 id;
	sqlite3 *db;
	char *path; // of its main file; 0: not known
	xa_conn *next;
	int mode;
	xa_report seen;
	xa_table *tables; // those that may be written: captured ones first
	int ntables, nlisted, last;
	xa_row *rows;
	size_t nrows, caprows;
	unsigned char *keys;
	size_t nkeys, capkeys;
	wrapped *lock;
};

static pthread_mutex_t conns_mu = PTHREAD_MUTEX_INITIALIZER; // guards conns and last_id
static xa_conn *conns;
static i64 last_id;

static void forget_tables(xa_conn *c) {
	while (c->nlisted > 0) free(c->tables[--c->nlisted].name);
	free(c->tables);
	c->tables = 0;
	c->ntables = c->last = 0;
}

// closed is the destructor of a function that nobody replaces: of the connection.
static void closed(void *p) {
	xa_conn *c = p, **at;
	pthread_mutex_lock(&conns_mu);
	for (at = &conns; *at; at = &(*at)->next)
		if (*at == c) {
			*at = c->next;
			break;
		}
	pthread_mutex_unlock(&conns_mu);
	forget_tables(c);
	free(c->rows);
	free(c->keys);
	free(c->lock);
	free(c->path);
	free(c);
}

sqlite3 *xa_db(xa_conn *c) { return c->db; }

static xa_conn *find(i64 id) {
	xa_conn *c = conns;
	while (c && c->id != id) c = c->next;
	return c;
}

xa_conn *xa_find(long long id) {
	pthread_mutex_lock(&conns_mu);
	xa_conn *c = find(id);
	pthread_mutex_unlock(&conns_mu);
	return c;
}

i64 xa_id_of(const void *db) {
	pthread_mutex_lock(&conns_mu);
	xa_conn *c = conns;
	while (c && c->db != db) c = c->next;
	i64 id = c ? c->id : 0;
	pthread_mutex_unlock(&conns_mu);
	return id;
}

// xa_count counts this process's open connections to a file, by its path as SQLite gives it.
int xa_count(const char *path) {
	int n = 0;
	pthread_mutex_lock(&conns_mu);
	for (xa_conn *c = conns; c; c = c->next) n += c->path && strcmp(c->path, path) == 0;
	pthread_mutex_unlock(&conns_mu);
	return n;
}

int xa_alive(long long id) { return xa_find(id) != 0; }

// ended notices that SQLite has rolled the branch back: it is then in autocommit mode, which a guarded
// connection is in at no other time.
static int ended(xa_conn *c) {
	if (c->mode != XA_OFF && c->mode != XA_SEALED && sqlite3_get_autocommit(c->db)) c->seen.ended = 1;
	return c->seen.ended;
}

void xa_look(long long id, xa_report *out) {
	pthread_mutex_lock(&conns_mu); // closed waits for it, so c->db is valid
	xa_conn *c = find(id);
	if (c) {
		ended(c);
		*out = c->seen;
		out->found = 1;
	} else
		memset(out, 0, sizeof *out);
	pthread_mutex_unlock(&conns_mu);
}

// ---- capture: the function that the triggers call ----

static int grow(void **p, size_t *cap, size_t want, size_t size) {
	if (want <= *cap) return 1;
	size_t n = *cap ? *cap * 2 : 64;
	while (n < want) n *= 2;
	void *q = realloc(*p, n * size);
	if (!q) return 0;
	*p = q;
	*cap = n;
	return 1;
}

// table_named returns the number of a table whose rows are captured, -1: there is none of that name. Rows come in runs of one
// table, so the last one is looked at first.
static int table_named(xa_conn *c, const char *name) {
	if (!name) return -1;
	if (c->last < c->ntables && strcmp(name, c->tables[c->last].name) == 0) return c->last;
	for (int i = 0; i < c->ntables; i++)
		if (strcmp(name, c->tables[i].name) == 0) return c->last = i;
	return -1;
}

static int note_rowid(xa_conn *c, int table, i64 rowid) {
	xa_row *last = c->nrows ? &c->rows[c->nrows - 1] : 0;
	if (last && last->rowid == rowid && last->table == table) return 1;
	if (!grow((void **)&c->rows, &c->caprows, c->nrows + 1, sizeof *c->rows)) return 0;
	c->rows[c->nrows++] = (xa_row){rowid, table};
	return 1;
}

// note_key notes a row of a table without rowids: the table and the key's length, 4 bytes each, and the key.
static int note_key(xa_conn *c, int table, int argc, sqlite3_value **argv) {
	size_t n;
	unsigned char *key = xa_encode(argc, argv, &n);
	if (!key || n > 0x7fffffff || !grow((void **)&c->keys, &c->capkeys, c->nkeys + 8 + n, 1)) {
		free(key);
		return 0;
	}
	unsigned char *p = c->keys + c->nkeys;
	xa_put_int(&p, (uint64_t)table, 4);
	xa_put_int(&p, n, 4);
	memcpy(p, key, n);
	c->nkeys += 8 + n;
	free(key);
	return 1;
}

// note notes the rows of a table whose rowids or keys stand in argv, one after the other.
static void note(sqlite3_context *ctx, xa_conn *c, sqlite3_value *name, int argc, sqlite3_value **argv) {
	int table = table_named(c, (const char *)sqlite3_value_text(name));
	int width = table < 0 ? 0 : c->tables[table].key ? c->tables[table].key : 1;
	if (table < 0 || argc % width) {
		sqlite3_result_error(ctx, "xasql: a fence's trigger is not the table's own: run the statement again in another branch", -1);
		return;
	}
	int ok = 1;
	for (int i = 0; ok && i < argc; i += width)
		ok = c->tables[table].key ? note_key(c, table, width, argv + i) : note_rowid(c, table, sqlite3_value_int64(argv[i]));
	if (ok)
		sqlite3_result_text(ctx, "", 0, 0);
	else
		sqlite3_result_error_nomem(ctx);
}

// f_char stands in for SQLite's own function char. The triggers must call something that is there for programs too that know nothing
// of this package: for them, char('xasql', TABLE, KEY...) is a text that is not empty. Here it notes the rows of an active branch, and
// is empty; char('xasql') is the connection's number. Every other call is answered as SQLite does.
static void f_char(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
	xa_conn *c = sqlite3_user_data(ctx);
	if (argc == 0 || sqlite3_value_type(argv[0]) != T_TEXT || strcmp((const char *)sqlite3_value_text(argv[0]), "xasql")) {
		xa_f_char(ctx, argc, argv);
	} else if (argc == 1) {
		sqlite3_result_int64(ctx, c->id);
	} else if (c->mode == XA_OFF) {
		sqlite3_result_text(ctx, "plain", 5, 0);
	} else if (c->mode == XA_ACTIVE && !ended(c)) {
		note(ctx, c, argv[1], argc - 2, argv + 2);
	} else {
		sqlite3_result_error(ctx, "the branch that this statement belongs to is over", -1);
	}
}

const xa_row *xa_rows(xa_conn *c, int *n) {
	*n = (int)c->nrows;
	return c->rows;
}

const unsigned char *xa_keys(xa_conn *c, int *n) {
	*n = (int)c->nkeys;
	return c->keys;
}

// ---- the guard ----

static void copy(char *to, size_t cap, const char *from) {
	size_t n = from ? strlen(from) : 0;
	if (n >= cap) n = cap - 1;
	if (n) memcpy(to, from, n);
	to[n] = 0;
}

static int one_of(const char *s, const char **list) {
	for (; *list; list++)
		if (sqlite3_stricmp(s, *list) == 0) return 1;
	return 0;
}

// may_pragma tells whether a PRAGMA only looks, or changes what a branch can carry.
static int may_pragma(xa_conn *c, const char *name, const char *arg, const char *schema) {
	static const char *acts[] = {"optimize", "incremental_vacuum", "wal_checkpoint", "shrink_memory", 0};
	static const char *looks[] = {"table_info", "table_xinfo", "table_list", "index_list", "index_info", "index_xinfo",
		"foreign_key_list", "foreign_key_check", "integrity_check", "quick_check", "busy_timeout", "defer_foreign_keys", 0};
	static const char *header[] = {"user_version", "application_id", 0};
	if (!name) return 0;
	if (!arg) return !one_of(name, acts);
	if (one_of(name, looks)) return 1;
	if (one_of(name, header) && c->mode == XA_ACTIVE && (!schema || sqlite3_stricmp(schema, "main") == 0)) {
		c->seen.header = 1;
		return 1;
	}
	return 0;
}

static int may_write(xa_conn *c, const char *table, const char *schema) {
	if (c->mode != XA_ACTIVE || !table || !schema || sqlite3_stricmp(schema, "main")) return 0;
	for (int i = 0; i < c->nlisted; i++)
		if (sqlite3_stricmp(table, c->tables[i].name) == 0) {
			c->seen.wrote = 1;
			return 1;
		}
	return 0;
}

// authorize is SQLite's authorizer: it sees what a statement is going to do while it is compiled.
static int authorize(void *p, int action, const char *a1, const char *a2, const char *schema, const char *by) {
	enum { DELETE = 9, INSERT = 18, PRAGMA, READ, SELECT, TRANSACTION, UPDATE, FUNCTION = 31, SAVEPOINT, RECURSIVE };
	xa_conn *c = p;
	int ok = 0;
	if (c->mode == XA_OFF) return 0;
	if (c->mode != XA_SEALED && !ended(c)) switch (action) {
		case READ:
		case SELECT:
		case FUNCTION:
		case RECURSIVE: ok = 1; break;
		case INSERT:
		case DELETE:
		case UPDATE: ok = may_write(c, a1, schema); break;
		case PRAGMA: ok = may_pragma(c, a1, a2, schema); break;
		case SAVEPOINT: ok = !a2 || sqlite3_strnicmp(a2, "_xa_", 4); break;
		}
	if (ok) return 0;
	c->seen.refused = action;
	copy(c->seen.arg1, sizeof c->seen.arg1, a1);
	copy(c->seen.arg2, sizeof c->seen.arg2, a2);
	copy(c->seen.schema, sizeof c->seen.schema, schema);
	return 1; // SQLITE_DENY
}

// veto is SQLite's commit hook. A commit on a guarded connection is never ours: it is the autocommit of a statement that runs
// after SQLite has ended the branch's transaction, or that was compiled before the branch.
static int veto(void *p) {
	xa_conn *c = p;
	ended(c);
	return c->mode != XA_OFF;
}

// xa_tables tells which tables and views a branch may write, until it is called again; the first captured ones have triggers that note
// the rows. 0: out of memory.
int xa_tables(xa_conn *c, const xa_table *tables, int captured, int n) {
	forget_tables(c);
	c->tables = calloc((size_t)n + 1, sizeof *c->tables);
	if (!c->tables) return 0;
	for (; c->nlisted < n; c->nlisted++) {
		c->tables[c->nlisted].key = tables[c->nlisted].key;
		if (!(c->tables[c->nlisted].name = strdup(tables[c->nlisted].name))) return 0;
	}
	c->ntables = captured;
	return 1;
}

// xa_guard puts the guard on. Every statement that exists is compiled again before it next runs, and so
// is seen by the authorizer. 0: somebody else's commit hook was there, and is lost.
int xa_guard(xa_conn *c, int mode) {
	memset(&c->seen, 0, sizeof c->seen);
	c->nrows = c->nkeys = 0;
	void *other = sqlite3_commit_hook(c->db, veto, c);
	if (other && other != c) {
		sqlite3_commit_hook(c->db, 0, 0);
		return 0;
	}
	sqlite3_set_authorizer(c->db, authorize, c);
	c->mode = mode;
	return 1;
}

// xa_pause lets this package's own statements through, and keeps what was seen and captured.
void xa_pause(xa_conn *c) {
	ended(c);
	c->mode = XA_OFF;
}

// xa_resume takes xa_pause back.
void xa_resume(xa_conn *c) { c->mode = XA_ACTIVE; }

// xa_unguard takes the guard off the connection.
void xa_unguard(xa_conn *c) {
	c->mode = XA_OFF;
	sqlite3_set_authorizer(c->db, 0, 0);
	sqlite3_commit_hook(c->db, 0, 0);
	free(c->rows);
	free(c->keys);
	c->rows = 0;
	c->keys = 0;
	c->nrows = c->caprows = c->nkeys = c->capkeys = 0;
}

// ---- the connection ----

int xa_read_only(xa_conn *c) { return sqlite3_db_readonly(c->db, "main") != 0; }
int xa_autocommit(xa_conn *c) { return sqlite3_get_autocommit(c->db); }

// xa_busy_statements counts the statements that have begun and not ended: open rows.
int xa_busy_statements(xa_conn *c) {
	int n = 0;
	for (sqlite3_stmt *s = sqlite3_next_stmt(c->db, 0); s; s = sqlite3_next_stmt(c->db, s)) n += sqlite3_stmt_busy(s) != 0;
	return n;
}

int xa_unresolved_fks(xa_conn *c) {
	int now = 0, high = 0;
	return sqlite3_db_status(c->db, STATUS_DEFERRED_FKS, &now, &high, 0) || now != 0;
}

// config sets a switch of the connection (-1: leaves it), and returns what it was; -1: not known.
static int config(xa_conn *c, int which, int on) {
	int was = -1, is = -1;
	if (sqlite3_db_config(c->db, which, -1, &was)) return -1;
	if (on >= 0 && (sqlite3_db_config(c->db, which, on, &is) || is != on)) return -1;
	return was;
}

int xa_triggers(xa_conn *c, int on) { return config(c, CONFIG_TRIGGER, on); }
int xa_foreign_keys(xa_conn *c, int on) { return config(c, CONFIG_FKEY, on); }
i64 xa_last_rowid(xa_conn *c) { return sqlite3_last_insert_rowid(c->db); }
void xa_set_last_rowid(xa_conn *c, i64 rowid) { sqlite3_set_last_insert_rowid(c->db, rowid); }
void xa_busy_timeout(xa_conn *c, int ms) { sqlite3_busy_timeout(c->db, ms); }

// ---- the write lock, kept over the end of a transaction ----

static int keep_write_lock(sqlite3_file *f, int offset, int n, int flags) {
	wrapped *w = (wrapped *)f->methods;
	if (offset == WRITE_LOCK && n == 1 && flags & SHM_EXCLUSIVE) {
		if (flags & SHM_UNLOCK) {
			w->kept = 1;
			return 0;
		}
		if (flags & SHM_LOCK && w->kept) {
			w->kept = 0;
			w->taken_over = 1;
			return 0;
		}
	}
	return w->orig->xShmLock(f, offset, n, flags);
}

// xa_retain makes the connection keep the WAL's write lock when its transaction ends, until it begins the next one or
// xa_release is called, so that no other writer gets in between. It returns 0 where that can't be done.
int xa_retain(xa_conn *c) {
	sqlite3_file *f = 0;
	if (sqlite3_file_control(c->db, "main", FILE_POINTER, &f) || !f || !f->methods) return 0;
	const io_methods *m = f->methods;
	if (m->iVersion < 2 || m->iVersion > 3 || !m->xShmLock || m->xShmLock == keep_write_lock) return 0;
	if (!c->lock && !(c->lock = calloc(1, sizeof *c->lock))) return 0;
	memset(c->lock, 0, sizeof *c->lock);
	memcpy(&c->lock->m, m, m->iVersion == 3 ? sizeof *m : offsetof(io_methods, xFetch));
	c->lock->m.xShmLock = keep_write_lock;
	c->lock->orig = m;
	c->lock->file = f;
	f->methods = &c->lock->m;
	return 1;
}

// xa_release ends what xa_retain began, and drops the lock if no transaction took it over. It returns 1 if one did.
int xa_release(xa_conn *c) {
	wrapped *w = c->lock;
	if (!w || !w->file) return 0;
	w->file->methods = w->orig;
	if (w->kept) w->orig->xShmLock(w->file, WRITE_LOCK, 1, SHM_UNLOCK | SHM_EXCLUSIVE);
	w->kept = 0;
	w->file = 0;
	return w->taken_over;
}

// ---- registration ----

static int opened(sqlite3 *db, char **message, const void *api) {
	xa_conn *c = calloc(1, sizeof *c);
	if (!c) return NOMEM;
	const char *path = sqlite3_db_filename(db, "main");
	c->db = db;
	c->path = path ? strdup(path) : 0;
	pthread_mutex_lock(&conns_mu);
	c->id = ++last_id;
	c->next = conns;
	conns = c;
	pthread_mutex_unlock(&conns_mu);
	int rc = 0, pure = UTF8 | DIRECTONLY | DETERMINISTIC;
	rc |= sqlite3_create_function_v2(db, "char", -1, UTF8 | INNOCUOUS | DETERMINISTIC, c, f_char, 0, 0, 0);
	rc |= sqlite3_create_function_v2(db, "_xa_encode", -1, pure, c, xa_f_encode, 0, 0, closed);
	rc |= sqlite3_create_function_v2(db, "_xa_join", -1, pure, 0, xa_f_join, 0, 0, 0);
	rc |= sqlite3_create_function_v2(db, "_xa_decode", 2, pure, 0, xa_f_decode, 0, 0, 0);
	rc |= sqlite3_create_function_v2(db, "_xa_hash", 1, pure, 0, xa_f_hash, 0, 0, 0);
	return rc ? 1 : 0;
}

int xa_register(void) { return sqlite3_auto_extension((void (*)(void))opened); }

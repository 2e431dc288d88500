//go:build cgo && (linux || darwin)

// Statements of this package's own: one call from Go runs a statement any number of times, and brings back all rows.

#include "bridge.h"
#include "engine.h"

// result is what the statements returned: of each row the number of the run that it belongs to and the number of its columns, 4 bytes
// each, and its values as an image (but that a number with a fraction is cut: nobody asks for one).
typedef struct {
	unsigned char *bytes;
	size_t n, cap;
} result;

// size_of and put_column are those of image.c for a column, whose value SQLite gives out only in parts.
static size_t size_of(sqlite3_stmt *s, int i) {
	switch (sqlite3_column_type(s, i)) {
	case T_NULL: return 1;
	case T_TEXT: sqlite3_column_text(s, i); break;
	case T_BLOB: sqlite3_column_blob(s, i); break;
	default: return 9;
	}
	return 5 + (size_t)sqlite3_column_bytes(s, i);
}

static void put_column(unsigned char **p, sqlite3_stmt *s, int i) {
	int t = sqlite3_column_type(s, i);
	*(*p)++ = (unsigned char)t;
	if (t == T_NULL) return;
	if (t == T_INTEGER || t == T_FLOAT) {
		xa_put_int(p, (uint64_t)sqlite3_column_int64(s, i), 8);
		return;
	}
	const void *from = t == T_TEXT ? (const void *)sqlite3_column_text(s, i) : sqlite3_column_blob(s, i);
	size_t n = (size_t)sqlite3_column_bytes(s, i);
	xa_put_int(p, n, 4);
	if (n) memcpy(*p, from, n);
	*p += n;
}

static int append_row(result *out, sqlite3_stmt *s, int run) {
	int width = sqlite3_column_count(s);
	size_t n = 8;
	for (int i = 0; i < width; i++) n += size_of(s, i);
	if (out->n + n > out->cap) {
		size_t cap = out->cap ? out->cap * 2 : 256;
		while (cap < out->n + n) cap *= 2;
		unsigned char *bytes = realloc(out->bytes, cap);
		if (!bytes) return 0;
		out->bytes = bytes;
		out->cap = cap;
	}
	unsigned char *p = out->bytes + out->n;
	xa_put_int(&p, (uint64_t)run, 4);
	xa_put_int(&p, (uint64_t)width, 4);
	for (int i = 0; i < width; i++) put_column(&p, s, i);
	out->n += n;
	return 1;
}

// bind binds the values of an image to a statement's parameters, and returns what follows them.
static const unsigned char *bind(sqlite3_stmt *s, const unsigned char *p, int width) {
	for (int i = 1; i <= width; i++) {
		int t = *p++;
		if (t == T_NULL) {
			sqlite3_bind_null(s, i);
			continue;
		}
		if (t == T_INTEGER) {
			sqlite3_bind_int64(s, i, (i64)xa_get_int(p, 8));
			p += 8;
			continue;
		}
		int n = (int)xa_get_int(p, 4);
		p += 4;
		if (t == T_TEXT)
			sqlite3_bind_text(s, i, (const char *)p, n, 0);
		else if (n)
			sqlite3_bind_blob(s, i, p, n, 0);
		else
			sqlite3_bind_zeroblob(s, i, 0);
		p += n;
	}
	return p;
}

static int run_one(sqlite3_stmt *s, const unsigned char *args, int width, int runs, result *out) {
	int rc = 0;
	for (int run = 0; run < runs && !rc; run++) {
		args = bind(s, args, width);
		while ((rc = sqlite3_step(s)) == STEP_ROW)
			if (!append_row(out, s, run)) return NOMEM;
		if (rc == STEP_DONE) rc = sqlite3_reset(s);
	}
	return rc;
}

// xa_run runs each of the statements as often as runs says, with width values of args each time. It returns SQLite's extended code, 0:
// all went well; *out is what they returned, which the caller frees, or else the error's text.
int xa_run(xa_conn *c, const char *sql, const unsigned char *args, int width, int runs, unsigned char **out, size_t *n) {
	sqlite3 *db = xa_db(c);
	result all = {0, 0, 0};
	int rc = 0;
	while (!rc && *sql) {
		sqlite3_stmt *s = 0;
		rc = sqlite3_prepare_v2(db, sql, -1, &s, &sql);
		if (!rc && s) rc = run_one(s, args, width, runs, &all);
		if (rc) {
			rc = rc == NOMEM ? NOMEM : sqlite3_extended_errcode(db);
			free(all.bytes);
			all.bytes = (unsigned char *)strdup(sqlite3_errmsg(db));
			all.n = all.bytes ? strlen((char *)all.bytes) : 0;
		}
		sqlite3_finalize(s);
	}
	*out = all.bytes;
	*n = all.n;
	return rc;
}

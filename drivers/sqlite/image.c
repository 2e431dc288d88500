//go:build cgo && (linux || darwin)

// Values as bytes, exact to the last bit: a row's image, a key.

#include "engine.h"

static void put(unsigned char **p, const void *s, size_t n) {
	memcpy(*p, s, n);
	*p += n;
}

// xa_put_int and xa_get_int are little-endian: a file may be moved to another machine.
void xa_put_int(unsigned char **p, uint64_t v, int n) {
	for (; n > 0; n--, v >>= 8) *(*p)++ = (unsigned char)v;
}

uint64_t xa_get_int(const unsigned char *p, int n) {
	uint64_t v = 0;
	while (n > 0) v = v << 8 | p[--n];
	return v;
}

// size_of is the size of a value as put_value writes it: its type and its exact bytes.
static size_t size_of(sqlite3_value *v) {
	switch (sqlite3_value_type(v)) {
	case T_NULL: return 1;
	case T_INTEGER:
	case T_FLOAT: return 9;
	case T_TEXT: sqlite3_value_text(v); break; // value_bytes is of the last form that was asked for
	default: sqlite3_value_blob(v);
	}
	return 5 + (size_t)sqlite3_value_bytes(v);
}

static void put_value(unsigned char **p, sqlite3_value *v) {
	int t = sqlite3_value_type(v);
	*(*p)++ = (unsigned char)t;
	if (t == T_INTEGER) {
		xa_put_int(p, (uint64_t)sqlite3_value_int64(v), 8);
	} else if (t == T_FLOAT) {
		double d = sqlite3_value_double(v);
		uint64_t bits;
		memcpy(&bits, &d, 8);
		xa_put_int(p, bits, 8);
	} else if (t != T_NULL) {
		const void *s = t == T_TEXT ? (const void *)sqlite3_value_text(v) : sqlite3_value_blob(v);
		size_t n = (size_t)sqlite3_value_bytes(v);
		xa_put_int(p, n, 4);
		if (n) put(p, s, n);
	}
}

// xa_encode writes values, one after the other: an image.
unsigned char *xa_encode(int argc, sqlite3_value **argv, size_t *len) {
	size_t n = 0;
	for (int i = 0; i < argc; i++) n += size_of(argv[i]);
	unsigned char *b = malloc(n + 1), *p = b;
	if (!b) return 0;
	for (int i = 0; i < argc; i++) put_value(&p, argv[i]);
	*len = n;
	return b;
}

void xa_f_encode(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
	size_t n;
	unsigned char *b = xa_encode(argc, argv, &n);
	if (!b || n > 0x7fffffff) {
		free(b);
		sqlite3_result_error_nomem(ctx);
		return;
	}
	sqlite3_result_blob(ctx, b, (int)n, free);
}

// xa_f_join joins images: a call takes 100 arguments at most.
void xa_f_join(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
	size_t n = 0;
	for (int i = 0; i < argc; i++) n += (size_t)sqlite3_value_bytes(argv[i]);
	unsigned char *b = n > 0x7fffffff ? 0 : malloc(n + 1), *p = b;
	if (!b) {
		sqlite3_result_error_nomem(ctx);
		return;
	}
	for (int i = 0; i < argc; i++) {
		const void *s = sqlite3_value_blob(argv[i]);
		if (s) put(&p, s, (size_t)sqlite3_value_bytes(argv[i]));
	}
	sqlite3_result_blob(ctx, b, (int)n, free);
}

// xa_f_decode(image, i) is the image's i-th value.
void xa_f_decode(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
	const unsigned char *p = sqlite3_value_blob(argv[0]);
	const unsigned char *end = p ? p + sqlite3_value_bytes(argv[0]) : 0;
	i64 i = sqlite3_value_int64(argv[1]);
	while (p && p < end) {
		int t = *p++;
		size_t l = t == T_NULL ? 0 : 8;
		if (t == T_TEXT || t == T_BLOB) {
			if (end - p < 4) break;
			l = (size_t)xa_get_int(p, 4);
			p += 4;
		}
		if (t < T_INTEGER || t > T_NULL || (size_t)(end - p) < l) break;
		if (i-- > 0) {
			p += l;
			continue;
		}
		if (t == T_NULL) {
			sqlite3_result_null(ctx);
		} else if (t == T_INTEGER) {
			sqlite3_result_int64(ctx, (i64)xa_get_int(p, 8));
		} else if (t == T_FLOAT) {
			uint64_t bits = xa_get_int(p, 8);
			double v;
			memcpy(&v, &bits, 8);
			sqlite3_result_double(ctx, v);
		} else if (t == T_TEXT) {
			sqlite3_result_text(ctx, (const char *)p, (int)l, TRANSIENT);
		} else if (l) {
			sqlite3_result_blob(ctx, p, (int)l, TRANSIENT);
		} else {
			sqlite3_result_zeroblob(ctx, 0);
		}
		return;
	}
	sqlite3_result_error(ctx, "malformed row image in _xa_redo", -1);
}

// xa_f_hash is the FNV-1a hash of an image, NULL of NULL.
void xa_f_hash(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
	if (sqlite3_value_type(argv[0]) == T_NULL) return;
	const unsigned char *p = sqlite3_value_blob(argv[0]);
	int n = sqlite3_value_bytes(argv[0]);
	uint64_t h = 1469598103934665603ULL;
	for (int i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211ULL;
	sqlite3_result_int64(ctx, (i64)h);
}

// xa_f_char does what SQLite's function char does: the text of some Unicode characters.
void xa_f_char(sqlite3_context *ctx, int argc, sqlite3_value **argv) {
	unsigned char *b = malloc((size_t)argc * 4 + 1), *p = b;
	if (!b) {
		sqlite3_result_error_nomem(ctx);
		return;
	}
	for (int i = 0; i < argc; i++) {
		i64 c = sqlite3_value_int64(argv[i]);
		if (c < 0 || c > 0x10ffff) c = 0xfffd;
		int more = c < 0x80 ? 0 : c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
		static const unsigned char lead[] = {0, 0xc0, 0xe0, 0xf0};
		*p++ = (unsigned char)(lead[more] | c >> 6 * more);
		while (more-- > 0) *p++ = (unsigned char)(0x80 | (c >> 6 * more & 0x3f));
	}
	sqlite3_result_text(ctx, (char *)b, (int)(p - b), free);
}

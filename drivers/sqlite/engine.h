// SQLite's public interface, as far as bridge.c and image.c use it.
#ifndef XASQL_ENGINE_H
#define XASQL_ENGINE_H

#include "bridge.h"
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

// Nothing of SQLite is compiled here: the symbols are those of the
// copy that github.com/mattn/go-sqlite3 has put into the program, so that there is only one of it (two would
// drop each other's file locks).
typedef struct sqlite3 sqlite3;
typedef struct sqlite3_stmt sqlite3_stmt;
typedef struct sqlite3_context sqlite3_context;
typedef struct sqlite3_value sqlite3_value;
typedef struct sqlite3_file sqlite3_file;
typedef long long i64;
extern int sqlite3_auto_extension(void (*)(void));
extern int sqlite3_create_function_v2(sqlite3 *, const char *, int, int, void *, void (*)(sqlite3_context *, int, sqlite3_value **),
	void (*)(sqlite3_context *, int, sqlite3_value **), void (*)(sqlite3_context *), void (*)(void *));
extern int sqlite3_db_config(sqlite3 *, int, ...);
extern int sqlite3_db_status(sqlite3 *, int, int *, int *, int);
extern int sqlite3_busy_timeout(sqlite3 *, int);
extern i64 sqlite3_last_insert_rowid(sqlite3 *);
extern void sqlite3_set_last_insert_rowid(sqlite3 *, i64);
extern int sqlite3_get_autocommit(sqlite3 *);
extern const char *sqlite3_db_filename(sqlite3 *, const char *);
extern int sqlite3_db_readonly(sqlite3 *, const char *);
extern sqlite3_stmt *sqlite3_next_stmt(sqlite3 *, sqlite3_stmt *);
extern int sqlite3_stmt_busy(sqlite3_stmt *);
extern int sqlite3_set_authorizer(sqlite3 *, int (*)(void *, int, const char *, const char *, const char *, const char *), void *);
extern void *sqlite3_commit_hook(sqlite3 *, int (*)(void *), void *);
extern int sqlite3_file_control(sqlite3 *, const char *, int, void *);
extern void *sqlite3_user_data(sqlite3_context *);
extern int sqlite3_value_type(sqlite3_value *);
extern i64 sqlite3_value_int64(sqlite3_value *);
extern double sqlite3_value_double(sqlite3_value *);
extern const unsigned char *sqlite3_value_text(sqlite3_value *);
extern const void *sqlite3_value_blob(sqlite3_value *);
extern int sqlite3_value_bytes(sqlite3_value *);
extern void sqlite3_result_null(sqlite3_context *);
extern void sqlite3_result_int64(sqlite3_context *, i64);
extern void sqlite3_result_double(sqlite3_context *, double);
extern void sqlite3_result_text(sqlite3_context *, const char *, int, void (*)(void *));
extern void sqlite3_result_blob(sqlite3_context *, const void *, int, void (*)(void *));
extern void sqlite3_result_zeroblob(sqlite3_context *, int);
extern void sqlite3_result_error(sqlite3_context *, const char *, int);
extern void sqlite3_result_error_nomem(sqlite3_context *);
extern int sqlite3_prepare_v2(sqlite3 *, const char *, int, sqlite3_stmt **, const char **);
extern int sqlite3_step(sqlite3_stmt *);
extern int sqlite3_reset(sqlite3_stmt *);
extern int sqlite3_finalize(sqlite3_stmt *);
extern int sqlite3_bind_null(sqlite3_stmt *, int);
extern int sqlite3_bind_int64(sqlite3_stmt *, int, i64);
extern int sqlite3_bind_text(sqlite3_stmt *, int, const char *, int, void (*)(void *));
extern int sqlite3_bind_blob(sqlite3_stmt *, int, const void *, int, void (*)(void *));
extern int sqlite3_bind_zeroblob(sqlite3_stmt *, int, int);
extern int sqlite3_column_count(sqlite3_stmt *);
extern int sqlite3_column_type(sqlite3_stmt *, int);
extern i64 sqlite3_column_int64(sqlite3_stmt *, int);
extern const unsigned char *sqlite3_column_text(sqlite3_stmt *, int);
extern const void *sqlite3_column_blob(sqlite3_stmt *, int);
extern int sqlite3_column_bytes(sqlite3_stmt *, int);
extern int sqlite3_extended_errcode(sqlite3 *);
extern const char *sqlite3_errmsg(sqlite3 *);
extern int sqlite3_stricmp(const char *, const char *);
extern int sqlite3_strnicmp(const char *, const char *, int);

#define TRANSIENT ((void (*)(void *)) - 1)
enum { T_INTEGER = 1, T_FLOAT, T_TEXT, T_BLOB, T_NULL };                            // sqlite3_value_type
enum { UTF8 = 1, DETERMINISTIC = 0x800, DIRECTONLY = 0x80000, INNOCUOUS = 0x200000 }; // sqlite3_create_function_v2
enum { CONFIG_FKEY = 1002, CONFIG_TRIGGER = 1003, STATUS_DEFERRED_FKS = 10 };       // sqlite3_db_config, _db_status
enum { FILE_POINTER = 7, SHM_UNLOCK = 1, SHM_LOCK = 2, SHM_EXCLUSIVE = 8, WRITE_LOCK = 0 };

enum { NOMEM = 7, STEP_ROW = 100, STEP_DONE = 101 };

// bridge.c
sqlite3 *xa_db(xa_conn *c);

// image.c
uint64_t xa_get_int(const unsigned char *p, int n);
unsigned char *xa_encode(int argc, sqlite3_value **argv, size_t *len);
void xa_put_int(unsigned char **p, uint64_t v, int n);
void xa_f_char(sqlite3_context *ctx, int argc, sqlite3_value **argv);
void xa_f_encode(sqlite3_context *ctx, int argc, sqlite3_value **argv);
void xa_f_join(sqlite3_context *ctx, int argc, sqlite3_value **argv);
void xa_f_decode(sqlite3_context *ctx, int argc, sqlite3_value **argv);
void xa_f_hash(sqlite3_context *ctx, int argc, sqlite3_value **argv);

#endif

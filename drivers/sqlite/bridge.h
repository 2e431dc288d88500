// What SQLite's C interface has and the Go driver does not offer. See bridge.go.
#ifndef XASQL_BRIDGE_H
#define XASQL_BRIDGE_H

#include <stddef.h>

// xa_conn is what this package keeps of one connection, from its opening to its closing.
typedef struct xa_conn xa_conn;

// The guard of a connection.
enum {
	XA_OFF,       // plain use, and this package's own statements
	XA_ACTIVE,    // the application's statements of an active branch
	XA_READ_ONLY, // likewise, and nothing may be written
	XA_SEALED     // the branch is prepared: no statement at all
};

// xa_row is a touched row of a table with rowids.
typedef struct {
	long long rowid;
	int table;
} xa_row;

// xa_table is a table or view that a branch may write, and how many columns its key has: 0, if it has rowids.
typedef struct {
	char *name;
	int key;
} xa_table;

// xa_report tells what the guard saw.
typedef struct {
	int found;       // 0: the connection is closed
	int ended;       // SQLite has ended the branch's transaction by itself
	int wrote;       // a statement that may write a row was compiled
	int header;      // likewise, of a value in the file's header
	int refused;     // the action code of the last refusal, 0: none
	char arg1[256];  // and the authorizer's other arguments
	char arg2[256];
	char schema[64];
} xa_report;

int xa_register(void);
long long xa_id_of(const void *db);
int xa_count(const char *path);
int xa_alive(long long id);
void xa_look(long long id, xa_report *out);

// The rest must only be called while the connection can't be closed: inside sql.Conn.Raw.
xa_conn *xa_find(long long id);
int xa_tables(xa_conn *c, const xa_table *tables, int captured, int n);
int xa_guard(xa_conn *c, int mode);
void xa_pause(xa_conn *c);
void xa_resume(xa_conn *c);
void xa_unguard(xa_conn *c);
int xa_autocommit(xa_conn *c);
int xa_read_only(xa_conn *c);
int xa_busy_statements(xa_conn *c);
int xa_unresolved_fks(xa_conn *c);
int xa_triggers(xa_conn *c, int on);
int xa_foreign_keys(xa_conn *c, int on);
void xa_busy_timeout(xa_conn *c, int ms);
long long xa_last_rowid(xa_conn *c);
void xa_set_last_rowid(xa_conn *c, long long rowid);
int xa_retain(xa_conn *c);
int xa_release(xa_conn *c);
const xa_row *xa_rows(xa_conn *c, int *n);
const unsigned char *xa_keys(xa_conn *c, int *n);
int xa_run(xa_conn *c, const char *sql, const unsigned char *args, int width, int runs, unsigned char **out, size_t *n);

#endif

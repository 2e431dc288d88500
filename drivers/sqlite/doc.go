// Package sqlite is the driver for SQLite, over github.com/mattn/go-sqlite3 with its default build tags.
//
// SQLite has no PREPARE TRANSACTION; this package emulates one. It keeps the rows that a branch has changed in the same file, so that
// any process can commit or roll the branch back from the file alone, or from a copy of it. The smallest use:
//
//	db, err := sql.Open("sqlite3", "file:orders.db?_journal_mode=WAL&_busy_timeout=5000")
//	...
//	orders := drivers.Resource{Name: "orders", DB: db, Driver: sqlite.New()}
//
// # How it works
//
// Begin takes the file's write lock (BEGIN IMMEDIATE), and makes temporary triggers note the keys of all rows that the
// application's statements touch. Prepare reads those rows as they are now, undoes the transaction, writes the rows as a
// record into the tables _xa_prepared and _xa_redo, and commits that: the branch is prepared. Without ever giving the write lock to
// anybody else it then begins the transaction that applies the record and removes it, up to the COMMIT. That COMMIT is phase two.
//
// While the process lives, others find the file locked, and wait as for any writer; readers go on, and see what was. If it dies,
// the lock is gone, but the record is there. From then on the fence keeps writers out: on every table stand three triggers,
// _xa_fence_insert_TABLE and its like, that fail every write while there is a record. They are made by the first Begin,
// and stop programs that know nothing of xasql, such as the sqlite3 command line. Recovery applies or removes the record. It first compares every row
// with what it was, so what went around the fence is found ([ErrChanged]), and never overwritten.
//
// The outcomes of the last 1000 prepared branches stay in _xa_outcome: who asks again gets a proven answer.
//
// # What it adds to a file
//
// The tables _xa_identity, _xa_prepared, _xa_redo and _xa_outcome, and the fence's triggers. To plain writers a trigger costs about 2 µs a
// statement and 0.1 µs a row. Names that begin with _xa_ are reserved.
//
// # Failure
//
// Prepare and Commit each cost one sync of the file, CommitOnePhase one, a branch that changed nothing none. What they have
// answered survives a crash and a loss of power: branches run with synchronous=FULL, whatever the pool's setting is.
//
// When SQLite ends a branch's transaction by itself (a conflict clause OR ROLLBACK, RAISE(ROLLBACK), a write interrupted by its own
// context, a full disk), every later statement on its connection fails, and so does Prepare, with [drivers.ErrRolledBack].
//
// While a file holds a prepared branch that no session works on, Begin fails at once, with an error of
// [drivers.ClassLockTimeout]: recovery must finish that branch first. A branch that a live session holds is [drivers.ErrHeld].
//
// # Concurrency
//
// There is one writing branch a file, from its Begin to its end. Those of one process are served first come, first served, whatever pool
// they come from; Begin waits until its context ends. Transactions that use several files in different orders wait for each other
// until a timeout: enlist them in one call, which uses one order.
//
// A branch with [database/sql.TxOptions].ReadOnly reads a snapshot, and takes no lock, unless it is serializable: then it holds the
// file as a writer does, so that what it read stays true until the transaction has committed.
//
// No method needs a second connection. With SetMaxOpenConns(1), Prepared, CommitPrepared and RollbackPrepared wait, as their contexts
// allow, until the open branch gives its connection back. Opening a connection may wait for SQLite's own _busy_timeout, which
// knows no context.
//
// # Limits
//
// Refused with [drivers.ErrNotSupported] at Begin: a database that is not in WAL mode (it is not switched by itself) or not in a file; a
// connection of another Go driver, or one with an authorizer, a commit hook or temporary triggers of its own; a
// program built without cgo, or for other systems than linux and darwin.
//
// Refused at the statement, which SQLite then fails with "not authorized" (the branches implement
// [drivers.Explainer], which tells the reason; package xa asks it): changing the schema, ATTACH, DETACH, VACUUM, ANALYZE, BEGIN, COMMIT and
// ROLLBACK (SAVEPOINT is allowed), most PRAGMAs that change something, writes to temporary tables, attached databases, virtual
// tables (FTS, R-tree) and to tables whose columns take all three names of the rowid. With triggers of the application's in the
// schema and recursive_triggers off, so are writes to tables with a unique index over a generated column and a column that is
// NOT NULL with a default. Open rows at Prepare or CommitOnePhase roll the branch back.
//
// Not stopped by the fence after a crash, but found at the commit where it touches what the branch changes: DDL, PRAGMA user_version and
// application_id, writes to sqlite_sequence. Not found: rows of a table that was made in that time, whose foreign keys refer to
// rows that the branch deletes. Collations and functions that indexes and generated columns use must be registered in the
// recovering process too. A copy of a file has the original's identity.
//
// An isolation level is taken for what it forbids: every branch is serializable on its file. Having triggers changes the order in which
// SQLite visits rows, which is undefined, and which UPDATE OR IGNORE and UPDATE OR FAIL can show. total_changes() and changes() count this package's own
// statements too. Shared cache (cache=shared), exclusive locking mode and blob handles are not tested. The whole change is in
// memory during Prepare.
//
// Making the triggers costs about 80 µs a table and branch on this project's test machine, for all tables of the file.
package sqlite

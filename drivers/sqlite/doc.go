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
// On every table of the file stand triggers, _xa_fence_insert_TABLE and its like, made by the first Begin. They have two uses: on the
// connection of a branch they note the keys of the rows that are touched, and for everybody else they are the fence (below). They call
// SQLite's own function char, which this package replaces on the connections of its process (and which does for all other calls what
// SQLite's does), so that programs that know nothing of xasql can run them too.
//
// Begin takes the file's write lock (BEGIN IMMEDIATE). Prepare reads the rows that were touched as they are now, undoes the transaction,
// writes the rows as a record into the tables _xa_prepared and _xa_redo, and commits that: the branch is prepared. Without ever giving the
// write lock to anybody else it then begins the transaction that applies the record and removes it, up to the COMMIT. That COMMIT is phase two.
//
// While the process lives, others find the file locked, and wait as for any writer; readers go on, and see what was. If it dies,
// the lock is gone, but the record is there. From then on the fence keeps writers out: the triggers fail every write while there is a record,
// also those of the sqlite3 command line. Recovery applies or removes the record. It first compares every row
// with what it was, so what went around the fence is found ([ErrChanged]), and never overwritten.
//
// The outcomes of the last 1000 prepared branches stay in _xa_outcome: who asks again gets a proven answer.
//
// # What it adds to a file
//
// The tables _xa_identity, _xa_prepared, _xa_redo and _xa_outcome, and the fence's triggers: three a table, one more where the
// application has triggers of its own, and one where a key without rowid has a default. Names that begin with _xa_ are reserved. [Remove] takes all of it out again.
//
// To plain writers a trigger costs about 0.3 µs a row, and some µs a statement. A branch of one row costs about 35 µs of
// processor time more than a plain transaction when it is committed in one phase, and about 200 µs and a second sync in two, however many tables
// there are. Its keys are noted in one phase too: only at the end does the manager know that the branch is the only one. A
// statement over very many rows runs at a third of its plain speed, since any trigger costs more than SQLite's own work on a row.
//
// # Failure
//
// Prepare and Commit each cost one sync of the file, CommitOnePhase one, a branch that changed nothing none. What they have
// answered survives a crash and a loss of power: branches run with synchronous=FULL, whatever the pool's setting is.
//
// When SQLite ends a branch's transaction by itself (a conflict clause OR ROLLBACK, RAISE(ROLLBACK), a write interrupted by its own
// context, a full disk), every later statement on its connection fails, and so does Prepare, with [drivers.ErrRolledBack].
//
// While a file holds a prepared branch that no session works on, Begin waits for recovery to finish that one, as its context allows. The error at the
// end of the wait names the branch, and is of [drivers.ClassLockTimeout]. Where its connection is the only one that this process has to the
// file, it waits for a second only, because recovery may be waiting for that very connection. A branch that a live session holds
// is [drivers.ErrHeld].
//
// # Concurrency
//
// There is one writing branch a file, from its Begin to its end. Those of one process are served first come, first served, whatever pool
// they come from; Begin waits until its context ends. Transactions that use several files in different orders wait for each other
// until a timeout: enlist them in one call, which uses one order.
//
// Against writers in other processes there is no queue, only SQLite's lock. Begin asks for it within each millisecond, and so gets in between the
// transactions of a program that writes without a pause. The other way round, plain writers sleep between their tries, longer and longer (SQLite's busy
// handler): beside branches that follow each other without any pause one waited for some tenths of a second, as it does beside plain
// transactions in a loop. Give them a _busy_timeout of many seconds.
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
// Refused with [drivers.ErrNotSupported] at Begin: a database that is not in WAL mode (it is not switched by itself) or not in a file; a file
// that holds a decision log (its decision could not be written while a branch is prepared); a
// connection of another Go driver, or one with an authorizer, a commit hook or temporary triggers of its own; a
// program built without cgo, or for other systems than linux and darwin.
//
// Refused at the statement, which SQLite then fails with "not authorized" (the branches implement
// [drivers.Explainer], which tells the reason; package xa asks it): changing the schema, ATTACH, DETACH, VACUUM, ANALYZE, BEGIN, COMMIT and
// ROLLBACK (SAVEPOINT is allowed), most PRAGMAs that change something, writes to temporary tables, attached databases, virtual
// tables other than FTS3, FTS4 and R-tree, and to tables whose columns take all three names of the rowid. With triggers of the application's in the
// schema and recursive_triggers off, so are writes to tables with a unique index over a generated column and a column that is
// NOT NULL with a default. Open rows at Prepare or CommitOnePhase roll the branch back. So do, at Prepare, rows that violate their own unique index,
// which SQLite leaves where a trigger's RAISE(IGNORE) keeps a row that REPLACE was to remove.
//
// FTS5 (a build tag of the Go driver's) is refused because it can't be captured: it writes its pages out at every savepoint, a trigger on them makes SQLite set a
// savepoint for that write, and so on without an end. An FTS5 table that triggers keep for an ordinary one makes writes to that one
// refused as well: keep it up to date outside of the branch. FTS4 works, but writes its segments more often than in a plain transaction.
//
// Not stopped by the fence after a crash, but found at the commit where it touches what the branch changes ([ErrChanged]): DDL, PRAGMA user_version and
// application_id, writes to sqlite_sequence and to virtual tables, rows of new tables that refer to rows which the branch deletes (if it ran with
// foreign_keys on). Collations and functions that indexes and generated columns use must be registered in the
// recovering process too. A copy of a file has the original's identity.
//
// An isolation level is taken for what it forbids: every branch is serializable on its file. Having triggers changes the order in which
// SQLite visits rows, which is undefined, and which UPDATE OR IGNORE and UPDATE OR FAIL can show; and it takes one of the 1000 levels to which triggers may
// nest. total_changes() and changes() count this package's own statements too. Shared cache (cache=shared), exclusive locking mode and blob handles
// are not tested. The whole change is in memory during Prepare.
//
// Where the schema has triggers of the application's, or virtual tables, some of their tables need temporary triggers, which cost about 80 µs a table
// and branch on this project's test machine: those with unique indexes (REPLACE), those with triggers of their own, and shadow tables.
package sqlite

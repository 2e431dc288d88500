// Package postgres is the driver for PostgreSQL 13 and later (tested with 15, 17 and 18): PREPARE TRANSACTION, COMMIT PREPARED and
// ROLLBACK PREPARED, under identifiers that begin with "xasql.". It needs the standard library alone, and works
// over pgx's stdlib and lib/pq.
//
//	db, err := sql.Open("pgx", os.Getenv("ORDERS_URL"))
//	// ...
//	orders := drivers.Resource{Name: "orders", DB: db, Driver: postgres.New()}
//
// The server must have max_prepared_transactions set, 0 being its default: to at least the number of connections
// that run global transactions. [Driver.Check] tells.
//
// # Failure
//
// An error that the server answered wraps the client library's own, for errors.As. A connection that broke, or
// was closed because a context ended, leaves open what the server did: such an error is none of package
// drivers' errors, and never driver.ErrBadConn, which would invite somebody to send the statement again. It is
// still the context's error.
//
// PREPARE and COMMIT are guarded: in a transaction that has failed, or that the application has ended by a
// statement of its own, they vote no, where PostgreSQL itself would answer with success. The first is
// [drivers.ErrRolledBack]. An application that sent COMMIT on a branch's connection gets [drivers.ErrCommitted] from
// Prepare, CommitOnePhase and Rollback: that part can't be undone. After its own ROLLBACK the error is none of package
// drivers': the branch was rolled back, but statements sent since then have taken effect outside it.
//
// A prepared branch that somebody else finished is looked up by its transaction ID (pg_xact_status), so Commit
// and Rollback of it tell its true outcome. From an XID alone that can't be done: [Driver.CommitPrepared] then
// returns [drivers.ErrUnknownXID]. The branch gives its ID, with the cluster and the timeline in which it has a meaning, as
// evidence, and with that [Driver.Outcome] can tell, also after crashes of the server.
//
// # Concurrency
//
// A [Driver] has no state. Each prepared transaction occupies one of the server's
// max_prepared_transactions, over all its databases.
//
// # Limits
//
// PostgreSQL refuses to prepare a transaction that has used a temporary table or another temporary object,
// LISTEN, UNLISTEN or NOTIFY, a cursor WITH HOLD, an exported snapshot, a foreign table of postgres_fdw, or one
// advisory lock both for the session and for the transaction. Prepare votes no with
// [drivers.ErrNotSupported]. The same work is possible in a transaction of one branch, which isn't prepared.
//
// A branch that only read votes read-only, and is ended by COMMIT before the others have decided: its NOTIFY is
// delivered, and its LISTEN takes effect, even if the global transaction rolls back afterwards. A
// branch under serializable isolation, or that holds any lock but those of plain reading (LOCK TABLE, SELECT
// FOR UPDATE, an advisory lock even of the session), is prepared like one that wrote.
//
// As with any transaction of PostgreSQL's, what belongs to the session outlives the branch on its connection: SET
// without LOCAL (undone by a rollback, but not by a rollback after Prepare), session advisory locks, prepared
// statements, sequences' values. While a branch is active, SHOW xasql.branch tells its name. COMMIT, ROLLBACK, PREPARE
// TRANSACTION, RESET ALL and SET TRANSACTION DEFERRABLE must not be sent in a branch; savepoints may be.
//
// Only the role that prepared a transaction, or a superuser, can finish it: run recovery as the
// application's role. A forgotten one holds its locks, and keeps VACUUM from cleaning up the whole server, until somebody
// finishes it. It can be finished from its own database only, and is not part of a dump.
//
// After a failover to a standby, or a recovery from an archive, the outcome of an earlier branch can't be proven any more, as the transaction's ID may
// be another's by now. Nor can it once the server has forgotten it, after VACUUM has frozen all transactions of
// its time. A copy of a server's files that is older than the branch, and is started as if it had crashed, is not told from the
// original: there another transaction of the same ID passes for the branch.
//
// What is prepared survives the server's crash; it survives the loss of the server only on a synchronous
// standby. Changes of a prepared branch that somebody commits become visible one database after the other.
//
// With lib/pq a call whose context ends waits until the server has answered the cancel request; when the
// network is dead, that is as long as the operating system's TCP timeout. pgx returns at once.
package postgres

// Package sqllog is the decision log in tables of a database, which any number of processes on any number of machines share.
//
//	db, err := sql.Open("pgx", os.Getenv("LOG_URL"))
//	if err != nil {
//		return err
//	}
//	log, err := sqllog.Open(ctx, db, sqllog.Postgres, nil)
//	if err != nil {
//		return err
//	}
//	defer log.Close()
//	manager, err := xa.Open(ctx, xa.Config{Log: log, Resources: resources})
//
// Open makes the tables (xasql_log, xasql_decision, xasql_resource, xasql_member, xasql_claim, xasql_note) where there are none; [Schema]
// prints the statements for those who make tables otherwise, and who give the application no right to. The database may be a resource as
// well, and db its pool: the log needs nothing that a prepared branch can hold. A file of SQLite can't be both.
//
// # Failure
//
// A decision is a row under a unique key: whoever inserts first is right. What Decide acknowledged is as durable as a commit of
// that database: the log sets its own connections to wait for the disk, whatever the role, the account or the DSN says, and Open refuses a
// server whose settings would let a crash of the machine lose a commit.
//
// A connection that breaks while a decision is on its way says nothing of the decision. The log takes another connection, and
// inserts the same again: the unique key makes the database wait for the lost statement if that still runs, so that the second
// answer is certain. Only when no connection can be had within ten seconds is the outcome unknown; the log then goes on
// asking beside, and takes later decisions as before. An INSERT that failed on a connection that still answers is a definite no, after a few
// attempts; so is one that could not be sent.
//
// Settle is noted a moment later, together with what else was settled meanwhile: a crash may leave decisions unsettled,
// which recovery settles again.
//
// # Concurrency
//
// All methods are safe for concurrent use, in one process and in many. Decisions that are made while one is written go
// together afterwards, as one statement. The log keeps two connections of the pool for itself (with SQLite one): decisions go over the
// first, and wait for nothing else; leases are renewed, and everything else is done, over the second. So a pool full of branches that wait for Decide
// does not keep it waiting. A connection that broke is replaced at once, also when the pool is full: its limit is then lifted for that moment. A
// pool limited to fewer than three (with SQLite two) is refused.
//
// # Limits
//
// The log's tables are found by the connection's search path, its database, or its file: all who share the log must come to
// the same tables. Between the log and a server there must be no pooler that exchanges the session's server connection from
// statement to statement, or sends reads to a replica.
//
// A server that fails over to a replica, and a database that is restored from a copy, may have lost decisions, and nothing tells: PostgreSQL must replicate
// synchronously (synchronous_standby_names), and a restored log must not be opened while branches of later transactions are prepared.
//
// Leases run by the clock of the database: one that is set back keeps dead members alive for so much longer, and one that is set forward
// lets members lose what they have in hand. No outcome hangs on that.
//
// IDs and names of resources have at most 255 bytes, the names of one decision's resources 60,000 in all; times are kept in microseconds. Evidence of
// more than 60,000 bytes is not kept.
package sqllog

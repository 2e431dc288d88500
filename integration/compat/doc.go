// Package compat shows applications of the wild taking part in global transactions unchanged. Each of its directories holds a small bank on
// one library, written as that library's users write, with its own models, queries and transaction helper: not a line of
// it knows xasql, and a test holds it to that.
//
//	databasesql  no bank: the manager's handle compared with a plain one, call by call, on servers
//	sqlc         generated code (sqlc.dev), on a *sql.DB, on a *sql.Tx by WithTx, and on an xa.Branch as its DBTX
//	sqlx         github.com/jmoiron/sqlx: Beginx, NamedExec, StructScan, Preparex
//	gorm         gorm.io/gorm: DB.Transaction, nested ones, prepared statements, the migrator
//	bun          github.com/uptrace/bun: RunInTx, nested
//	ent          entgo.io/ent: generated code, Tx and hooks
//	pgxpool      native pgx: one pool shared with the manager, and Batch, CopyFrom and own types inside a global transaction
//
// This package is what they share: [Run] opens two databases, wraps them in an xa.Manager, makes a bank on each
// Manager.DB, and transfers money from one to the other: with a commit, a rollback by an error of the caller's, a rollback by the library's own
// transaction, and killed before and after the decision. [Each] is for what one library alone has.
//
// One library's tests, or all of them on servers that are started once, run by
//
//	go -C integration/compat test ./gorm
//	go -C integration/compat test .
//
// After a change to a schema or a query of sqlc's or ent's, generate.sh makes their code again; generate.sh -check tells whether it is stale.
//
// The servers are those of package engines: see there for what happens without them.
package compat

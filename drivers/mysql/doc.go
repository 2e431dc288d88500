// Package mysql is the driver for MySQL (8.0.29 and later) and MariaDB (10.5.2 and later), by their XA statements, over
// pools of github.com/go-sql-driver/mysql:
//
//	db, err := sql.Open("mysql", dsn)
//	// ...
//	resource := drivers.Resource{Name: "orders", DB: db, Driver: mysql.New()}
//
// On MySQL the pool's user needs XA_RECOVER_ADMIN, without which it can't see what is prepared:
//
//	GRANT XA_RECOVER_ADMIN ON *.* TO 'app'@'%'
//
// On MariaDB it should have PROCESS, for the sake of recovery: see Handing over.
//
//	GRANT PROCESS ON *.* TO 'app'@'%'
//
// No setting of the pool is required; parseTime, interpolateParams, multiStatements and the
// character set change nothing here.
//
// A transaction of one branch costs four round trips on MySQL, of several branches five; MariaDB's
// compound statements leave four in both cases. Declared isolation or read-only is one more.
//
// # Failure
//
// Errors are in the contract's terms (drivers.ErrUnknownXID and so on), and wrap the server's *mysql.MySQLError. They
// never match database/sql/driver.ErrBadConn: a connection that broke is mysql.ErrInvalidConn, and says nothing of what the
// server did.
//
// The server condemns a whole branch at a deadlock (1213), at 1020 under MariaDB's innodb_snapshot_isolation, and at a lock timeout if
// innodb_rollback_on_timeout is set. It then refuses every further statement, and Prepare and CommitOnePhase answer ErrRolledBack, whether
// or not the application saw the error. By default a lock timeout (1205) undoes its statement only: an application that goes on
// commits the rest, as in any transaction.
//
// A context that ends while a statement runs makes go-sql-driver close the connection. The server undoes a branch that was not
// prepared when it notices, which can take some seconds; until then the XID is in use.
//
// # Concurrency
//
// As package drivers says: the driver is safe for concurrent use, a branch is not.
//
// Rows. Their reader must be done before the branch ends: go-sql-driver can send a statement while rows are unread, and then takes
// them for the answer. Package xa closes them.
//
// # Limits
//
// Sessions. On MariaDB, and on MySQL with xa_detach_on_prepare=OFF, a prepared branch belongs to its session, and others
// get ErrHeld until that has ended. A server that is not told of its client's end, because the network or the machine died, waits for
// a TCP timeout. So there a branch's session also holds the user-level lock "xasql:" and a hash of the XID (GET_LOCK), by
// which EndSession, in any process, finds it and kills it. An application that calls RELEASE_ALL_LOCKS in a branch gives that up.
//
// XA statements. An application must not send any itself: one that ends its branch that way writes outside it from then
// on. The server refuses BEGIN, COMMIT, ROLLBACK, DDL, LOCK TABLES and all else that commits implicitly, with 1399; savepoints
// work.
//
// Tables. Only InnoDB's are transactional. A change to a table of another engine (MyISAM, Aria, MEMORY) is made at once, and no rollback
// undoes it. MySQL refuses temporary tables in a branch (4091) unless xa_detach_on_prepare is OFF.
//
// Reading. A branch that only reads is prepared like any other, unless sql.TxOptions.ReadOnly declared it: no server tells a plain user
// whether a transaction changed anything. Such a branch does not survive a server's crash; CommitPrepared then returns ErrUnknownXID
// though nothing was lost. So declare it. MariaDB also rolls it back when its session ends, which CommitPrepared takes
// for the success that it is.
//
// Locks. What SELECT ... FOR UPDATE locked stays locked until phase two, on MySQL only if the branch also changed
// something. What FOR SHARE or LOCK IN SHARE MODE locked, MariaDB gives up at XA PREPARE. Serializable isolation holds on MariaDB; on MySQL it is
// refused with ErrNotSupported, also where it is the session's default, because what a branch that changed nothing has read is given up
// at XA PREPARE.
//
// Binary log. A MySQL server that writes one loses at a crash the prepared branches that are not in it. Begin refuses sessions with
// sql_log_bin=0; the server's own --binlog-do-db and --binlog-ignore-db only the Checker can see. MariaDB keeps such branches.
//
// Handing over. MariaDB lets others finish a branch while the session that prepared it is ending, a moment before InnoDB has it: it answers OK, forgets the XID,
// and leaves the change and its locks as they are until the server starts again (10.11 and 11.8). InnoDB shows by its transaction when it has it, to users with
// PROCESS: for those, CommitPrepared, RollbackPrepared and Prepared look there, at most half a second long. They answer ErrHeld, or mark the
// branches as held, while a session that has left the process list still has a transaction, or one is being killed. A user without PROCESS sees
// its own sessions alone: then they look for those, and take half a second, which is long, and proves nothing. The same
// goes where another program reads information_schema.innodb_trx ten times a second or more, or the server has 8000 transactions: it does not answer
// anew then, or not in full. So grant PROCESS to the user that recovers. An application that calls RELEASE_ALL_LOCKS gives this up, too.
//
// A branch that is gone. Neither server can prove what became of a branch that it does not know any more: ErrUnknownXID, which a coordinator must take for
// a possible loss, never for a success.
//
// Identity. Identify gives MySQL's server_uuid. MariaDB has nothing of the kind: ErrNotSupported.
//
// Format ids. The servers refuse two branches that differ in their format id alone, and MariaDB would finish one for the other.
// So Begin takes drivers.FormatID only, and CommitPrepared and RollbackPrepared look first whether the server
// lists exactly the XID that they were given.
package mysql

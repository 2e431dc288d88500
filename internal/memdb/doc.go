// Package memdb is a transactional database in memory, for tests of the commit protocol. A [DB] gives real
// [database/sql.DB] pools and a [drivers.Driver] over them, tells each two-phase call as one line of text,
// and fails, hangs, crashes and loses replies on demand.
//
//	orders := memdb.New("orders")
//	pool := orders.Pool()
//	defer pool.Close()
//	orders.OnEvent(record)
//	orders.Fail(memdb.OpCommit, memdb.Fault{After: true, Lost: true})
//	// … run a global transaction over drivers.Resource{Name: "orders", DB: pool, Driver: orders.Driver()} …
//	got, _ := orders.Get("k")
//
// # Statements
//
// Words are separated by blanks; a word that is ? stands for the next argument.
//
//	PUT k v     writes a row
//	INSERT k v  writes a row, and fails with a constraint's error where there is one already
//	DEL k       deletes a row
//	GET k       one row with the value, or none
//	COUNT       one row with the number of rows
//	POISON      fails, and aborts the transaction on the engine's own account (rule P10)
//
// A write locks its row until the transaction is finished, prepared or not; a second writer waits, for as long as its
// context lasts. Reads see what is committed and the transaction's own writes. Levels: read committed (the default),
// repeatable read (a snapshot; a write to a row that has changed since aborts), serializable (reads lock too).
// A deadlock is not noticed: it lasts until a context ends.
//
// # Failure
//
// Data outlive [DB.Crash], as do prepared branches; nothing is ever written to a disk. What a caller did that would
// harm a real pool (a connection pooled inside a transaction, a statement beside a prepared branch) is
// kept in [DB.Violations].
//
// # Concurrency
//
// A DB is used by many goroutines at once. It starts none and reads no clock but time.Now, and its waits are on channels: it works
// in a testing/synctest bubble, if made there and its pools are closed there.
package memdb

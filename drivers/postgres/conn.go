package postgres

import "fmt"

// Conn calls f with the client library's own connection, pgx's *pgx.Conn: batches, CopyFrom and pgx's own types then work inside
// a global transaction. c is a branch (*xa.Branch), or any *sql.Conn, one of xa.Manager.DB's handle among them.
//
//	err := postgres.Conn(branch, func(conn *pgx.Conn) error {
//		_, err := conn.CopyFrom(ctx, pgx.Identifier{"orders"}, columns, rows)
//		return err
//	})
//
// A service on pgxpool gives the manager the same pool: stdlib.OpenDBFromPool(pool) is the resource's DB.
//
// The connection is f's until f returns; f must have closed its rows and batches by then. On a branch it must not end the transaction,
// and so not begin one either: the Commit of what conn.Begin returned is a COMMIT of the whole branch, which Prepare and CommitOnePhase
// find, but can't undo. SAVEPOINT may be sent as a statement. Code
// that takes a pgx.Tx, or begins transactions itself, gets one for the branch, whose own Begin is a savepoint, and which is not to be
// rolled back itself:
//
//	tx, err := conn.BeginTx(ctx, pgx.TxOptions{BeginQuery: "SELECT", CommitQuery: "SELECT"})
//
// Errors are f's own, and the branch's where it has ended.
//
// It works with every database/sql driver whose connection has a method Conn that returns a C, as pgx's stdlib does. With another it
// is an error, and f is not called.
func Conn[C any](c interface {
	Raw(f func(driverConn any) error) error
}, f func(conn C) error) error {
	return c.Raw(func(driverConn any) error {
		switch own := driverConn.(type) {
		case interface{ Conn() C }:
			return f(own.Conn())
		case interface {
			Raw(f func(driverConn any) error) error
		}: // that of a handle, which leads to another
			return Conn(own, f)
		}
		return fmt.Errorf("postgres: the connection is a %T, which has no %T below it: open the pool with pgx's stdlib", driverConn, *new(C))
	})
}

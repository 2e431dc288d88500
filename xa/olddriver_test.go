package xa_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

// The drivers below have what database/sql asks of a driver, and little else: what they lack database/sql makes up for. A query
// returns its arguments as one text.

type oldConn struct{}

func (oldConn) Prepare(query string) (driver.Stmt, error) { return oldStmt{query}, nil }
func (oldConn) Close() error                              { return nil }
func (oldConn) Begin() (driver.Tx, error)                 { return oldTx{}, nil }

type oldTx struct{}

func (oldTx) Commit() error   { return nil }
func (oldTx) Rollback() error { return nil }

type oldStmt struct{ query string }

func (oldStmt) Close() error    { return nil }
func (s oldStmt) NumInput() int { return strings.Count(s.query, "?") }

func (s oldStmt) Exec(args []driver.Value) (driver.Result, error) {
	if s.query == "break" {
		return nil, driver.ErrBadConn
	}
	return driver.RowsAffected(len(args)), nil
}

func (s oldStmt) Query(args []driver.Value) (driver.Rows, error) {
	return &oldRows{text: fmt.Sprintf("%s %T%v", s.query, args, args)}, nil
}

type oldRows struct{ text string }

func (*oldRows) Columns() []string { return []string{"args"} }
func (*oldRows) Close() error      { return nil }

func (r *oldRows) Next(dest []driver.Value) error {
	if r.text == "" {
		return io.EOF
	}
	dest[0], r.text = r.text, ""
	return nil
}

// directConn executes without preparing.
type directConn struct{ oldConn }

func (directConn) Exec(query string, args []driver.Value) (driver.Result, error) {
	return oldStmt{query}.Exec(args)
}

func (directConn) Query(query string, args []driver.Value) (driver.Rows, error) {
	return oldStmt{"direct " + query}.Query(args)
}

// checkingConn knows types of its own, drops an argument, and leaves the rest to database/sql.
type checkingConn struct{ directConn }

type ownType struct{ n int }

type dropped struct{}

func (checkingConn) CheckNamedValue(v *driver.NamedValue) error {
	switch x := v.Value.(type) {
	case ownType:
		v.Value = fmt.Sprintf("own %d at %d", x.n, v.Ordinal)
		return nil
	case dropped:
		return driver.ErrRemoveArgument
	}
	return driver.ErrSkip
}

func (checkingConn) Ping(context.Context) error { return errors.New("no answer") }

// convertingConn's statements convert by column.
type convertingConn struct{ oldConn }

func (convertingConn) Prepare(query string) (driver.Stmt, error) {
	return convertingStmt{oldStmt{query}}, nil
}

type convertingStmt struct{ oldStmt }

func (convertingStmt) ColumnConverter(i int) driver.ValueConverter {
	return []driver.ValueConverter{driver.Bool, driver.String}[i%2]
}

// connectorOf opens connections of one of these kinds.
type connectorOf struct{ conn driver.Conn }

func (c connectorOf) Connect(context.Context) (driver.Conn, error) { return c.conn, nil }
func (c connectorOf) Driver() driver.Driver                        { return nil }

// noXA is an engine's driver that does nothing.
type noXA struct{}

func (noXA) Begin(context.Context, *sql.Conn, drivers.XID, *sql.TxOptions) (drivers.Branch, error) {
	return noXA{}, nil
}
func (noXA) Prepared(context.Context, *sql.DB) ([]drivers.Prepared, error) { return nil, nil }
func (noXA) CommitPrepared(context.Context, *sql.DB, drivers.XID) error    { return nil }
func (noXA) RollbackPrepared(context.Context, *sql.DB, drivers.XID) error  { return nil }
func (noXA) Prepare(context.Context) (drivers.Vote, error)                 { return drivers.VotePrepared, nil }
func (noXA) Commit(context.Context) error                                  { return nil }
func (noXA) CommitOnePhase(context.Context) error                          { return nil }
func (noXA) Rollback(context.Context) error                                { return nil }

// calls makes the calls that differ between such drivers, and returns what came of them.
func calls(ctx context.Context, db *sql.DB) []string {
	var told []string
	tell := func(what any, err error) { told = append(told, fmt.Sprint(what, " ", err)) }
	ended, cancel := context.WithCancel(ctx)
	cancel()
	conn, err := db.Conn(ctx)
	if err != nil {
		return []string{err.Error()}
	}
	defer conn.Close()
	for _, args := range [][]any{{1, "x"}, {sql.Named("n", 1), 2}, {ownType{7}, "x"}, {dropped{}, ownType{1}, 2}, {"maybe", true}, {sql.NullInt64{}, valuer(3)}, {1}, {struct{}{}, 1}} {
		for _, on := range []interface {
			ExecContext(context.Context, string, ...any) (sql.Result, error)
			QueryRowContext(context.Context, string, ...any) *sql.Row
			PrepareContext(context.Context, string) (*sql.Stmt, error)
		}{db, conn} {
			_, err := on.ExecContext(ctx, "exec ? ?", args...)
			tell("exec", err)
			var s string
			err = on.QueryRowContext(ctx, "query ? ?", args...).Scan(&s)
			tell(s, err)
			stmt, err := on.PrepareContext(ctx, "prepared ? ?")
			tell("prepare", err)
			err = stmt.QueryRowContext(ctx, args...).Scan(&s)
			tell(s, err)
			_, err = stmt.ExecContext(ctx, args...)
			tell("exec prepared", err)
			stmt.Close()
			if _, in := xa.FromContext(ctx); !in { // inside nothing is even looked at under a context that has ended
				_, err = on.ExecContext(ended, "exec ? ?", args...)
				tell("exec, ended", err)
			}
		}
	}
	tell("ping", db.PingContext(ctx))
	return told
}

// valuer is a type of the application's.
type valuer int

func (v valuer) Value() (driver.Value, error) { return fmt.Sprint("valued ", int(v)), nil }

// What a driver lacks is made up for as database/sql does it, in and outside of a transaction.
func TestDriversOfTheSimplestKind(t *testing.T) {
	for name, kind := range map[string]driver.Conn{"old": oldConn{}, "direct": directConn{}, "checking": checkingConn{}, "converting": convertingConn{}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				plain, m, pool := openOld(t, kind)
				want := calls(t.Context(), plain)
				var wantIn []string
				for _, line := range want {
					if !strings.HasPrefix(line, "exec, ended") {
						wantIn = append(wantIn, line)
					}
				}
				compare := func(where string, want, got []string) {
					for i := range want {
						if i >= len(got) || got[i] != want[i] {
							t.Fatalf("%s: call %d: got %q, want %q", where, i, got[min(i, len(got)-1)], want[i])
						}
					}
				}
				compare("outside", want, calls(t.Context(), m.DB("old")))
				tx, err := m.Begin(t.Context(), nil)
				if err != nil {
					t.Fatal(err)
				}
				compare("inside", wantIn, calls(xa.NewContext(t.Context(), tx), m.DB("old")))
				if err := tx.Rollback(t.Context()); err != nil {
					t.Error(err)
				}
				for _, opts := range []*sql.TxOptions{nil, {Isolation: sql.LevelSerializable}, {ReadOnly: true}} {
					a, wantErr := plain.BeginTx(t.Context(), opts)
					b, gotErr := m.DB("old").BeginTx(t.Context(), opts)
					if fmt.Sprint(gotErr) != fmt.Sprint(wantErr) {
						t.Errorf("BeginTx %v: got %v, want %v", opts, gotErr, wantErr)
					}
					if wantErr == nil {
						a.Commit()
						b.Commit()
					}
				}
				if n := pool.Stats().InUse; n != 0 {
					t.Errorf("%d connections were not given back", n)
				}
			})
		})
	}
}

// The arguments of a statement that waited, and got a connection that was made meanwhile, are checked by the driver all the same.
func TestArgumentsAreCheckedLateWhereTheyMustBe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, m, _ := openOld(t, checkingConn{})
		db := m.DB("old")
		db.SetMaxOpenConns(1)
		for want, args := range map[string][]any{"direct query ? ? []driver.Value[own 7 at 1 3]": {ownType{7}, dropped{}, int8(3)}, "unsupported type": {make(chan int), 1}} {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			answer := make(chan string, 1)
			go func() {
				var s string
				err := db.QueryRowContext(t.Context(), "query ? ?", args...).Scan(&s)
				answer <- fmt.Sprint(s, err)
			}()
			synctest.Wait()
			if _, err := conn.ExecContext(t.Context(), "break"); !errors.Is(err, driver.ErrBadConn) {
				t.Fatalf("the test shows nothing: %v", err)
			}
			if got := <-answer; !strings.Contains(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

// openOld returns a plain handle, and a manager with the resource "old" and its pool.
func openOld(t *testing.T, kind driver.Conn) (plain *sql.DB, m *xa.Manager, pool *sql.DB) {
	t.Helper()
	plain, pool = sql.OpenDB(connectorOf{kind}), sql.OpenDB(connectorOf{kind})
	m, err := xa.Open(t.Context(), xa.Config{
		Log:       logtest.NewMemory(),
		Resources: []xa.Resource{{Name: "old", DB: pool, Driver: noXA{}}},
		Logger:    slog.New(slog.NewTextHandler(io.Discard, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { errors.Join(m.Close(), pool.Close(), plain.Close()) })
	return plain, m, pool
}

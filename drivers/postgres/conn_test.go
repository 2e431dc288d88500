package postgres_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/xasql/xasql/drivers/postgres"
)

// What pgx's stdlib offers is what Conn asks for.
var _ interface{ Conn() *pgx.Conn } = (*stdlib.Conn)(nil)

// clientConn stands for the client library's own connection, wrapping for what a database/sql driver has around it.
type clientConn struct{ name string }

type wrapping struct{ own *clientConn }

func (w wrapping) Conn() *clientConn { return w.own }

func (wrapping) Prepare(string) (driver.Stmt, error) { return nil, errors.New("not needed") }
func (wrapping) Begin() (driver.Tx, error)           { return nil, errors.New("not needed") }
func (wrapping) Close() error                        { return nil }

// rawer passes a connection, as a branch or a *sql.Conn does.
type rawer struct{ conn any }

func (r rawer) Raw(f func(any) error) error { return f(r.conn) }

type connector struct{}

func (connector) Connect(context.Context) (driver.Conn, error) {
	return wrapping{&clientConn{"pooled"}}, nil
}
func (connector) Driver() driver.Driver { return nil }

func TestConnGivesTheClientLibrarysConnection(t *testing.T) {
	db := sql.OpenDB(connector{})
	defer db.Close()
	pooled, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pooled.Close()
	why := errors.New("f's own")
	for want, c := range map[string]interface{ Raw(func(any) error) error }{
		"branch": rawer{wrapping{&clientConn{"branch"}}},
		"handle": rawer{rawer{wrapping{&clientConn{"handle"}}}},
		"pooled": pooled,
	} {
		var got string
		err := postgres.Conn(c, func(conn *clientConn) error { got = conn.name; return why })
		if got != want || !errors.Is(err, why) {
			t.Errorf("got %q and %v, want %q", got, err, want)
		}
	}
	err = postgres.Conn(pooled, func(*pgx.Conn) error { t.Error("f was called"); return nil })
	if err == nil || !strings.Contains(err.Error(), "postgres_test.wrapping, which has no *pgx.Conn below it") {
		t.Errorf("another client library: %v", err)
	}
}

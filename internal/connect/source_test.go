package connect

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// refusing is a server that answers every connection with an error.
type refusing struct {
	driver.Connector
	err error
}

func (r refusing) Connect(context.Context) (driver.Conn, error) { return nil, r.err }

func TestRefusalOfAPasswordTellsWhereItCameFrom(t *testing.T) {
	wrong := fmt.Errorf("connect: %w", &pgconn.PgError{Code: "28P01", Message: "password authentication failed"})
	for _, c := range []struct {
		err  error
		told bool
	}{
		{wrong, true},
		{&mysqldriver.MySQLError{Number: 1045, Message: "Access denied for user"}, true},
		{&mysqldriver.MySQLError{Number: 1040, Message: "Too many connections"}, false},
		{&pgconn.PgError{Code: "3D000", Message: "no such database"}, false},
		{errors.New("connection refused"), false},
	} {
		_, err := telling{refusing{err: c.err}, "the password is from X"}.Connect(t.Context())
		if !errors.Is(err, c.err) || strings.Contains(err.Error(), "(the password is from X)") != c.told {
			t.Errorf("%v: got %v", c.err, err)
		}
	}
}

func TestSourceOfAPasswordFollowsTheOrderOfItsSearch(t *testing.T) {
	t.Setenv("XA_ORDERS_PASSWORD", "")
	t.Setenv("MYSQL_PWD", "")
	bare, given := account{name: "orders"}, account{name: "orders", password: "geheim", file: "/run/secrets/orders"}
	want := func(who account, inURL bool, found, want string) {
		t.Helper()
		got := who.source(inURL, "MYSQL_PWD", "~/.my.cnf", found)
		if !strings.HasSuffix(got, want) || strings.Contains(got, "geheim") {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	want(bare, false, "", "no password was found: set XA_ORDERS_PASSWORD")
	want(bare, false, "geheim", "from ~/.my.cnf")
	t.Setenv("MYSQL_PWD", "geheim")
	want(bare, false, "geheim", "from MYSQL_PWD")
	want(given, false, "geheim", "from /run/secrets/orders")
	t.Setenv("XA_ORDERS_PASSWORD", "geheim")
	want(given, false, "geheim", "from XA_ORDERS_PASSWORD")
	want(given, true, "geheim", "in its URL")
}

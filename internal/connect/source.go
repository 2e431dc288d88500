package connect

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"

	mysqldriver "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
)

// telling adds to a server's refusal of a password where that came from, and never what it is.
type telling struct {
	driver.Connector
	source string
}

// Connect implements driver.Connector.
func (t telling) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := t.Connector.Connect(ctx)
	if err != nil && refusesPassword(err) {
		return nil, fmt.Errorf("%w (%s)", err, t.source)
	}
	return conn, err
}

func refusesPassword(err error) bool {
	var pg *pgconn.PgError
	var my *mysqldriver.MySQLError
	switch {
	case errors.As(err, &pg):
		return pg.Code == "28P01" // invalid_password
	case errors.As(err, &my):
		return my.Number == 1045 || my.Number == 1698 // ER_ACCESS_DENIED_ERROR, and where no password was sent
	}
	return false
}

// source tells where the password came from that was found in the order of its search.
func (a account) source(inURL bool, variable, file, password string) string {
	switch {
	case inURL:
		return "the password is the one in its URL"
	case os.Getenv(passwordVariable(a.name)) != "":
		return "the password is from " + passwordVariable(a.name)
	case a.password != "":
		return "the password is from " + a.file
	case os.Getenv(variable) != "":
		return "the password is from " + variable
	case password != "":
		return "the password is from " + file
	}
	return "no password was found: set " + passwordVariable(a.name)
}

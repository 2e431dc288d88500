package drivertest

import (
	"context"
	"database/sql/driver"
	"errors"
	"regexp"
	"slices"
	"testing"

	"github.com/xasql/xasql/internal/memdb"
)

// memConnector makes memdb's connections for NewLossy.
type memConnector struct{ drv driver.Driver }

func (c memConnector) Connect(context.Context) (driver.Conn, error) { return c.drv.Open("") }
func (c memConnector) Driver() driver.Driver                        { return c.drv }

func TestLossyExecutesTheStatementWhoseReplyItLoses(t *testing.T) {
	d := memdb.New("orders")
	pool := d.Pool()
	defer pool.Close()
	l := NewLossy(memConnector{pool.Driver()}, regexp.MustCompile("^PUT"))
	defer l.DB.Close()
	conn, err := l.DB.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	sent := l.Lose(func() {
		var v string
		if err := conn.QueryRowContext(t.Context(), "COUNT").Scan(&v); err != nil {
			t.Errorf("a statement that doesn't match: %v", err)
		}
		if _, err := conn.ExecContext(t.Context(), "PUT k v"); !errors.Is(err, driver.ErrBadConn) {
			t.Errorf("the statement answers %v, want driver.ErrBadConn", err)
		}
	})
	if want := []string{"PUT k v"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	if got, _ := d.Get("k"); got != "v" {
		t.Errorf("the statement was not executed: k = %q", got)
	}
}

// On a *sql.DB, database/sql itself sends a statement again: the trap that rule D11 is about.
func TestLossySeesWhatIsSentAgain(t *testing.T) {
	pool := memdb.New("orders").Pool()
	defer pool.Close()
	l := NewLossy(memConnector{pool.Driver()}, regexp.MustCompile("^PUT"))
	defer l.DB.Close()
	sent := l.Lose(func() {
		if _, err := l.DB.ExecContext(t.Context(), "PUT k v"); err != nil {
			t.Errorf("the second time: %v", err)
		}
	})
	if want := []string{"PUT k v", "PUT k v"}; !slices.Equal(sent, want) {
		t.Errorf("sent %q, want %q", sent, want)
	}
	if _, err := l.DB.ExecContext(t.Context(), "PUT k v"); err != nil {
		t.Errorf("a reply was lost outside Lose: %v", err)
	}
}

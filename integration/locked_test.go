package integration

import (
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/integration/engines"
)

// lockedTables asks as the resource's user.
func (w *blockWorld) lockedTables(res drivers.Resource, xid drivers.XID) ([]string, error) {
	w.Helper()
	l, ok := res.Driver.(drivers.Locker)
	if !ok {
		w.Fatal("the driver is no Locker")
	}
	return l.LockedTables(w.Context(), res.DB, xid)
}

// lock leaves a branch in doubt that has changed rows of two tables, and read a third one. Its session has ended.
func (w *blockWorld) lock() drivers.XID {
	w.Helper()
	for _, statement := range []string{"create table stock (id int primary key)", "create table prices (id int primary key)"} {
		mustExec(w, w.res.DB, statement)
	}
	xid := drivers.XID{FormatID: drivers.FormatID, GTRID: "lockinglog.00000000000000000000000001", BQual: "held"}
	conn, err := w.res.DB.Conn(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	b, err := w.res.Driver.Begin(w.Context(), conn, xid, nil)
	if err != nil {
		w.Fatal(err)
	}
	var n int
	if err := conn.QueryRowContext(w.Context(), "select count(*) from prices").Scan(&n); err != nil {
		w.Fatal(err)
	}
	mustExec(w, conn, "insert into stock values (1)")
	mustExec(w, conn, "update held set v = 1 where id = 1")
	if w.server.Engine.Kind == engines.Postgres { // a sequence, an index, and a table that others don't see
		mustExec(w, conn, "create table made_here (id serial primary key)")
	}
	if _, err := b.Prepare(w.Context()); err != nil {
		w.Fatal(err)
	}
	conn.Raw(func(any) error { return driver.ErrBadConn })
	conn.Close()
	w.until("its session has ended", func() bool { return w.finishable(xid) })
	return xid
}

func (w *blockWorld) wantTables(when string, xid drivers.XID) {
	w.Helper()
	got, err := w.lockedTables(w.observer, xid)
	switch w.server.Engine.Kind {
	case engines.MariaDB:
		if !errors.Is(err, drivers.ErrNotSupported) || !strings.Contains(err.Error(), "only while somebody waits for it") {
			w.Errorf("%s: %q, %v", when, got, err)
		}
	case engines.Postgres:
		if want := []string{"public.held", "public.prices", "public.stock"}; err != nil || !slices.Equal(got, want) {
			w.Errorf("%s: %q, %v, want %q", when, got, err, want)
		}
	case engines.MySQL:
		var database string
		if err := w.res.DB.QueryRowContext(w.Context(), "select database()").Scan(&database); err != nil {
			w.Fatal(err)
		}
		if want := []string{database + ".held", database + ".stock"}; err != nil || !slices.Equal(got, want) {
			w.Errorf("%s: %q, %v, want %q", when, got, err, want)
		}
	}
}

// Which tables a branch has locked is what tells an operator whose work it stops. What can't be told is an error that says why, and never none.
func TestLockedTablesAreNamedOrItIsSaidWhyNot(t *testing.T) {
	forEachServer(t, func(w *blockWorld) {
		xid := w.lock()
		w.wantTables("in doubt", xid)
		got, err := w.lockedTables(w.res, xid)
		switch w.server.Engine.Kind {
		case engines.Postgres:
			if err != nil || len(got) != 3 {
				w.Errorf("the ordinary user: %q, %v", got, err)
			}
			elsewhere := w.resource(w.server.URL(""))
			if got, err := w.lockedTables(elsewhere, xid); !errors.Is(err, drivers.ErrNotSupported) || !strings.Contains(err.Error(), "it was prepared in database") {
				w.Errorf("in another database of the cluster: %q, %v", got, err)
			}
		case engines.MySQL:
			if err == nil || !strings.Contains(err.Error(), "grant it PROCESS on *.* and SELECT on performance_schema.*") {
				w.Errorf("the ordinary user: %q, %v, want what to grant", got, err)
			}
			second, _ := w.prepare(2, false)
			for _, x := range []drivers.XID{xid, second} {
				if got, err := w.lockedTables(w.observer, x); !errors.Is(err, drivers.ErrNotSupported) ||
					!strings.Contains(err.Error(), "which of its 2 prepared branches") || !strings.Contains(err.Error(), ".held, ") || !strings.Contains(err.Error(), ".stock") {
					w.Errorf("of one of two branches: %q, %v", got, err)
				}
			}
			w.rollback(second)
		}
		w.rollback(xid)
		for _, res := range []drivers.Resource{w.observer, w.res} {
			if got, err := w.lockedTables(res, xid); err != nil || len(got) != 0 {
				w.Errorf("of a branch that is gone: %q, %v", got, err)
			}
		}
	})
}

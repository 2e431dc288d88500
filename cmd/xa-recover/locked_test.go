package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
)

// locking is a driver that can tell which tables its branches have locked, by the last digit of the transaction's ID.
type locking struct{ drivers.Driver }

func (locking) LockedTables(_ context.Context, _ *sql.DB, xid drivers.XID) ([]string, error) {
	switch id := xid.GTRID; id[len(id)-1] {
	case '1':
		return []string{"public.order\nlines", "public.orders"}, nil
	case '2':
		var tables []string
		for month := range 17 {
			tables = append(tables, fmt.Sprintf("sales.y2026m%02d", month))
		}
		return tables, nil
	case '4':
		return nil, nil
	case '9':
		return nil, errors.New("memdb: another program's")
	}
	return nil, fmt.Errorf("memdb: which tables %s has locked: this user may not see it: grant it SELECT: Error 1142: denied", xid)
}

func TestShowNamesTheTablesThatABranchHasLocked(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.prepare(4, time.Minute, "paris")
	w.locking = true
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.wantStatus(w.run("show", w.id(2)), 3)
	w.wantStatus(w.run("show", w.id(3)), 3)
	w.wantStatus(w.run("show", w.id(4)), 3)
	w.wantStatus(w.run("show", w.id(3), "-o", "json"), 3)
	w.wantStatus(w.run("show", w.id(1), "-o", "json"), 3)
	w.wantStatus(w.run("show", w.id(4), "-o", "json"), 3)
	w.wantStatus(w.run("show", "otherlog.01JD0000000000000000000009"), 0)
	w.wantStatus(w.run("list"), 3)
	w.golden("locked")
}

// Who can't see locks at all lacks the same privilege for both, which is told once.
func TestOneReasonForNotKnowingIsToldOnce(t *testing.T) {
	r := &result{Resources: []resourceResult{{Name: "a",
		Untold:       "mysql: what x/a blocks: this user may not see it: grant it PROCESS on *.*: Error 1227 (42000): Access denied",
		UntoldTables: "mysql: which tables x/a has locked: this user may not see it: grant it PROCESS on *.*: Error 1142 (42000): denied"}, {Name: "b",
		UntoldTables: "mysql: which tables x/b has locked: not supported by the database: MariaDB names none"}}}
	var out strings.Builder
	r.writeUntold(&out)
	want := `For information: what the branches in a hold is not shown: this user may not see it: grant it PROCESS on *.*
For information: which tables the branches in b have locked is not shown: not supported by the database: MariaDB names none
`
	if out.String() != want {
		t.Errorf("got %s", out.String())
	}
}

package main

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/xasql/xasql/drivers"
)

// blocking is a driver that can tell what its branches stand in the way of.
type blocking struct{ drivers.Driver }

func (blocking) Blocking(_ context.Context, _ *sql.DB, xid drivers.XID) (locks, waiting int, xminAge int64, err error) {
	switch xid.GTRID[len(xid.GTRID)-1] {
	case '1':
		return 3, 1, 1200, nil
	case '2':
		return 1, 0, 0, nil
	}
	return 9, 9, 9, errors.New("memdb: permission denied")
}

func TestListTellsWhatABranchStandsInTheWayOf(t *testing.T) {
	w := newWorld(t)
	w.doubt()
	w.blocking = true
	w.wantStatus(w.run("list", "--all"), 3)
	w.wantStatus(w.run("show", w.id(1)), 3)
	w.wantStatus(w.run("show", w.id(1), "-o", "json"), 3)
	w.wantStatus(w.run("show", w.id(3)), 3)
	w.golden("blocking")
}

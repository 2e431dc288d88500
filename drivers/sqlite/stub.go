//go:build !cgo || !(linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"runtime"

	"github.com/xasql/xasql/drivers"
)

// driver refuses everything.
type driver struct{}

func (driver) refuse(op string) error {
	return fmt.Errorf("sqlite: %s: %w on %s/%s as this program was built: build it for linux or darwin with CGO_ENABLED=1",
		op, drivers.ErrNotSupported, runtime.GOOS, runtime.GOARCH)
}

func (d driver) Begin(context.Context, *sql.Conn, drivers.XID, *sql.TxOptions) (drivers.Branch, error) {
	return nil, d.refuse("begin")
}

func (d driver) Prepared(context.Context, *sql.DB) ([]drivers.Prepared, error) {
	return nil, d.refuse("list")
}

func (d driver) CommitPrepared(context.Context, *sql.DB, drivers.XID) error {
	return d.refuse("commit")
}

func (d driver) RollbackPrepared(context.Context, *sql.DB, drivers.XID) error {
	return d.refuse("rollback")
}

func (d driver) Check(context.Context, *sql.DB) ([]drivers.Finding, error) {
	return []drivers.Finding{{Severity: drivers.Fatal, Problem: d.refuse("check").Error(),
		Hint: "build for linux or darwin with CGO_ENABLED=1"}}, nil
}

func (d driver) Identify(context.Context, *sql.DB) (string, error) { return "", d.refuse("identify") }

func (d driver) Outcome(context.Context, *sql.DB, drivers.XID, string) (committed, proven bool, err error) {
	return false, false, d.refuse("outcome")
}

func (driver) Classify(error) drivers.Class { return drivers.ClassOther }

//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/xasql/xasql/drivers"
)

var _ drivers.Blocker = driver{}

// Blocking implements [drivers.Blocker]. Of a branch that is prepared it can only say what goes for each: see the error, which is
// [drivers.ErrNotSupported].
func (d driver) Blocking(ctx context.Context, db *sql.DB, xid drivers.XID) (locks, waiting int, xminAge int64, err error) {
	listed, err := d.Prepared(ctx, db)
	if err != nil {
		return 0, 0, 0, err
	}
	for _, p := range listed {
		if p.Raw == "" && p.XID == xid {
			return 0, 0, 0, fmt.Errorf("sqlite: what %s blocks: %w: no lock is counted, since its branch keeps all other writers out of the whole file; readers go on, and who waits, SQLite does not tell",
				xid, drivers.ErrNotSupported)
		}
	}
	return 0, 0, 0, nil
}

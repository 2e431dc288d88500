//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// Remove takes everything that this package has put into a file out of it again: the fence's triggers and the tables that begin with
// _xa_, with the identity and the outcomes of earlier branches in them. The next Begin would put it there again. When it returns nil, that is durable.
//
// A file that holds a prepared branch is refused with an error that names it and is [drivers.ErrHeld], and changed in nothing: finish
// the branch first. Remove waits for branches that are at work, as ctx allows, and a Begin that waits for it starts anew.
// Calling it twice is harmless.
func Remove(ctx context.Context, db *sql.DB) error {
	err := driver{}.use(ctx, db, func(s session) error {
		// First by reading: a live session that holds a prepared branch in another process has the write lock.
		err := s.patiently(ctx, s.refuseInDoubt)
		if err != nil {
			return err
		}
		if xid := turns.holder(identify(s.raw.GetFilename("main"))); xid != "" {
			return fmt.Errorf("%w: %s is at work: wait for its end", drivers.ErrHeld, xid)
		}
		return s.transact(ctx, s.remove)
	})
	if err != nil {
		err = fmt.Errorf("sqlite: remove the fence: %w", err)
	}
	return err
}

func (s session) refuseInDoubt() error {
	has, err := s.holdsRecords()
	if err == nil && has {
		if err = s.inDoubt(); errors.Is(err, errInDoubt) {
			err = fmt.Errorf("%w: %w", drivers.ErrHeld, err)
		}
	}
	return err
}

// remove drops what is ours, inside a transaction.
func (s session) remove() error {
	if err := s.refuseInDoubt(); err != nil {
		return err
	}
	rows, err := s.query("SELECT type, name FROM main.sqlite_schema WHERE type IN ('trigger', 'table') ORDER BY type DESC")
	if err != nil {
		return err
	}
	for _, r := range rows {
		kind, name := text(r[0]), text(r[1])
		if strings.HasPrefix(strings.ToLower(name), prefix) {
			if err := s.exec("DROP " + strings.ToUpper(kind) + " main." + quote(name)); err != nil {
				return err
			}
		}
	}
	return nil
}

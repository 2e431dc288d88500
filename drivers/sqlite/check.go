//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/xasql/xasql/drivers"
)

// Check implements [drivers.Checker].
func (d driver) Check(ctx context.Context, db *sql.DB) ([]drivers.Finding, error) {
	var all []drivers.Finding
	add := func(severity drivers.Severity, hint, problem string, args ...any) {
		all = append(all, drivers.Finding{Severity: severity, Problem: fmt.Sprintf(problem, args...), Hint: hint})
	}
	err := d.use(ctx, db, func(s session) error {
		return s.patiently(ctx, func() error {
			all = nil
			return s.check(add)
		})
	})
	if errors.Is(err, drivers.ErrNotSupported) {
		add(drivers.Fatal, "open the pool with github.com/mattn/go-sqlite3", "%v", err)
		err = nil
	}
	if err != nil {
		return nil, fmt.Errorf("sqlite: check: %w", err)
	}
	slices.SortStableFunc(all, func(a, b drivers.Finding) int { return int(b.Severity) - int(a.Severity) })
	return all, nil
}

func (s session) check(add func(severity drivers.Severity, hint, problem string, args ...any)) error {
	if s.raw.GetFilename("main") == "" {
		add(drivers.Fatal, "use a file", "the database is in memory or temporary: a prepared branch would be lost with it")
		return nil
	}
	mode, err := s.value("PRAGMA main.journal_mode")
	if err != nil {
		return err
	}
	if text(mode) != "wal" {
		add(drivers.Fatal, walHint, "the database's journal mode is %s", text(mode))
	}
	if s.readOnly() {
		add(drivers.Fatal, "open it with mode=rw, as a user who may write the file and its directory", "the database can't be written")
	}
	level, err := s.number("PRAGMA main.synchronous")
	if err != nil {
		return err
	}
	if level == 0 {
		add(drivers.Warning, "set _synchronous=NORMAL or FULL", "synchronous is OFF: a power failure during a plain transaction may damage the file, and the branches in it (branches themselves always use FULL)")
	}
	if hasAuthorizer(s.raw) {
		add(drivers.Fatal, "register none on this pool", "the pool's connections have an authorizer, whose place a branch needs")
	}
	version, err := s.number("PRAGMA main.schema_version")
	if err != nil {
		return err
	}
	sc, err := s.readSchema(version)
	if err != nil {
		return err
	}
	if sc.log {
		add(drivers.Fatal, logHint, "the file holds a decision log (table %s)", logTable)
	}
	for _, name := range slices.Sorted(maps.Keys(sc.cannot)) {
		if why := sc.cannot[name]; why != shadow {
			add(drivers.Warning, "write to it outside of global transactions", "table %q can't be written in a branch: %s", name, why)
		}
	}
	return nil
}

// Identify implements [drivers.Identifier]. The identity is a random text in the file, which is made by the first Identify or Begin, and
// which a copy of the file shares. A file that has none and can't be written is [drivers.ErrNotSupported].
func (d driver) Identify(ctx context.Context, db *sql.DB) (string, error) {
	var id string
	err := d.use(ctx, db, func(s session) error {
		if s.raw.GetFilename("main") == "" {
			return fmt.Errorf("%w: an in-memory or temporary database has no identity: use a file", drivers.ErrNotSupported)
		}
		err := s.patiently(ctx, func() (err error) {
			id, err = s.identity()
			return err
		})
		if err != nil || id != "" {
			return err
		}
		err = s.transact(ctx, func() (err error) {
			id, err = s.makeIdentity()
			return err
		})
		if isReadOnly(err) {
			return fmt.Errorf("%w: the file has no identity yet, and can't be written: %w", drivers.ErrNotSupported, err)
		}
		return err
	})
	if err != nil {
		return "", fmt.Errorf("sqlite: identify: %w", err)
	}
	return id, nil
}

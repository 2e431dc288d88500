//go:build cgo && (linux || darwin)

package sqlite

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
)

// apply does what the branch's record says, and removes the record, inside the current transaction, which its caller commits or
// undoes. ErrChanged: the database is no longer what it was.
func (s session) apply(xid drivers.XID) error {
	rec, err := s.load(xid)
	if err != nil {
		return err
	}
	if err := s.verify(rec); err != nil {
		return err
	}
	before, err := s.orphans(rec)
	if err != nil {
		return err
	}
	if err := s.applyRecord(xid, rec); err != nil {
		return err
	}
	after, err := s.orphans(rec)
	if err == nil && after > before {
		err = fmt.Errorf("%w: %d rows of tables that are new would refer to rows that it removes", ErrChanged, after-before)
	}
	return err
}

// orphans counts the rows whose foreign keys refer to nothing, in tables that refer to one that the branch changes. Where the schema is as it
// was, none can be new: the fence has kept rows out. A table that was made in the meantime has no fence.
func (s session) orphans(rec record) (n int64, err error) {
	version, err := s.number("PRAGMA main.schema_version")
	if err != nil || !rec.ForeignKeys || version == rec.SchemaVersion {
		return 0, err
	}
	changed := map[string]bool{}
	for _, t := range rec.Tables {
		changed[strings.ToLower(t.Table.Name)] = true
	}
	rows, err := s.query(`SELECT DISTINCT l.name, f."table" FROM pragma_table_list l, pragma_foreign_key_list(l.name, 'main') f WHERE l.schema = 'main' AND l.type = 'table'`)
	if err != nil {
		return 0, err
	}
	counted := map[string]bool{}
	for _, r := range rows {
		child, parent := text(r[0]), text(r[1])
		if !changed[strings.ToLower(parent)] || counted[child] {
			continue
		}
		counted[child] = true
		some, err := s.number("SELECT count(*) FROM pragma_foreign_key_check(?, 'main')", child)
		if err != nil {
			return 0, fmt.Errorf("check the foreign keys of %q: %w", child, err)
		}
		n += some
	}
	return n, nil
}

// applyRecord does it without a look at what the database is.
func (s session) applyRecord(xid drivers.XID, rec record) (err error) {
	// The rows are final: nothing may fire, cascade or be checked again.
	restore, err := s.bridge.raw()
	if err != nil {
		return err
	}
	ignore, err := s.number("PRAGMA ignore_check_constraints; PRAGMA ignore_check_constraints=1")
	if err != nil {
		return errors.Join(err, restore())
	}
	defer func() {
		err = errors.Join(err, restore(), s.exec(fmt.Sprintf("PRAGMA ignore_check_constraints=%d", ignore)))
	}()
	for _, t := range rec.Tables {
		if err := s.applyTable(t); err != nil {
			return err
		}
	}
	if err := s.applyState(rec); err != nil {
		return err
	}
	return s.forget(xid, committed)
}

func (s session) load(xid drivers.XID) (rec record, err error) {
	rows, err := s.query("SELECT format, record FROM main._xa_prepared WHERE xid = ?", xid.String())
	if err != nil {
		return rec, err
	}
	if len(rows) == 0 {
		return rec, drivers.ErrUnknownXID
	}
	if f := integer(rows[0][0]); f != formatVersion {
		return rec, fmt.Errorf("%w: its record has format %d, this version knows %d: use the version of xasql that prepared it", drivers.ErrNotSupported, f, formatVersion)
	}
	if err := json.Unmarshal([]byte(text(rows[0][1])), &rec); err != nil {
		return rec, fmt.Errorf("its record is damaged: %w", err)
	}
	for _, t := range rec.Tables {
		if t.Table == nil {
			return rec, errors.New("its record is damaged: a table without a name")
		}
	}
	return rec, nil
}

// verify checks that what the branch changes is as it was before the branch. The fence sees to that; a program can go around it
// by DDL and by PRAGMA.
func (s session) verify(rec record) error {
	version, err := s.number("PRAGMA main.schema_version")
	if err != nil {
		return err
	}
	for _, part := range rec.Tables {
		t := part.Table
		if version != rec.SchemaVersion {
			sql, err := s.value("SELECT sql FROM main.sqlite_schema WHERE type = 'table' AND name = ?", t.Name)
			if err != nil {
				return err
			}
			if text(sql) != t.SQL {
				return fmt.Errorf("%w: table %q was altered or dropped", ErrChanged, t.Name)
			}
		}
		n, err := s.number(fmt.Sprintf("SELECT count(*) FROM main._xa_redo r WHERE r.n BETWEEN ? AND ? AND r.base IS NOT (SELECT _xa_hash(%s) FROM main.%s t WHERE %s)",
			t.image("t."), quote(t.Name), t.is("t.", "r.rid", "r.key")), part.First, part.Last)
		if err != nil {
			return err
		}
		if n > 0 {
			return fmt.Errorf("%w: %d of the rows of %q that it changes are not as they were", ErrChanged, n, t.Name)
		}
	}
	now, err := s.state(rec.Sequence != nil)
	if err != nil {
		return err
	}
	if rec.Sequence != nil && !slices.EqualFunc(now.sequence, rec.Sequence.Before, bytes.Equal) {
		return fmt.Errorf("%w: sqlite_sequence is not as it was", ErrChanged)
	}
	for _, h := range rec.Header {
		if i := slices.Index(headerPragmas(), h.Pragma); i < 0 || now.header[i] != h.Before {
			return fmt.Errorf("%w: %s is not %d, as it was", ErrChanged, h.Pragma, h.Before)
		}
	}
	return nil
}

// applyTable first deletes all rows that are stale, and then inserts those that are new, so that unique values may have
// moved between rows in any way.
func (s session) applyTable(part tableRecord) error {
	t := part.Table
	cols, values := t.Cols, decoded("image", len(t.Cols))
	id, stale := quote(t.Rowid), "rid"
	if t.Rowid != "" {
		cols = append([]string{t.Rowid}, cols...)
		values = "rid"
		if len(t.Cols) > 0 {
			values += ", " + decoded("image", len(t.Cols))
		}
	} else {
		id = "(" + list(t.Key, func(k keyColumn) string { return quote(k.Name) + " COLLATE " + quote(k.Collate) }) + ")"
		stale = decoded("key", len(t.Key))
	}
	names := list(cols, quote)
	between := fmt.Sprintf("n BETWEEN %d AND %d", part.First, part.Last)
	err := s.exec(fmt.Sprintf("DELETE FROM main.%s WHERE %s IN (SELECT %s FROM main._xa_redo WHERE %s AND base IS NOT NULL)", quote(t.Name), id, stale, between))
	if err == nil {
		err = s.exec(fmt.Sprintf("INSERT OR ABORT INTO main.%s(%s) SELECT %s FROM main._xa_redo WHERE %s AND image IS NOT NULL ORDER BY n", quote(t.Name), names, values, between))
	}
	if e := (sqlite3.Error{}); errors.As(err, &e) && e.Code == sqlite3.ErrConstraint {
		return fmt.Errorf("%w: its rows do not fit into %q any more: %w", ErrChanged, t.Name, err)
	}
	if err != nil {
		return fmt.Errorf("table %q: %w", t.Name, err)
	}
	// What can't be stored again to the last bit must not be promised.
	n, err := s.number(fmt.Sprintf("SELECT count(*) FROM main._xa_redo r WHERE r.n BETWEEN ? AND ? AND r.image IS NOT NULL AND r.image IS NOT (SELECT %s FROM main.%s t WHERE %s)",
		t.image("t."), quote(t.Name), t.is("t.", "r.rid", "r.key")), part.First, part.Last)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d rows of %q read otherwise than they were written", n, t.Name)
	}
	return err
}

func (s session) applyState(rec record) error {
	if rec.Sequence != nil {
		if err := s.exec("DELETE FROM main.sqlite_sequence"); err != nil {
			return err
		}
		for _, row := range rec.Sequence.After {
			if err := s.exec("INSERT INTO main.sqlite_sequence(rowid, name, seq) SELECT "+decoded("?1", 3), row); err != nil {
				return err
			}
		}
	}
	for _, h := range rec.Header {
		if slices.Contains(headerPragmas(), h.Pragma) {
			if err := s.exec(fmt.Sprintf("PRAGMA main.%s=%d", h.Pragma, h.After)); err != nil {
				return err
			}
		}
	}
	return nil
}

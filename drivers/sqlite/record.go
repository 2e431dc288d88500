//go:build cgo && (linux || darwin)

package sqlite

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xasql/xasql/drivers"
)

// record is what a file keeps of a prepared branch, next to the row images in _xa_redo: enough to apply it in another process, and
// to notice when the database is no longer what it was.
type record struct {
	SchemaVersion int64          `json:"schema_version"`
	Tables        []tableRecord  `json:"tables,omitempty"`
	Sequence      *sequences     `json:"sqlite_sequence,omitempty"`
	Header        []headerRecord `json:"header,omitempty"`
	ForeignKeys   bool           `json:"foreign_keys,omitempty"` // the branch was held to them
}

// tableRecord is a table's part: the rows of _xa_redo from First to Last.
type tableRecord struct {
	Table *table `json:"table"`
	First int64  `json:"first"`
	Last  int64  `json:"last"`
}

// sequences is the content of sqlite_sequence before and after. It is always kept whole, because inserting
// rows again moves it.
type sequences struct {
	Before [][]byte `json:"before"`
	After  [][]byte `json:"after"`
}

// headerRecord is a value in the file's header.
type headerRecord struct {
	Pragma string `json:"pragma"`
	Before int64  `json:"before"`
	After  int64  `json:"after"`
}

// redo is a row that the branch touched, as it is to be. A nil image: it is deleted.
type redo struct {
	table  int
	rowid  any    // of a table with rowids: an int64
	key    []byte // of a table without
	before []byte
	image  []byte
	same   bool // as one before it
}

// read reads the images of rows that may have been touched, in the order of tables and keys, each row once.
func (s session) read(tables []*table, rows []touched) ([]redo, error) {
	slices.SortFunc(rows, func(a, b touched) int {
		switch {
		case a.table != b.table:
			return a.table - b.table
		case a.rowid < b.rowid:
			return -1
		case a.rowid > b.rowid:
			return 1
		}
		return strings.Compare(a.key, b.key)
	})
	rows = slices.Compact(rows)
	var all []redo
	for len(rows) > 0 {
		n := rows[0].table
		if n < 0 || n >= len(tables) {
			return nil, fmt.Errorf("captured a row of table %d, of %d", n, len(tables))
		}
		end := slices.IndexFunc(rows, func(r touched) bool { return r.table != n })
		if end < 0 {
			end = len(rows)
		}
		some, err := s.readTouched(tables[n], rows[:end])
		if err != nil {
			return nil, fmt.Errorf("read the changed rows of %q: %w", tables[n].Name, err)
		}
		all, rows = append(all, some...), rows[end:]
	}
	return all, nil
}

// readTouched reads the rows of one table. Keys that differ, but that the table's collation takes for equal, always lead to the
// same row: the first of them stands for all.
func (s session) readTouched(t *table, rows []touched) ([]redo, error) {
	st := statement{sql: t.selectImage()}
	all := make([]redo, len(rows))
	for i, row := range rows {
		all[i] = redo{table: row.table, rowid: row.rowid}
		if t.Rowid == "" {
			all[i].rowid, all[i].key = nil, []byte(row.key)
		}
		st.add(all[i].row())
	}
	first := map[string]int{} // by the key as it is stored
	err := s.run(st, func(run int, r row) {
		all[run].image = blob(r[0])
		if t.Rowid == "" {
			key := string(blob(r[1]))
			if _, ok := first[key]; !ok {
				first[key] = run
			}
			all[run].same = first[key] != run
		}
	})
	return slices.DeleteFunc(all, func(r redo) bool { return r.same }), err
}

// row is what the row is found by.
func (r redo) row() any {
	if r.key != nil {
		return r.key
	}
	return r.rowid
}

// selectImage is a query for a row's image and its key's, by rowid or by a key's image.
func (t *table) selectImage() string {
	id := "NULL"
	if t.Rowid == "" {
		id = "_xa_encode(" + t.key("t.") + ")"
	}
	return fmt.Sprintf("SELECT %s, %s FROM main.%s t WHERE %s", t.image("t."), id, quote(t.Name), t.is("t.", "?1", "?1"))
}

// changed reads what the rows were before the branch, and returns those that it changed.
func (s session) changed(tables []*table, rows []redo) ([]redo, error) {
	for rest := rows; len(rest) > 0; {
		n := rest[0].table
		end := slices.IndexFunc(rest, func(r redo) bool { return r.table != n })
		if end < 0 {
			end = len(rest)
		}
		st := statement{sql: tables[n].selectImage()}
		for _, r := range rest[:end] {
			st.add(r.row())
		}
		if err := s.run(st, func(run int, r row) { rest[run].before = blob(r[0]) }); err != nil {
			return nil, fmt.Errorf("read the rows of %q as they were: %w", tables[n].Name, err)
		}
		rest = rest[end:]
	}
	return slices.DeleteFunc(rows, func(r redo) bool {
		return (r.before == nil) == (r.image == nil) && bytes.Equal(r.before, r.image)
	}), nil
}

// state is what a branch may change besides rows.
type state struct {
	sequence [][]byte
	header   []int64
}

func headerPragmas() []string { return []string{"user_version", "application_id"} }

func (s session) state(sequence bool) (st state, err error) {
	var query strings.Builder
	for _, name := range headerPragmas() {
		query.WriteString("PRAGMA main." + name + ";")
	}
	if sequence {
		st.sequence = [][]byte{}
		query.WriteString("SELECT _xa_encode(rowid, name, seq) FROM main.sqlite_sequence ORDER BY rowid")
	}
	rows, err := s.query(query.String())
	if err != nil {
		return st, err
	}
	for i, r := range rows {
		if i < len(headerPragmas()) {
			st.header = append(st.header, integer(r[0]))
		} else {
			st.sequence = append(st.sequence, blob(r[0]))
		}
	}
	return st, nil
}

// write puts the branch's record into the file, inside the current transaction. What the file knows of an XID must be about one branch.
func (s session) write(xid drivers.XID, rec *record, tables []*table, rows []redo) error {
	fate, err := s.value("DELETE FROM main._xa_redo; SELECT outcome FROM main._xa_outcome WHERE xid = " + literal(xid.String()))
	if err != nil {
		return err
	}
	if fate != nil {
		return fmt.Errorf("the XID was used before: its branch was %s", text(fate))
	}
	st := statement{sql: "INSERT INTO main._xa_redo(n, rid, key, base, image) VALUES (?1, ?2, ?3, _xa_hash(?4), ?5)"}
	for i, r := range rows {
		n := int64(i + 1)
		st.add(n, r.rowid, r.key, r.before, r.image)
		last := len(rec.Tables) - 1
		if last < 0 || rec.Tables[last].Table != tables[r.table] {
			rec.Tables = append(rec.Tables, tableRecord{Table: tables[r.table], First: n})
			last++
		}
		rec.Tables[last].Last = n
	}
	if err := s.run(st, nil); err != nil {
		return err
	}
	js, err := json.Marshal(rec)
	if err != nil {
		return err
	}
	return s.exec("INSERT INTO main._xa_prepared(xid, format, at, record) VALUES (?, ?, ?, ?)",
		xid.String(), int64(formatVersion), time.Now().UTC().Format(time.RFC3339Nano), string(js))
}

// forget removes the record and keeps its outcome, inside the current transaction. The last 1000 outcomes
// are kept: they prove what became of a branch to those who ask again.
func (s session) forget(xid drivers.XID, outcome string) error {
	x := literal(xid.String())
	return s.exec("DELETE FROM main._xa_prepared WHERE xid = " + x + "; DELETE FROM main._xa_redo;" +
		"INSERT INTO main._xa_outcome(xid, outcome) VALUES (" + x + ", " + literal(outcome) + ");" +
		"DELETE FROM main._xa_outcome WHERE rowid <= (SELECT max(rowid) - 1000 FROM main._xa_outcome)")
}

const (
	prepared   = "prepared"
	committed  = "committed"
	rolledBack = "rolled back"
)

// fate returns what the file knows of a branch: prepared, its outcome, or "".
func (s session) fate(xid drivers.XID) (string, error) {
	v, err := s.value("SELECT '"+prepared+"' FROM main._xa_prepared WHERE xid = ?1 UNION ALL SELECT outcome FROM main._xa_outcome WHERE xid = ?1", xid.String())
	return text(v), err
}

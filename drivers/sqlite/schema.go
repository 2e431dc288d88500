//go:build cgo && (linux || darwin)

package sqlite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// schema is what a branch must know of a file's tables. It holds for one value of schema_version.
type schema struct {
	version  int64
	tables   []*table
	views    []string
	virtual  []string          // virtual tables that may be written
	sequence bool              // there is a sqlite_sequence
	log      bool              // there is a decision log
	triggers bool              // there are triggers that are not ours
	objects  map[string]bool   // the names of our own tables and triggers, in lower case
	fences   []fence           // the fence's triggers that are there
	complete bool              // nothing of ours is missing
	cannot   map[string]string // why a table can't be written in a branch
}

// table is an ordinary table. What has a JSON name is part of a branch's record.
type table struct {
	Name  string      `json:"name"`
	SQL   string      `json:"sql"`
	Rowid string      `json:"rowid,omitempty"` // a name for the rowid; empty: the table has none
	Key   []keyColumn `json:"key,omitempty"`   // the primary key of a table without rowids
	Cols  []string    `json:"cols"`            // all columns that are stored, but for the rowid's other name

	shadow   bool // of a virtual table: it bears no fence
	triggers bool // the application has triggers on it

	all    []column // all columns
	unique []uniqueIndex
	opaque bool // what REPLACE deletes can't be looked up
}

// keyColumn is a column of a key, and how the key compares it.
type keyColumn struct {
	Name    string `json:"name"`
	Collate string `json:"collate"`
}

type column struct {
	name      string
	dflt      string // of a column that is NOT NULL: what REPLACE puts for NULL
	generated bool
}

// uniqueIndex is an index other than the key by which rows are known.
type uniqueIndex struct {
	terms []indexTerm
	where string // of a partial index
}

// indexTerm is a column of the table, or else an expression.
type indexTerm struct {
	column  string
	expr    string
	collate string
}

// readSchema reads the schema in the current transaction.
func (s session) readSchema(version int64) (*schema, error) {
	sc := &schema{version: version, objects: map[string]bool{}, cannot: map[string]string{}}
	master, err := s.query("SELECT type, name, coalesce(sql, ''), tbl_name FROM main.sqlite_schema")
	if err != nil {
		return nil, err
	}
	sqls, triggers := map[string]string{}, map[string]bool{} // of tables and indexes; the tables that have some
	for _, r := range master {
		kind, name, sql := text(r[0]), text(r[1]), text(r[2])
		switch {
		case strings.HasPrefix(name, prefix):
			sc.objects[strings.ToLower(name)] = true
			if kind == "trigger" {
				sc.fences = append(sc.fences, fence{name, sql})
			}
		case kind == "trigger":
			sc.triggers = true
			triggers[strings.ToLower(text(r[3]))] = true
		case kind == "view":
			sc.views = append(sc.views, name)
		default:
			sqls[name] = sql
			sc.log = sc.log || kind == "table" && strings.EqualFold(name, logTable)
		}
	}
	list, err := s.query("SELECT name, type, wr FROM pragma_table_list WHERE schema = 'main' ORDER BY name")
	if err != nil {
		return nil, err
	}
	opaque := sc.readVirtual(list, sqls)
	for _, r := range list {
		name, kind, withoutRowid := text(r[0]), text(r[1]), integer(r[2]) != 0
		isShadow := kind == "shadow" || slices.ContainsFunc(sc.virtual, func(v string) bool { return isShadowOf(v, name) })
		switch {
		case name == "sqlite_sequence":
			sc.sequence = true
		case kind == "virtual", kind == "view", reserved(name):
		case isShadow && slices.ContainsFunc(opaque, func(v string) bool { return strings.HasPrefix(name, v+"_") }):
			sc.cannot[name] = shadow
		default:
			t := &table{Name: name, SQL: sqls[name], shadow: isShadow, triggers: triggers[strings.ToLower(name)]}
			if err := s.readTable(sc, t, withoutRowid, sqls); err != nil {
				return nil, fmt.Errorf("table %q: %w", name, err)
			}
			sc.tables = append(sc.tables, t)
		}
	}
	return sc, nil
}

// logTable is the table of a decision log of package txlog/sqllog.
const logTable = "xasql_decision"

const logHint = "put the log in a file of its own: a prepared branch holds the file's only write lock, and the decision could not be written"

// mostKey columns of a key, twice, are the arguments that every build of SQLite passes to a function.
const mostKey = 49

// prefix begins the name of everything that this package makes in a file.
const prefix = "_xa_"

func reserved(name string) bool {
	return strings.HasPrefix(name, prefix) || strings.HasPrefix(name, "sqlite_")
}

func (s session) readTable(sc *schema, t *table, withoutRowid bool, sqls map[string]string) error {
	indexes, err := s.query("SELECT name, origin FROM pragma_index_list(?, 'main') WHERE \"unique\"", t.Name)
	if err != nil {
		return err
	}
	primary := "" // the index of the primary key; a rowid's other name has none
	for _, r := range indexes {
		if text(r[1]) == "pk" {
			primary = text(r[0])
		}
	}
	if err := s.readColumns(sc, t, withoutRowid, primary); err != nil {
		return err
	}
	for _, r := range indexes {
		name := text(r[0])
		terms, err := s.query("SELECT cid, name, coll FROM pragma_index_xinfo(?, 'main') WHERE key ORDER BY seqno", name)
		if err != nil {
			return err
		}
		if withoutRowid && name == primary {
			for _, k := range terms {
				t.Key = append(t.Key, keyColumn{text(k[1]), text(k[2])})
			}
			if len(t.Key) > mostKey {
				sc.cannot[t.Name] = fmt.Sprintf("its primary key has more than %d columns", mostKey)
			}
			continue
		}
		u := uniqueIndex{}
		exprs, where := splitIndex(sqls[name])
		u.where = where
		for i, k := range terms {
			term := indexTerm{collate: text(k[2])}
			if integer(k[0]) >= 0 {
				term.column = text(k[1])
			} else if i < len(exprs) {
				term.expr = exprs[i]
			} else {
				return fmt.Errorf("the definition of index %q can't be read", name)
			}
			u.terms = append(u.terms, term)
		}
		t.unique = append(t.unique, u)
	}
	t.opaque = t.isOpaque()
	return nil
}

func (s session) readColumns(sc *schema, t *table, withoutRowid bool, primary string) error {
	const generated = 2 // or more, in column hidden
	cols, err := s.query(`SELECT name, upper(type), "notnull", dflt_value, pk, hidden FROM pragma_table_xinfo(?, 'main') ORDER BY cid`, t.Name)
	if err != nil {
		return err
	}
	names, key, alias := map[string]bool{}, 0, ""
	for _, r := range cols {
		c := column{name: text(r[0]), generated: integer(r[5]) >= generated}
		if integer(r[2]) != 0 {
			c.dflt = text(r[3])
		}
		names[strings.ToLower(c.name)] = true
		if integer(r[4]) > 0 {
			key++
			if text(r[1]) == "INTEGER" {
				alias = c.name
			}
		}
		t.all = append(t.all, c)
	}
	if !withoutRowid {
		if key == 1 && alias != "" && primary == "" {
			t.Rowid = alias
		} else {
			for _, name := range []string{"oid", "_rowid_", "rowid"} {
				if !names[name] {
					t.Rowid = name
				}
			}
		}
		if t.Rowid == "" {
			sc.cannot[t.Name] = "its columns take all three names of the rowid: give it an INTEGER PRIMARY KEY"
		}
	}
	for _, c := range t.all {
		if !c.generated && c.name != t.Rowid {
			t.Cols = append(t.Cols, c.name)
		}
	}
	return nil
}

// isOpaque tells the one shape of table for which the look-ups of capture.go may miss a row: a unique index that rests on a
// generated column, which may rest on a column whose default REPLACE puts for NULL.
func (t *table) isOpaque() bool {
	var generated []string
	dflt := false
	for _, c := range t.all {
		if c.generated {
			generated = append(generated, c.name)
		}
		dflt = dflt || c.dflt != ""
	}
	for _, u := range t.unique {
		text := u.where
		for _, term := range u.terms {
			text += "\n" + term.column + "\n" + term.expr
		}
		if dflt && slices.ContainsFunc(generated, func(name string) bool { return mentions(text, name) }) {
			return true
		}
	}
	return false
}

// mentions reports whether a name may occur in an expression.
func mentions(expr, name string) bool {
	if strings.Contains(name, `"`) {
		return true // it may be written in several ways
	}
	return regexp.MustCompile(`(?i)(^|[^\pL\pN_$])` + regexp.QuoteMeta(name) + `([^\pL\pN_$]|$)`).MatchString(expr)
}

// splitIndex returns the terms and the WHERE of a CREATE INDEX statement.
func splitIndex(sql string) (terms []string, where string) {
	depth, start, i := 0, 0, 0
	for ; i < len(sql); i++ {
		switch ch := sql[i]; {
		case strings.IndexByte("'\"`[", ch) >= 0:
			i = skipQuoted(sql, i)
		case strings.HasPrefix(sql[i:], "--"):
			i += strings.IndexByte(sql[i:]+"\n", '\n')
		case strings.HasPrefix(sql[i:], "/*"):
			i += strings.Index(sql[i+2:]+"*/", "*/") + 3
		case ch == '(':
			if depth++; depth == 1 {
				start = i + 1
			}
		case ch == ',' && depth == 1:
			terms, start = append(terms, sql[start:i]), i+1
		case ch == ')':
			if depth--; depth == 0 {
				terms = append(terms, sql[start:i])
				return trimTerms(terms), indexWhere(sql[i+1:])
			}
		}
	}
	return nil, ""
}

// skipQuoted returns the index of the last byte of the quoted text that begins at i.
func skipQuoted(sql string, i int) int {
	end := sql[i]
	if end == '[' {
		end = ']'
	}
	for i++; i < len(sql); i++ {
		if sql[i] != end {
			continue
		}
		if end != ']' && i+1 < len(sql) && sql[i+1] == end {
			i++ // a doubled quote is part of the text
			continue
		}
		break
	}
	return i
}

func trimTerms(terms []string) []string {
	for i, t := range terms {
		t = strings.TrimSpace(t)
		for _, order := range []string{" asc", " desc"} {
			if strings.HasSuffix(strings.ToLower(t), order) {
				t = strings.TrimSpace(t[:len(t)-len(order)])
			}
		}
		terms[i] = t
	}
	return terms
}

func indexWhere(rest string) string {
	rest = strings.TrimSpace(rest)
	if len(rest) > 5 && strings.EqualFold(rest[:5], "where") {
		return rest[5:]
	}
	return ""
}

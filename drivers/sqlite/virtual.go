//go:build cgo && (linux || darwin)

package sqlite

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A virtual table of SQLite's own keeps all that it knows in shadow tables, which are ordinary ones: a branch's record has their rows, and
// recovery needs no module. They bear no fence, because a connection in SQLite's defensive mode must not find triggers on
// them; TEMP triggers note their rows in a branch. What a module keeps in memory is written out before the rows are read (flush), and
// forgotten after they have been changed behind its back (forgetVirtual). R-tree also keeps a blob open until then, which counts as open rows.

// modules are those whose virtual tables a branch may write. FTS5 is not among them: it writes its pages out at every savepoint, a trigger on them
// makes SQLite set a savepoint for that very statement, and so on until the stack is full (measured: SIGSEGV at the first INSERT).
func modules() []string { return []string{"fts3", "fts4", "rtree", "rtree_i32", "geopoly"} }

// shadows are the endings of the names of their shadow tables.
func shadows() []string {
	return []string{"content", "segments", "segdir", "docsize", "stat", "data", "idx", "config", "node", "parent", "rowid"}
}

func isShadowOf(virtual, name string) bool {
	rest, ok := strings.CutPrefix(strings.ToLower(name), strings.ToLower(virtual)+"_")
	return ok && slices.Contains(shadows(), rest)
}

const shadow = "it belongs to a virtual table"

// module returns the module of a virtual table, "" where its definition can't be read.
func module(sql string) string {
	const name = "(\"(\"\"|[^\"])*\"|`(``|[^`])*`|'(''|[^'])*'|\\[[^\\]]*\\]|[^\\s\"'`\\[(]+)"
	m := regexp.MustCompile(`(?is)^create\s+virtual\s+table\s+(if\s+not\s+exists\s+)?` + name + `\s+using\s+(\w+)`).FindStringSubmatch(sql)
	if m == nil {
		return ""
	}
	return strings.ToLower(m[len(m)-1])
}

// readVirtual sorts the virtual tables into those that a branch may write and those that it can't, whose names it returns.
func (sc *schema) readVirtual(list []row, sqls map[string]string) (opaque []string) {
	for _, r := range list {
		name, kind := text(r[0]), text(r[1])
		if kind != "virtual" {
			continue
		}
		if m := module(sqls[name]); slices.Contains(modules(), m) {
			sc.virtual = append(sc.virtual, name)
		} else {
			opaque = append(opaque, name)
			sc.cannot[name] = fmt.Sprintf("it is a virtual table of the module %q, whose changes can't be captured", m)
		}
	}
	return opaque
}

// shadowTriggers are the TEMP triggers of a shadow table.
func (t *table) shadowTriggers(name func(kind string) string) []trigger {
	note := func(rows ...string) string { return "SELECT " + t.note(rows...) + ";" }
	return []trigger{
		{name("insert"), "AFTER INSERT", note("NEW.")},
		{name("update"), "BEFORE UPDATE", note("OLD.", "NEW.")},
		{name("delete"), "BEFORE DELETE", note("OLD.")},
	}
}

// flush makes virtual tables write what they hold back until the transaction's end, while the triggers note it.
func (s session) flush() error {
	s.resume()
	defer s.pause()
	return s.exec("SAVEPOINT xasql_flush; RELEASE xasql_flush")
}

// forgetVirtual makes the connection open its virtual tables anew: nothing that a module keeps in memory may outlive a change that
// it has not made.
func (s session) forgetVirtual() error {
	on, err := s.number("PRAGMA writable_schema")
	if err == nil {
		err = s.exec(fmt.Sprintf("PRAGMA writable_schema=RESET; PRAGMA writable_schema=%d", on))
	}
	return err
}

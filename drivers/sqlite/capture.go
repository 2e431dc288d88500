//go:build cgo && (linux || darwin)

package sqlite

import (
	"fmt"
	"slices"
	"strings"
)

// capture is how a branch gets to know the rows that it touches. The fence's triggers note keys, before the rows change; any superset
// of the changed rows is right, because the rows themselves are read when the branch is prepared. Two things that the application's own
// triggers can bring about escape permanent ones. For these, and for virtual tables, there are TEMP triggers, which nobody else sees, and which SQLite fires before
// those of the file:
//   - a new row whose rowid was not known before, because a RAISE(IGNORE) or RAISE(FAIL) of the application's skipped the fence's
//   - a row that REPLACE deletes: it fires DELETE triggers only with recursive_triggers, which would change what the application's do
type capture struct {
	tables   []*table          // those whose rows are noted, by the number that touched gives
	writable []string          // what else a statement of the branch may write
	cannot   map[string]string // why the rest may not be written
	create   string            // the TEMP triggers
	drop     string
	// recursive: recursive_triggers must be on, so that the rows that REPLACE deletes fire triggers too. That changes nothing
	// else where the fence's are the only triggers.
	recursive bool
}

// newCapture returns what captures the changes to a schema's tables. recursive tells whether recursive_triggers is on already.
func newCapture(sc *schema, recursive bool) *capture {
	c := &capture{cannot: map[string]string{}, writable: slices.Concat([]string{"sqlite_sequence"}, sc.views, sc.virtual)}
	lookUp := !recursive && sc.triggers
	for name, why := range sc.cannot {
		c.cannot[name] = why
	}
	var create, drop strings.Builder
	for _, t := range sc.tables {
		if lookUp && t.opaque {
			c.cannot[t.Name] = "REPLACE may delete rows of it unseen (a unique index over a generated column, a default, and triggers): PRAGMA recursive_triggers=ON before the branch lifts this"
		}
		if c.cannot[t.Name] != "" {
			continue
		}
		for _, tr := range t.captureTriggers(len(c.tables), lookUp) {
			fmt.Fprintf(&create, "CREATE TEMP TRIGGER %s %s ON main.%s BEGIN %s END;\n", tr.name, tr.event, quote(t.Name), tr.body)
			fmt.Fprintf(&drop, "DROP TRIGGER temp.%s;\n", tr.name)
		}
		c.tables = append(c.tables, t)
		c.recursive = c.recursive || !recursive && !sc.triggers && len(t.unique) > 0
	}
	c.create, c.drop = create.String(), drop.String()
	return c
}

type trigger struct{ name, event, body string }

// captureTriggers returns the TEMP triggers that a table needs.
func (t *table) captureTriggers(n int, lookUp bool) (all []trigger) {
	name := func(kind string) string { return fmt.Sprintf("%scapture_%d_%s", prefix, n, kind) }
	if t.shadow {
		all = t.shadowTriggers(name)
	} else if t.triggers {
		all = append(all, trigger{name("insert"), "AFTER INSERT", "SELECT " + t.note("NEW.") + ";"})
		if t.lateKey() {
			all = append(all, trigger{name("update"), "AFTER UPDATE", "SELECT " + t.note("NEW.") + ";"})
		}
	}
	if lookUp && len(t.unique) > 0 {
		var b strings.Builder
		for _, u := range t.unique {
			fmt.Fprintf(&b, "SELECT %s FROM %s WHERE %s;", t.note(""), quote(t.Name), t.conflict(u))
		}
		all = append(all,
			trigger{name("replace_insert"), "BEFORE INSERT", b.String()},
			trigger{name("replace_update"), "BEFORE UPDATE", b.String()})
	}
	return all
}

// note is an expression that makes a branch's connection note rows, given by what stands before their columns' names. Anywhere
// else it is a text that is not empty: see f_char in bridge.c.
func (t *table) note(rows ...string) string {
	return fmt.Sprintf("char('xasql', %s, %s)", literal(t.Name), list(rows, func(row string) string {
		if t.Rowid != "" {
			return row + quote(t.Rowid)
		}
		return list(t.Key, func(k keyColumn) string {
			if dflt := t.defaultOf(k.Name); row == "NEW." && dflt != "" {
				return fmt.Sprintf("coalesce(NEW.%s, (%s\n))", quote(k.Name), dflt) // what REPLACE will put for NULL
			}
			return row + quote(k.Name)
		})
	}))
}

// defaultOf returns what REPLACE puts for NULL in a column, "" where it puts nothing.
func (t *table) defaultOf(name string) string {
	for _, c := range t.all {
		if c.name == name && !c.generated {
			return c.dflt
		}
	}
	return ""
}

// lateKey reports whether REPLACE may give a row a key that is not known before, since the default is evaluated again.
func (t *table) lateKey() bool {
	return slices.ContainsFunc(t.Key, func(k keyColumn) bool { return t.defaultOf(k.Name) != "" })
}

// conflict is the condition for a stored row to have NEW's terms in a unique index: the row that REPLACE would delete.
func (t *table) conflict(u uniqueIndex) string {
	asStored := list(t.all, func(c column) string {
		if c.dflt != "" && !c.generated {
			return fmt.Sprintf("coalesce(NEW.%s, (%s\n)) AS %s", quote(c.name), c.dflt, quote(c.name))
		}
		return fmt.Sprintf("NEW.%s AS %s", quote(c.name), quote(c.name))
	})
	where := ""
	if u.where != "" {
		where = fmt.Sprintf(" WHERE (%s\n)", u.where)
	}
	var conds []string
	for _, term := range u.terms {
		e := "(" + term.expr + "\n)"
		if term.column != "" {
			e = quote(t.Name) + "." + quote(term.column)
		}
		// Inside the inner SELECT the same text means NEW's columns.
		conds = append(conds, fmt.Sprintf("%s COLLATE %s = (SELECT %s FROM (SELECT %s) AS %s%s)",
			e, quote(term.collate), e, asStored, quote(t.Name), where))
	}
	if u.where != "" {
		conds = append(conds, "("+u.where+"\n)")
	}
	return strings.Join(conds, " AND ")
}

// key is the list of a key's columns.
func (t *table) key(row string) string {
	return list(t.Key, func(k keyColumn) string { return row + quote(k.Name) })
}

// image is an expression for a row's stored values, exact to the last bit.
func (t *table) image(row string) string {
	const most = 100 // arguments of a call, in every build of SQLite
	var parts []string
	for at := 0; at == 0 || at < len(t.Cols); at += most {
		some := t.Cols[at:min(at+most, len(t.Cols))]
		parts = append(parts, "_xa_encode("+list(some, func(c string) string { return row + quote(c) })+")")
	}
	if len(parts) == 1 {
		return parts[0]
	}
	return "_xa_join(" + strings.Join(parts, ", ") + ")"
}

// is is the condition for a row to be the one of a rowid, or of a key's image.
func (t *table) is(row, rowid, key string) string {
	if t.Rowid != "" {
		return row + quote(t.Rowid) + " = " + rowid
	}
	var conds []string
	for i, k := range t.Key {
		conds = append(conds, fmt.Sprintf("%s%s COLLATE %s = _xa_decode(%s, %d)", row, quote(k.Name), quote(k.Collate), key, i))
	}
	return strings.Join(conds, " AND ")
}

// decoded is the list of the first n values of an image.
func decoded(image string, n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("_xa_decode(%s, %d)", image, i)
	}
	return strings.Join(all, ", ")
}

func list[T any](items []T, f func(T) string) string {
	all := make([]string, len(items))
	for i, item := range items {
		all[i] = f(item)
	}
	return strings.Join(all, ", ")
}

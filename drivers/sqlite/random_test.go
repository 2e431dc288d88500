//go:build cgo && (linux || darwin)

package sqlite

import (
	"flag"
	"fmt"
	"math/rand"
	"strings"
	"testing"
	"time"
)

var (
	randomRuns = flag.Int("sqlite.runs", 2000, "iterations of the random differential test")
	randomSeed = flag.Int64("sqlite.seed", 1, "first seed of the random differential test (0: by the clock, as make fuzz has it)")
)

// TestRandomBranchDoesWhatAPlainTransactionDoes compares random branches on random schemas with plain transactions. A failure names
// its seed: -run Random -sqlite.seed N -sqlite.runs 1.
func TestRandomBranchDoesWhatAPlainTransactionDoes(t *testing.T) {
	first := *randomSeed
	if first == 0 {
		first = time.Now().UnixNano() % 1e9
	}
	t.Logf("seeds %d to %d", first, first+int64(*randomRuns)-1)
	for i := range *randomRuns {
		seed := first + int64(i)
		g := generator{rand.New(rand.NewSource(seed))}
		s := g.scenario()
		fate := []string{fateLive, fateDropped, fateOnePhase, fateDropped}[seed%4]
		if seed%32 == 1 {
			fate = fateKilled // costs a process
		}
		t.Run(fmt.Sprintf("seed %d/%s", seed, fate), func(t *testing.T) {
			t.Parallel()
			s.check(t, fate)
		})
	}
}

// generator makes random scenarios.
type generator struct{ *rand.Rand }

func (g generator) pick(s ...string) string { return s[g.Intn(len(s))] }

func (g generator) scenario() scenario {
	s := scenario{}
	if g.Intn(2) == 0 {
		s.dsn += "&_foreign_keys=1"
	}
	if g.Intn(4) == 0 {
		s.dsn += "&_recursive_triggers=1"
	}
	var tables []string
	for i := range 2 + g.Intn(2) {
		name := fmt.Sprintf("t%d", i)
		s.base = append(s.base, g.table(name, i)...)
		tables = append(tables, name)
	}
	s.base = append(s.base, `CREATE TABLE log(n INTEGER PRIMARY KEY AUTOINCREMENT, m)`)
	if g.Intn(3) > 0 {
		for i, name := range tables {
			s.base = append(s.base, g.trigger(i, name, tables[(i+1)%len(tables)])...)
		}
	}
	if g.Intn(6) == 0 {
		s.base = append(s.base, g.virtual(tables[0])...)
	}
	for range 30 {
		s.base = append(s.base, g.insert(tables))
	}
	for range 1 + g.Intn(15) {
		s.body = append(s.body, g.statement(tables))
	}
	return s
}

func (g generator) table(name string, i int) []string {
	var key, tail string
	switch g.Intn(7) {
	case 0:
		key = "id INTEGER PRIMARY KEY"
	case 1:
		key = "id INTEGER PRIMARY KEY AUTOINCREMENT"
	case 2:
		key, tail = "id INT NOT NULL PRIMARY KEY", ") WITHOUT ROWID"
	case 3:
		key = "id INT"
	case 4:
		key = "id TEXT PRIMARY KEY COLLATE NOCASE"
	case 5:
		key, tail = "id TEXT COLLATE NOCASE", ", PRIMARY KEY(id, k)) WITHOUT ROWID"
	case 6:
		key, tail = "id TEXT", ", PRIMARY KEY(k DESC, id COLLATE NOCASE)) WITHOUT ROWID"
	}
	if tail == "" {
		tail = ")"
	}
	unique := []string{"", " UNIQUE", " UNIQUE ON CONFLICT REPLACE"}
	v := "v"
	if i == 0 {
		unique = unique[1:] // others refer to it
	} else if g.Intn(2) == 0 {
		v = "v REFERENCES t0(u) " + g.pick("ON DELETE CASCADE", "ON DELETE SET NULL", "ON UPDATE CASCADE ON DELETE CASCADE", "", "DEFERRABLE INITIALLY DEFERRED")
	}
	cols := []string{key, "k " + g.pick("INT", "TEXT", "REAL", "BLOB", "") + g.pick("", "", " NOT NULL DEFAULT 3", " NOT NULL ON CONFLICT REPLACE DEFAULT 4"),
		"u " + g.pick("INT", "", "TEXT COLLATE NOCASE") + g.pick(unique...), v, "g " + g.pick("AS (u || '.') VIRTUAL", "AS (coalesce(v, 1)) STORED", "DEFAULT 7")}
	all := []string{"CREATE TABLE " + name + "(" + strings.Join(cols, ", ") + tail}
	switch g.Intn(7) {
	case 0:
		all = append(all, "CREATE UNIQUE INDEX x"+name+" ON "+name+"(k, v)")
	case 1:
		all = append(all, "CREATE UNIQUE INDEX x"+name+" ON "+name+"(v) WHERE k > 2")
	case 2:
		all = append(all, "CREATE UNIQUE INDEX x"+name+" ON "+name+"(abs(k) , lower(v) DESC)")
	case 3:
		all = append(all, "CREATE INDEX x"+name+" ON "+name+"(g, u)")
	}
	return all
}

func (g generator) trigger(i int, on, other string) []string {
	switch g.Intn(9) {
	case 5:
		return []string{fmt.Sprintf(`CREATE TRIGGER g%d %s %s ON %s WHEN %s.k > 6 BEGIN UPDATE %s SET v = 5 WHERE k = 1; SELECT RAISE(FAIL, 'enough'); END`,
			i, g.pick("BEFORE", "AFTER"), g.pick("INSERT", "UPDATE"), on, "NEW", other)}
	case 6:
		return []string{fmt.Sprintf(`CREATE TRIGGER g%d %s DELETE ON %s WHEN OLD.k > 4 BEGIN INSERT INTO log(m) VALUES (OLD.v); SELECT RAISE(%s); END`,
			i, g.pick("BEFORE", "AFTER"), on, g.pick("FAIL, 'not that one'", "IGNORE", "ABORT, 'no'"))}
	case 7:
		return []string{fmt.Sprintf(`CREATE TRIGGER g%d AFTER INSERT ON %s WHEN NEW.k < 9 BEGIN INSERT INTO %s(id, k, u, v) VALUES (NEW.id, NEW.k + 1, NEW.u, NEW.v); END`, i, on, other),
			fmt.Sprintf(`CREATE TRIGGER h%d AFTER UPDATE ON %s WHEN NEW.v < 20 BEGIN UPDATE %s SET v = v + 1 WHERE id = NEW.id; END`, i, on, on)}
	case 0:
		return []string{fmt.Sprintf(`CREATE TRIGGER g%d AFTER UPDATE ON %s BEGIN INSERT INTO log(m) VALUES (quote(OLD.u) || quote(NEW.u)); END`, i, on)}
	case 1:
		return []string{fmt.Sprintf(`CREATE TRIGGER g%d AFTER INSERT ON %s BEGIN UPDATE %s SET v = NEW.k WHERE u = NEW.u; DELETE FROM %s WHERE v = NEW.v; END`, i, on, other, other)}
	case 2:
		return []string{fmt.Sprintf(`CREATE TRIGGER g%d BEFORE DELETE ON %s BEGIN INSERT OR REPLACE INTO %s(id, k, u, v) VALUES (OLD.id, OLD.k, OLD.u, NULL); END`, i, on, other)}
	case 3:
		return []string{fmt.Sprintf(`CREATE TRIGGER g%d BEFORE INSERT ON %s WHEN NEW.k = 2 BEGIN SELECT RAISE(IGNORE); END`, i, on)}
	case 4:
		return []string{fmt.Sprintf(`CREATE TRIGGER g%d AFTER %s ON %s WHEN abs(random()) >= 0 BEGIN SELECT RAISE(IGNORE); END`, i, g.pick("INSERT", "UPDATE", "DELETE"), on)}
	}
	return nil
}

// virtual is a full text index and an R-tree that triggers keep for a table.
func (g generator) virtual(on string) (all []string) {
	all = append(all, `CREATE VIRTUAL TABLE ft USING fts4(a)`, `CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1)`)
	for i, event := range []string{"INSERT", "UPDATE", "DELETE"} {
		row := g.pick("NEW", "OLD")
		if i == 0 {
			row = "NEW"
		} else if i == 2 {
			row = "OLD"
		}
		all = append(all, fmt.Sprintf(`CREATE TRIGGER v%d AFTER %s ON %s BEGIN %s; %s; END`, i, event, on,
			g.pick(`INSERT INTO ft(a) VALUES ('two ' || `+row+`.k)`, `DELETE FROM ft WHERE ft MATCH 'two' AND docid % 3 = 0`, `UPDATE ft SET a = 'three ' || `+row+`.v WHERE docid % 4 = 1`),
			g.pick(`INSERT OR REPLACE INTO rt VALUES (abs(`+row+`.k) % 50, 1, 2)`, `DELETE FROM rt WHERE id % 5 = 2`, `UPDATE rt SET x1 = x1 + 1 WHERE id % 3 = 1`)))
	}
	return append(all, `INSERT INTO ft(a) VALUES ('one two'), ('two three')`,
		`WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 120) INSERT INTO rt SELECT i, i, i + 1 FROM s`)
}

func (g generator) value() string {
	switch g.Intn(10) {
	case 0:
		return "NULL"
	case 1:
		return fmt.Sprintf("%d.5", g.Intn(8))
	case 2:
		return g.pick("'a'", "'A'", "'b'", "'B'", "''", "'é'", "'7'")
	case 3:
		return g.pick("x'00'", "x''", "x'61'")
	}
	return fmt.Sprint(g.Intn(12))
}

func (g generator) values(n int) string {
	all := make([]string, n)
	for i := range all {
		all[i] = g.value()
	}
	return "(" + strings.Join(all, ", ") + ")"
}

func (g generator) conflict() string {
	return g.pick("", "", " OR IGNORE", " OR REPLACE", " OR REPLACE", " OR FAIL", " OR ABORT")
}

func (g generator) where() string {
	return g.pick("id = "+g.value(), "u = "+g.value(), "k > "+g.value(), "v IS "+g.value(), "id > "+g.value()+" AND k < "+g.value())
}

func (g generator) insert(tables []string) string {
	t := g.pick(tables...)
	switch g.Intn(4) {
	case 0:
		return fmt.Sprintf("INSERT%s INTO %s(k, u, v) VALUES %s", g.conflict(), t, g.values(3))
	case 1:
		return fmt.Sprintf("INSERT INTO %s(id, k, u, v) VALUES %s ON CONFLICT DO UPDATE SET v = excluded.v, u = %s", t, g.values(4), g.value())
	}
	return fmt.Sprintf("INSERT%s INTO %s(id, k, u, v) VALUES %s, %s", g.conflict(), t, g.values(4), g.values(4))
}

func (g generator) statement(tables []string) string {
	t := g.pick(tables...)
	switch g.Intn(12) {
	case 0, 1, 2, 3:
		return g.insert(tables)
	case 4, 5:
		return fmt.Sprintf("UPDATE%s %s SET u = %s WHERE %s", g.conflict(), t, g.value(), g.where())
	case 6:
		return fmt.Sprintf("UPDATE%s %s SET id = %s, v = %s, k = %s WHERE %s", g.conflict(), t, g.value(), g.value(), g.value(), g.where())
	case 7:
		return fmt.Sprintf("UPDATE%s %s SET u = %s - u, k = k + 1", g.conflict(), t, g.value())
	case 8, 9:
		return fmt.Sprintf("DELETE FROM %s WHERE %s", t, g.where())
	case 10:
		if g.Intn(3) == 0 {
			return "DELETE FROM " + t
		}
		return fmt.Sprintf("INSERT%s INTO %s(k, u, v) SELECT k, u, v FROM %s WHERE %s", g.conflict(), t, g.pick(tables...), g.where())
	}
	return g.pick(fmt.Sprintf("UPDATE%s %s SET id = id + 1", g.conflict(), t), fmt.Sprintf("UPDATE%s %s SET v = (SELECT u FROM t0 LIMIT 1)", g.conflict(), t),
		fmt.Sprint("PRAGMA user_version = ", g.Intn(9)))
}

//go:build cgo && (linux || darwin)

package sqlite

import (
	"fmt"
	"strings"
)

// features has a scenario for each feature of SQL that an emulation could get wrong.
func features() []scenario {
	var cols, values []string
	for i := range 250 {
		cols, values = append(cols, fmt.Sprintf("c%d", i)), append(values, fmt.Sprintf("%d.5", i))
	}
	return []scenario{
		{"values to the last bit", "", []string{`CREATE TABLE t(a, b TEXT, c REAL, d BLOB)`, `INSERT INTO t VALUES (1, 'x', 5, x'00ff'), (NULL, NULL, NULL, NULL), (9223372036854775807, 'z' || char(0) || 'y', 1e308, x'')`},
			[]string{`INSERT INTO t VALUES (-9223372036854775808, '', -0.0, zeroblob(3000)), (1.0, CAST(x'ff41' AS TEXT), 9e999, x'')`, `UPDATE t SET a = a + 1, c = c / 3 WHERE rowid = 1`, `DELETE FROM t WHERE rowid = 2`}},
		{"without rowid", "", []string{`CREATE TABLE t(a TEXT COLLATE NOCASE, b, c, PRIMARY KEY(a, b DESC)) WITHOUT ROWID`, `INSERT INTO t VALUES ('a', 1, 1), ('b', 2, 2), ('c', 3, 3)`},
			[]string{`UPDATE t SET a = 'A' WHERE a = 'a'`, `UPDATE t SET b = 1.0 WHERE b = 1`, `DELETE FROM t WHERE a = 'B'`, `INSERT OR REPLACE INTO t VALUES ('C', 3, 'new'), ('d', x'00', NULL)`, `UPDATE t SET b = b + 10 WHERE a = 'c'`}},
		{"a key's own collation", "", []string{`CREATE TABLE t(a TEXT, v, PRIMARY KEY(a COLLATE NOCASE)) WITHOUT ROWID`, `INSERT INTO t VALUES ('a', 1), ('b', 2)`},
			[]string{`REPLACE INTO t VALUES ('A', 3)`, `UPDATE t SET a = 'B' WHERE a = 'b'`}},
		{"a key touched in two spellings", "", []string{`CREATE TABLE t(a TEXT COLLATE NOCASE PRIMARY KEY, v) WITHOUT ROWID`, `INSERT INTO t VALUES ('a', 1), ('k', 0)`},
			[]string{`UPDATE t SET a = 'A'`, `UPDATE t SET a = lower(a)`, `UPDATE t SET v = 5 WHERE a = 'K'`}},
		{"autoincrement", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)`, `CREATE TABLE u(id INTEGER PRIMARY KEY AUTOINCREMENT, v)`, `INSERT INTO t(v) VALUES (1), (2)`},
			[]string{`INSERT INTO t(v) VALUES (3), (4)`, `DELETE FROM t WHERE id = 4`, `INSERT INTO u(v) VALUES (9)`, `DELETE FROM u`, `INSERT INTO t VALUES (100, 7)`, `DELETE FROM t WHERE id = 100`}},
		{"sqlite_sequence written", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY AUTOINCREMENT, v)`, `INSERT INTO t(v) VALUES (1), (2)`}, []string{`UPDATE sqlite_sequence SET seq = 500 WHERE name = 't'`}},
		{"foreign key actions", "&_foreign_keys=1", []string{`CREATE TABLE p(id INTEGER PRIMARY KEY, u UNIQUE)`, `CREATE TABLE c(id INTEGER PRIMARY KEY, p REFERENCES p(u) ON DELETE CASCADE ON UPDATE CASCADE)`,
			`CREATE TABLE g(c REFERENCES c(id) ON DELETE SET NULL)`, `INSERT INTO p VALUES (1, 'a'), (2, 'b'), (3, 'c')`, `INSERT INTO c VALUES (1, 'a'), (2, 'a'), (3, 'b'), (4, 'c')`, `INSERT INTO g VALUES (1), (2), (3), (4)`},
			[]string{`DELETE FROM p WHERE id = 1`, `UPDATE p SET u = 'bb' WHERE u = 'b'`, `INSERT OR REPLACE INTO p VALUES (7, 'c')`}},
		{"deferred foreign key kept", "&_foreign_keys=1", []string{`CREATE TABLE p(id INTEGER PRIMARY KEY)`, `CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)`},
			[]string{`INSERT INTO c VALUES (5)`, `INSERT INTO p VALUES (5)`}},
		{"deferred foreign key violated", "&_foreign_keys=1", []string{`CREATE TABLE p(id INTEGER PRIMARY KEY)`, `CREATE TABLE c(p REFERENCES p(id) DEFERRABLE INITIALLY DEFERRED)`}, []string{`INSERT INTO c VALUES (5)`}},
		{"user triggers", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, v, n DEFAULT 0)`, `CREATE TABLE log(id INTEGER PRIMARY KEY, m)`, `CREATE TRIGGER tr AFTER UPDATE ON t BEGIN INSERT INTO log(m) VALUES (OLD.v || '>' || NEW.v); END`,
			`CREATE TRIGGER ti AFTER INSERT ON t BEGIN UPDATE t SET n = n + 1 WHERE id = NEW.id; INSERT INTO log(m) VALUES ('ins'); END`, `CREATE TRIGGER td BEFORE DELETE ON t BEGIN INSERT INTO log(m) VALUES ('del' || OLD.id); END`, `INSERT INTO t(v) VALUES (1), (2)`},
			[]string{`INSERT INTO t(v) VALUES (3)`, `UPDATE t SET v = v * 10`, `DELETE FROM t WHERE id = 1`}},
		{"triggers that ignore what was done", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, v)`, `CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID`, `INSERT INTO t VALUES (1, 1), (2, 2)`, `INSERT INTO w VALUES (1, 1), (2, 2)`,
			`CREATE TRIGGER ti AFTER INSERT ON t BEGIN SELECT RAISE(IGNORE); END`, `CREATE TRIGGER tu AFTER UPDATE ON t BEGIN SELECT RAISE(IGNORE); END`, `CREATE TRIGGER td AFTER DELETE ON t BEGIN SELECT RAISE(IGNORE); END`,
			`CREATE TRIGGER wi AFTER INSERT ON w BEGIN SELECT RAISE(IGNORE); END`, `CREATE TRIGGER wd AFTER DELETE ON w BEGIN SELECT RAISE(IGNORE); END`},
			[]string{`INSERT INTO t VALUES (3, 3)`, `UPDATE t SET v = 9 WHERE id = 1`, `DELETE FROM t WHERE id = 2`, `INSERT INTO w VALUES (3, 3)`, `DELETE FROM w WHERE k = 1`}},
		{"replaced rows changed again", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, w)`, `CREATE UNIQUE INDEX tw ON t(lower(w)) WHERE w IS NOT NULL`, `INSERT INTO t VALUES (1, 'x', 'P'), (2, 'y', 'Q'), (3, 'z', 'R')`},
			[]string{`INSERT OR REPLACE INTO t VALUES (9, 'x', 'zz')`, `UPDATE t SET u = 'other' WHERE id = 9`, `UPDATE OR REPLACE t SET w = 'q' WHERE id = 3`, `UPDATE t SET w = 'back' WHERE id = 3`, `REPLACE INTO t(u, w) VALUES ('y', NULL)`}},
		{"replaced rows changed again, with triggers", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE, w)`, `CREATE TABLE log(m)`, `CREATE TRIGGER td AFTER DELETE ON t BEGIN INSERT INTO log VALUES (OLD.id); END`,
			`CREATE UNIQUE INDEX tw ON t(lower(w)) WHERE w IS NOT NULL`, `INSERT INTO t VALUES (1, 'x', 'P'), (2, 'y', 'Q'), (3, 'z', 'R')`},
			[]string{`INSERT OR REPLACE INTO t VALUES (9, 'x', 'zz')`, `UPDATE t SET u = 'other' WHERE id = 9`, `UPDATE OR REPLACE t SET w = 'q' WHERE id = 3`, `UPDATE t SET w = 'back' WHERE id = 3`, `REPLACE INTO t(u, w) VALUES ('y', NULL)`}},
		{"a trigger replaces", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)`, `CREATE TABLE s(v)`, `CREATE TRIGGER ti AFTER INSERT ON s BEGIN INSERT OR REPLACE INTO t(u) VALUES (NEW.v); UPDATE t SET u = u || '!' WHERE u = NEW.v; END`, `INSERT INTO t VALUES (1, 'a'), (2, 'b')`},
			[]string{`INSERT INTO s VALUES ('a')`}},
		{"replace by the schema", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT NOT NULL ON CONFLICT REPLACE DEFAULT 'dd' UNIQUE ON CONFLICT REPLACE)`, `INSERT INTO t VALUES (1, 'dd'), (2, 'b')`},
			[]string{`INSERT INTO t(u) VALUES (NULL)`, `UPDATE t SET u = 'gone' WHERE u = 'dd'`, `UPDATE t SET u = 'b' WHERE u = 'gone'`, `UPDATE t SET u = 'k'`}},
		{"replace by the schema, with triggers", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, u TEXT NOT NULL ON CONFLICT REPLACE DEFAULT 'dd' UNIQUE ON CONFLICT REPLACE)`, `INSERT INTO t VALUES (1, 'dd'), (2, 'b')`, `CREATE TRIGGER x AFTER DELETE ON t BEGIN SELECT 1; END`},
			[]string{`INSERT INTO t(u) VALUES (NULL)`, `UPDATE t SET u = 'gone' WHERE u = 'dd'`, `UPDATE t SET u = 'b' WHERE u = 'gone'`, `UPDATE t SET u = 'k'`}},
		{"upsert", "", []string{`CREATE TABLE t(k TEXT PRIMARY KEY, n INT)`, `INSERT INTO t VALUES ('a', 1)`}, []string{`INSERT INTO t VALUES ('a', 5), ('b', 7) ON CONFLICT(k) DO UPDATE SET n = n + excluded.n`, `INSERT INTO t VALUES ('b', 1) ON CONFLICT DO NOTHING`}},
		{"generated columns", "", []string{`CREATE TABLE t(a INT, b INT GENERATED ALWAYS AS (a * 2) STORED, c TEXT AS (a || '-' || b) VIRTUAL UNIQUE)`, `INSERT INTO t(a) VALUES (1), (2)`},
			[]string{`INSERT INTO t(a) VALUES (3)`, `UPDATE t SET a = a + 10 WHERE a < 3`, `INSERT OR REPLACE INTO t(a) VALUES (3)`}},
		{"strict", "", []string{`CREATE TABLE t(a INT, b REAL, c TEXT, d BLOB, e ANY) STRICT`}, []string{`INSERT INTO t VALUES (1, 2, '3', x'04', 5.0), (2, 1.5, '', x'', '5')`, `INSERT INTO t VALUES ('no', 1, 1, 1, 1)`}},
		{"unique values swapped", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, u INT UNIQUE)`, `INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)`}, []string{`UPDATE t SET u = -u`, `UPDATE t SET u = 2 WHERE id = 1`, `UPDATE t SET u = 3 WHERE id = 2`, `UPDATE t SET u = 1 WHERE id = 3`}},
		{"keys swapped", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, v)`, `INSERT INTO t VALUES (1, 'a'), (2, 'b')`}, []string{`UPDATE t SET id = -id`, `UPDATE t SET id = id + 3`}},
		{"keys moved", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, v)`, `INSERT INTO t VALUES (1, 'a'), (2, 'b')`, `CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID`, `INSERT INTO w VALUES (1, 'a'), (2, 'b')`},
			[]string{`UPDATE t SET id = id + 10`, `UPDATE w SET k = k + 10`}},
		{"delete without where", "", []string{`CREATE TABLE t(a)`, `WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 500) INSERT INTO t SELECT i FROM s`}, []string{`DELETE FROM t`, `INSERT INTO t VALUES ('new')`}},
		{"columns named rowid", "", []string{`CREATE TABLE t(rowid TEXT, "_rowid_" INT, "we""ird name" INT)`, `INSERT INTO t VALUES ('a', 1, 2)`}, []string{`INSERT INTO t VALUES ('b', 3, 4)`, `UPDATE t SET rowid = 'c', "we""ird name" = 9`}},
		{"odd table names", "", []string{`CREATE TABLE "select ""x' -- y"(a PRIMARY KEY)`, `INSERT INTO "select ""x' -- y" VALUES (1)`}, []string{`INSERT INTO "select ""x' -- y" VALUES (2)`, `DELETE FROM "SELECT ""X' -- Y" WHERE a = 1`}},
		{"only a key", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY)`, `INSERT INTO t VALUES (1), (2)`}, []string{`INSERT INTO t VALUES (NULL)`, `DELETE FROM t WHERE id = 1`}},
		{"view", "", []string{`CREATE TABLE t(a, b)`, `CREATE VIEW v AS SELECT * FROM t`, `CREATE TRIGGER vi INSTEAD OF INSERT ON v BEGIN INSERT INTO t VALUES (NEW.a, NEW.b); END`}, []string{`INSERT INTO v VALUES (1, 2)`}},
		{"header", "", []string{`CREATE TABLE t(a)`}, []string{`PRAGMA user_version = 42`, `PRAGMA application_id = 77`}},
		{"savepoints", "", []string{`CREATE TABLE t(a)`, `INSERT INTO t VALUES (1)`},
			[]string{`SAVEPOINT s`, `INSERT INTO t VALUES (2)`, `DELETE FROM t WHERE a = 1`, `ROLLBACK TO s`, `INSERT INTO t VALUES (3)`, `RELEASE s`, `INSERT INTO t SELECT a + 100 FROM t`, `SAVEPOINT left_open`, `INSERT INTO t VALUES (4)`}},
		{"constraints", "", []string{`CREATE TABLE t(a CHECK(a > 0), b NOT NULL)`}, []string{`INSERT INTO t VALUES (1, 1)`, `INSERT INTO t VALUES (-1, 1)`, `INSERT INTO t VALUES (1, NULL)`, `INSERT OR IGNORE INTO t VALUES (0, 1), (2, 2)`}},
		{"returning", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, a)`}, []string{`INSERT INTO t(a) VALUES (1), (2) RETURNING id`, `UPDATE t SET a = a + 1 RETURNING *`}},
		{"recursive triggers", "&_recursive_triggers=1", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, u UNIQUE)`, `CREATE TABLE log(x)`, `CREATE TRIGGER d AFTER DELETE ON t BEGIN INSERT INTO log VALUES (OLD.id); END`, `INSERT INTO t VALUES (1, 1), (2, 2)`},
			[]string{`REPLACE INTO t VALUES (3, 1)`, `UPDATE t SET u = 9 WHERE id = 3`}},
		{"utf-16", "", []string{`PRAGMA encoding = 'UTF-16le'`, `CREATE TABLE t(a TEXT UNIQUE)`, `INSERT INTO t VALUES ('é€😀')`}, []string{`UPDATE t SET a = a || 'ß'`, `INSERT INTO t VALUES ('日本')`}},
		{"collations in a unique index", "", []string{`CREATE TABLE t(a TEXT, b TEXT)`, `CREATE UNIQUE INDEX i ON t(a COLLATE NOCASE, substr(b, 1, 2) DESC)`, `CREATE TRIGGER x AFTER DELETE ON t BEGIN SELECT 1; END`, `INSERT INTO t VALUES ('K', 'abc'), ('L', 'def')`},
			[]string{`REPLACE INTO t VALUES ('k', 'abX')`, `UPDATE t SET a = 'moved' WHERE a = 'k'`}},
		{"comments in an index", "", []string{`CREATE TABLE t(a TEXT, b TEXT)`, "CREATE UNIQUE INDEX i ON t( -- one, (two\n lower(a) /* a ) */ , substr(b, 1, 2) -- the end\n) WHERE a <> ')' -- done", `CREATE TRIGGER x AFTER DELETE ON t BEGIN SELECT 1; END`, `INSERT INTO t VALUES ('K', 'abc'), ('L', 'def')`},
			[]string{`REPLACE INTO t VALUES ('k', 'abX')`, `UPDATE t SET a = 'moved' WHERE a = 'k'`}},
		{"a partial index over what it excludes", "", []string{`CREATE TABLE t(a TEXT, b)`, `CREATE UNIQUE INDEX i ON t(json_extract(a, '$.k')) WHERE json_valid(a)`, `CREATE TRIGGER x AFTER DELETE ON t BEGIN SELECT 1; END`, `INSERT INTO t VALUES ('{"k":1}', 1)`},
			[]string{`INSERT INTO t VALUES ('not json', 2)`, `REPLACE INTO t VALUES ('{"k":1,"z":0}', 3)`, `UPDATE t SET a = 'neither'`}},
		{"many columns", "", []string{`CREATE TABLE t(` + strings.Join(cols, ", ") + `)`, `INSERT INTO t VALUES (` + strings.Join(values, ", ") + `)`}, []string{`INSERT INTO t SELECT * FROM t`, `UPDATE t SET c249 = 'last', c0 = NULL WHERE rowid = 1`}},
		{"fts4", "", []string{`CREATE VIRTUAL TABLE ft USING fts4(a, b)`, `INSERT INTO ft VALUES ('one two', 'x'), ('two three', 'y')`},
			[]string{`INSERT INTO ft VALUES ('three four', 'z')`, `UPDATE ft SET a = 'five two' WHERE docid = 1`, `DELETE FROM ft WHERE ft MATCH 'y'`, `INSERT INTO ft(ft) VALUES ('optimize')`, `INSERT INTO ft VALUES ('after', 'it')`}},
		{"fts4 kept by triggers", "", []string{`CREATE TABLE t(id INTEGER PRIMARY KEY, body TEXT, u UNIQUE)`, `CREATE VIRTUAL TABLE ft USING fts4(content="t", body)`,
			`CREATE TRIGGER bu BEFORE UPDATE ON t BEGIN DELETE FROM ft WHERE docid = OLD.id; END`, `CREATE TRIGGER bd BEFORE DELETE ON t BEGIN DELETE FROM ft WHERE docid = OLD.id; END`,
			`CREATE TRIGGER au AFTER UPDATE ON t BEGIN INSERT INTO ft(docid, body) VALUES (NEW.id, NEW.body); END`, `CREATE TRIGGER ai AFTER INSERT ON t BEGIN INSERT INTO ft(docid, body) VALUES (NEW.id, NEW.body); END`,
			`INSERT INTO t(body) VALUES ('one two'), ('two three')`},
			[]string{`INSERT INTO t(body, u) VALUES ('three four', 1)`, `UPDATE t SET body = body || ' more'`, `DELETE FROM t WHERE id = 2`, `REPLACE INTO t(body, u) VALUES ('again', 1)`}},
		{"rtree", "", []string{`CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1, +label)`, `WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 200) INSERT INTO rt SELECT i, i, i + 1, 'no ' || i FROM s`},
			[]string{`INSERT INTO rt VALUES (1000, 5, 6, 'new')`, `UPDATE rt SET x1 = x1 + 3 WHERE id < 50`, `DELETE FROM rt WHERE id BETWEEN 20 AND 90`, `INSERT OR REPLACE INTO rt VALUES (3, 0, 1, 'again')`,
				`WITH RECURSIVE s(i) AS (SELECT 2000 UNION ALL SELECT i + 1 FROM s WHERE i < 2300) INSERT INTO rt SELECT i, i, i + 1, NULL FROM s`}},
		{"virtual tables in savepoints", "", []string{`CREATE VIRTUAL TABLE ft USING fts4(a)`, `CREATE VIRTUAL TABLE rt USING rtree(id, x0, x1)`, `INSERT INTO ft VALUES ('one')`, `INSERT INTO rt VALUES (1, 1, 2)`},
			[]string{`INSERT INTO ft VALUES ('two')`, `SAVEPOINT s`, `INSERT INTO ft VALUES ('three')`, `INSERT INTO rt VALUES (2, 2, 3)`, `ROLLBACK TO s`, `INSERT INTO ft VALUES ('four')`, `RELEASE s`, `DELETE FROM rt WHERE id = 1`}},
	}
}

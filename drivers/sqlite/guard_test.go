//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"errors"
	"strings"
	"testing"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
)

// TestRefusedStatementsSayWhyAndWhatToDo: the statement itself fails, changes nothing, and leaves the branch as it is.
func TestRefusedStatementsSayWhyAndWhatToDo(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a UNIQUE)`, `CREATE VIRTUAL TABLE ft USING fts4(a)`, `CREATE VIRTUAL TABLE words USING fts4aux(ft)`, `CREATE TABLE names(rowid, oid, _rowid_)`)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer discard(conn)
	run(t, conn, `CREATE TEMP TABLE mine(a)`, `ATTACH ':memory:' AS att`, `CREATE TABLE att.there(a)`)
	before := dump(t.Context(), conn)
	b, err := New().Begin(t.Context(), conn, xid("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ statement, why string }{
		{`CREATE TABLE n(a)`, "changing the schema"},
		{`CREATE INDEX i ON t(a)`, "changing the schema"},
		{`CREATE TRIGGER tr AFTER INSERT ON t BEGIN SELECT 1; END`, "changing the schema"},
		{`DROP TABLE t`, "changing the schema"},
		{`ALTER TABLE t ADD COLUMN z`, "changing the schema"},
		{`CREATE TEMP TABLE q(a)`, "changing the schema"},
		{`REINDEX`, "changing the schema"},
		{`BEGIN`, "Commit and Rollback"},
		{`COMMIT`, "Commit and Rollback"},
		{`END`, "Commit and Rollback"},
		{`ROLLBACK`, "Commit and Rollback"},
		{`INSERT INTO t VALUES (7); COMMIT`, "Commit and Rollback"},
		{`RELEASE _xa_branch`, "reserved"},
		{`ATTACH ':memory:' AS x`, "resource of its own"},
		{`DETACH att`, "resource of its own"},
		{`ANALYZE`, "outside of the global transaction"},
		{`PRAGMA journal_mode = DELETE`, "outside of the global transaction"},
		{`PRAGMA foreign_keys = ON`, "outside of the global transaction"},
		{`PRAGMA recursive_triggers = OFF`, "outside of the global transaction"},
		{`PRAGMA writable_schema = ON`, "outside of the global transaction"},
		{`PRAGMA wal_checkpoint`, "outside of the global transaction"},
		{`PRAGMA att.user_version = 3`, "outside of the global transaction"},
		{`INSERT INTO words VALUES (1, 0, 1)`, "virtual table"},
		{`INSERT INTO names VALUES (1, 2, 3)`, "INTEGER PRIMARY KEY"},
		{`INSERT INTO mine VALUES (1)`, "ordinary table"},
		{`INSERT INTO att.there VALUES (1)`, "resource of its own"},
		{`DELETE FROM _xa_prepared`, "belong to xasql"},
		{`DROP TRIGGER _xa_fence_insert_t`, "changing the schema"},
	} {
		_, err := conn.ExecContext(t.Context(), c.statement)
		err = b.(drivers.Explainer).Explain(err)
		if !errors.Is(err, drivers.ErrNotSupported) || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q: … %q …", c.statement, err, drivers.ErrNotSupported, c.why)
		}
	}
	if _, err := conn.ExecContext(t.Context(), `VACUUM`); err == nil {
		t.Error("VACUUM in a branch: no error")
	}
	for _, allowed := range []string{`PRAGMA table_info(t)`, `SELECT * FROM pragma_index_list('t')`, `PRAGMA foreign_key_check`, `PRAGMA user_version`, `PRAGMA journal_mode`,
		`EXPLAIN DELETE FROM t`, `SELECT * FROM ft`, `SELECT * FROM mine, att.there`, `WITH RECURSIVE s(i) AS (SELECT 1 UNION SELECT i FROM s) SELECT * FROM s`} {
		if _, err := all(t.Context(), conn, allowed); err != nil {
			t.Errorf("%s: %v", allowed, err)
		}
	}
	run(t, conn, `DELETE FROM t`) // one statement above wrote before its COMMIT was refused
	if got := dump(t.Context(), conn); got != before {
		t.Errorf("refused statements changed something:\n%s\nwant\n%s", got, before)
	}
	wantIs(t, b.Rollback(t.Context()))
}

// TestReadOnlyBranchTakesNoLockAndWritesNothing beside a branch that writes.
func TestReadOnlyBranchTakesNoLockAndWritesNothing(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a)`)
	writer, wb := branchOn(t, db, "w", nil)
	run(t, writer, `INSERT INTO t VALUES (1)`)
	reader, rb := branchOn(t, db, "r", &sql.TxOptions{ReadOnly: true})
	if n := one(t, reader, `SELECT count(*) FROM t`); n != "0" {
		t.Errorf("the reader sees %s rows", n)
	}
	for _, s := range []string{`INSERT INTO t VALUES (2)`, `PRAGMA user_version = 2`} {
		_, err := reader.ExecContext(t.Context(), s)
		wantIs(t, rb.(drivers.Explainer).Explain(err), drivers.ErrNotSupported)
	}
	wantPrepared(t, wb)
	wantIs(t, wb.Commit(t.Context()))
	if n := one(t, reader, `SELECT count(*) FROM t`); n != "0" {
		t.Errorf("the reader's snapshot changed: %s rows", n)
	}
	if ro, err := rb.(drivers.ReadOnlyBranch).ReadOnly(t.Context()); !ro || err != nil {
		t.Errorf("ReadOnly: %v, %v", ro, err)
	}
	if vote, err := rb.Prepare(t.Context()); vote != drivers.VoteReadOnly || err != nil {
		t.Errorf("Prepare: %v, %v", vote, err)
	}
	run(t, reader, `INSERT INTO t VALUES (3)`)
}

// TestSerializableReadOnlyBranchHoldsWhatItRead until it is committed.
func TestSerializableReadOnlyBranchHoldsWhatItRead(t *testing.T) {
	path, db := newFile(t, `CREATE TABLE t(a)`)
	conn, b := branchOn(t, db, "x", &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelSerializable})
	_, err := conn.ExecContext(t.Context(), `INSERT INTO t VALUES (1)`)
	wantIs(t, b.(drivers.Explainer).Explain(err), drivers.ErrNotSupported)
	wantPrepared(t, b)
	if _, err := open(t, path, "&_busy_timeout=10").ExecContext(t.Context(), `INSERT INTO t VALUES (1)`); !isBusy(err) {
		t.Errorf("a writer beside it: %v, want SQLITE_BUSY", err)
	}
	wantIs(t, b.Commit(t.Context()))
	run(t, conn, `INSERT INTO t VALUES (1)`)
}

// TestStatementsAfterSQLiteEndedTheTransactionNeverTakeEffect, whatever ended it, and however they are run.
func TestStatementsAfterSQLiteEndedTheTransactionNeverTakeEffect(t *testing.T) {
	ends := map[string]func(ctx context.Context, conn *sql.Conn) error{
		"OR ROLLBACK": func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, `INSERT OR ROLLBACK INTO t VALUES (1, 0)`)
			return err
		},
		"RAISE(ROLLBACK)": func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, `INSERT INTO t VALUES (13, 0)`)
			return err
		},
		"an interrupted write": func(ctx context.Context, conn *sql.Conn) error {
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			// The statement itself says when: an interrupt that comes before it runs is none.
			err := conn.Raw(func(c any) error {
				return c.(*sqlite3.SQLiteConn).RegisterFunc("interrupt", func() int { cancel(); return 0 }, false)
			})
			if err != nil {
				return err
			}
			_, err = conn.ExecContext(ctx, `INSERT INTO t WITH RECURSIVE s(i) AS (SELECT 100 UNION ALL SELECT i + 1 FROM s) SELECT i, CASE i WHEN 1000 THEN interrupt() ELSE 0 END FROM s`)
			return err
		},
	}
	for name, end := range ends {
		for _, finish := range []string{"prepare", "one phase"} {
			t.Run(name+", "+finish, func(t *testing.T) {
				_, db := newFile(t, `CREATE TABLE t(a INTEGER PRIMARY KEY, v)`, `INSERT INTO t VALUES (1, 1)`, `CREATE TABLE s(id INTEGER PRIMARY KEY AUTOINCREMENT)`, `CREATE VIRTUAL TABLE ft USING fts4(a)`,
					`CREATE TRIGGER tr BEFORE INSERT ON t WHEN NEW.a = 13 BEGIN SELECT RAISE(ROLLBACK, 'unlucky'); END`)
				before := dump(t.Context(), db)
				conn, b := branchOn(t, db, "x", nil)
				var early []*sql.Stmt
				for _, q := range []string{`SAVEPOINT again`, `INSERT INTO t VALUES (3, 3)`, `UPDATE sqlite_sequence SET seq = 9`, `INSERT INTO s VALUES (NULL)`, `PRAGMA user_version = 9`, `RELEASE again`} {
					s, err := conn.PrepareContext(t.Context(), q)
					if err != nil {
						t.Fatal(err)
					}
					defer s.Close()
					early = append(early, s)
				}
				run(t, conn, `INSERT INTO t VALUES (2, 2)`)
				wantIs(t, b.(drivers.Explainer).Explain(end(t.Context(), conn)), drivers.ErrRolledBack)
				for _, q := range []string{`INSERT INTO t VALUES (4, 4)`, `DELETE FROM t`, `INSERT INTO ft VALUES ('x')`, `SAVEPOINT s`, `BEGIN`, `SELECT * FROM t`, `VACUUM`, `CREATE TABLE n(a)`} {
					_, err := conn.ExecContext(t.Context(), q)
					wantIs(t, b.(drivers.Explainer).Explain(err), drivers.ErrRolledBack)
				}
				for _, s := range append(early[1:5:5], early...) { // alone, and inside a savepoint that starts a transaction
					_, _ = s.ExecContext(t.Context())
				}
				wantDump(t, db, before)
				var err error
				if finish == "prepare" {
					_, err = b.Prepare(t.Context())
				} else {
					err = b.CommitOnePhase(t.Context())
				}
				wantIs(t, err, drivers.ErrRolledBack)
				wantDump(t, db, before)
				wantIs(t, b.Rollback(t.Context()))
				run(t, conn, `INSERT INTO t VALUES (5, 5)`)
			})
		}
	}
}

// TestCompiledStatementDoesNotAutocommit where no rolled back trigger has expired it, so that only the commit hook is left.
func TestCompiledStatementDoesNotAutocommit(t *testing.T) {
	_, db := newFile(t, `CREATE VIEW v AS SELECT 1 AS a`, `CREATE TRIGGER tr INSTEAD OF INSERT ON v BEGIN SELECT RAISE(ROLLBACK, 'no'); END`)
	conn, b := branchOn(t, db, "x", nil)
	early, err := conn.PrepareContext(t.Context(), `PRAGMA user_version = 9`)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	_, err = conn.ExecContext(t.Context(), `INSERT INTO v VALUES (1)`)
	wantIs(t, b.(drivers.Explainer).Explain(err), drivers.ErrRolledBack)
	_, err = early.ExecContext(t.Context())
	wantIs(t, b.(drivers.Explainer).Explain(err), drivers.ErrRolledBack)
	if got := one(t, db, `PRAGMA user_version`); got != "0" {
		t.Errorf("user_version = %s was committed by itself", got)
	}
	_, err = b.Prepare(t.Context())
	wantIs(t, err, drivers.ErrRolledBack)
}

// TestNothingJoinsAPreparedBranch: what runs on its connection after Prepare is not in the record, and so must not run.
func TestNothingJoinsAPreparedBranch(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a)`)
	conn, b := branchOn(t, db, "x", nil)
	early, err := conn.PrepareContext(t.Context(), `INSERT INTO t VALUES (2)`)
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	run(t, conn, `INSERT INTO t VALUES (1)`)
	wantPrepared(t, b)
	if _, err := early.ExecContext(t.Context()); err == nil {
		t.Error("a statement of before takes effect after Prepare")
	}
	for _, s := range []string{`INSERT INTO t VALUES (3)`, `SELECT 1`, `ROLLBACK`, `COMMIT`, `PRAGMA user_version`} {
		_, err := conn.ExecContext(t.Context(), s)
		if err = b.(drivers.Explainer).Explain(err); err == nil || !strings.Contains(err.Error(), "prepared") {
			t.Errorf("%s after Prepare: %v", s, err)
		}
	}
	wantIs(t, b.Commit(t.Context()))
	if got := one(t, conn, `SELECT group_concat(a) FROM t`); got != "1" {
		t.Errorf("the table holds %s", got)
	}
}

// TestOpenRowsAreAnErrorAtOnce: SQLite can't prepare under a statement that has not ended.
func TestOpenRowsAreAnErrorAtOnce(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a)`, `INSERT INTO t VALUES (1), (2)`)
	conn, b := branchOn(t, db, "x", nil)
	run(t, conn, `INSERT INTO t VALUES (3)`)
	rows, err := conn.QueryContext(t.Context(), `SELECT * FROM t`)
	if err != nil {
		t.Fatal(err)
	}
	rows.Next()
	if _, err := b.Prepare(t.Context()); !errors.Is(err, drivers.ErrRolledBack) || !strings.Contains(err.Error(), "rows") {
		t.Errorf("Prepare: %v", err)
	}
	rows.Close()
	wantIs(t, b.Rollback(t.Context()))
	run(t, conn, `INSERT INTO t VALUES (4)`)
	if got := one(t, db, `SELECT group_concat(a) FROM t`); got != "1,2,4" {
		t.Errorf("the table holds %s", got)
	}
}

// TestFinishedBranchLeavesThePlainConnection for each end of a branch: DDL, PRAGMAs and settings are as before.
func TestFinishedBranchLeavesThePlainConnection(t *testing.T) {
	finish := map[string]func(b drivers.Branch, conn *sql.Conn){
		"commit":    func(b drivers.Branch, _ *sql.Conn) { wantPrepared(t, b); wantIs(t, b.Commit(t.Context())) },
		"rollback":  func(b drivers.Branch, _ *sql.Conn) { wantIs(t, b.Rollback(t.Context())) },
		"withdraw":  func(b drivers.Branch, _ *sql.Conn) { wantPrepared(t, b); wantIs(t, b.Rollback(t.Context())) },
		"one phase": func(b drivers.Branch, _ *sql.Conn) { wantIs(t, b.CommitOnePhase(t.Context())) },
	}
	for name, f := range finish {
		_, db := newFile(t, `CREATE TABLE t(a, b UNIQUE, c)`, `CREATE INDEX i ON t(c)`, `CREATE TABLE w(k PRIMARY KEY, v) WITHOUT ROWID`)
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		settings := func() string {
			var all []string
			for _, p := range []string{"synchronous", "busy_timeout", "recursive_triggers", "foreign_keys", "ignore_check_constraints", "query_only"} {
				all = append(all, p+"="+one(t, conn, "PRAGMA "+p))
			}
			return strings.Join(append(all, one(t, conn, `SELECT count(*) FROM temp.sqlite_schema`), one(t, conn, `SELECT last_insert_rowid()`)), " ")
		}
		before := settings()
		b, err := New().Begin(t.Context(), conn, xid("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		run(t, conn, `INSERT INTO w VALUES (1, 1)`, `UPDATE w SET v = 2`)
		f(b, conn)
		if after := settings(); after != before {
			t.Errorf("%s: settings %s, and %s before", name, after, before)
		}
		run(t, conn, `DROP INDEX i`, `ALTER TABLE t DROP COLUMN c`, `ALTER TABLE t RENAME COLUMN a TO z`, `INSERT INTO t VALUES (1, 1)`, `PRAGMA user_version = 4`, `VACUUM`,
			`BEGIN`, `DELETE FROM t`, `COMMIT`, `CREATE TEMP TABLE tt(a)`, `ALTER TABLE w RENAME TO ww`, `DROP TABLE ww`)
		conn.Close()
	}
}

func TestBeginRefusesWhatCannotCarryABranch(t *testing.T) {
	dir := t.TempDir()
	commitHook := func(c *sqlite3.SQLiteConn) { c.RegisterCommitHook(func() int { return 0 }) }
	authorizer := func(c *sqlite3.SQLiteConn) {
		c.RegisterAuthorizer(func(int, string, string, string) int { return sqlite3.SQLITE_OK })
	}
	for _, c := range []struct {
		hook             func(*sqlite3.SQLiteConn)
		dsn, setup, want string
	}{
		{nil, "file:" + dir + "/delete.db", ``, "journal_mode=WAL"},
		{nil, ":memory:", ``, "use a file"},
		{commitHook, dsn(dir+"/hook.db", ""), ``, "commit hook"},
		{authorizer, dsn(dir+"/auth.db", ""), ``, "authorizer"},
		{nil, dsn(dir+"/log.db", ""), `CREATE TABLE xasql_decision(id TEXT)`, "a file of its own"},
		{nil, dsn(dir+"/temp.db", ""), `CREATE TABLE t(a); CREATE TEMP TRIGGER x AFTER INSERT ON t BEGIN SELECT 1; END`, "temporary triggers"},
	} {
		db := sql.OpenDB(hooked{c.dsn, c.hook})
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		run(t, conn, c.setup)
		_, err = New().Begin(t.Context(), conn, xid("x"), nil)
		if !errors.Is(err, drivers.ErrNotSupported) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.dsn, err, c.want)
		}
		discard(conn)
		db.Close()
	}
}

// hooked opens connections on which hook was called, if there is one.
type hooked struct {
	dsn  string
	hook func(*sqlite3.SQLiteConn)
}

func (h hooked) Connect(context.Context) (sqldriver.Conn, error) {
	conn, err := h.Driver().Open(h.dsn)
	if err == nil && h.hook != nil {
		h.hook(conn.(*sqlite3.SQLiteConn))
	}
	return conn, err
}

func (h hooked) Driver() sqldriver.Driver { return &sqlite3.SQLiteDriver{} }

func TestCheckFindsWhatIsUnfit(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		dsn, setup string
		severity   drivers.Severity
		want       string
	}{
		{dsn(dir+"/good.db", ""), ``, 0, ""},
		{"file:" + dir + "/delete.db", ``, drivers.Fatal, "journal mode is delete"},
		{":memory:", ``, drivers.Fatal, "in memory"},
		{dsn(dir+"/good.db", "&mode=ro"), ``, drivers.Fatal, "can't be written"},
		{dsn(dir+"/log.db", ""), `CREATE TABLE xasql_decision(id TEXT)`, drivers.Fatal, "decision log"},
		{dsn(dir+"/off.db", "&_synchronous=OFF"), ``, drivers.Warning, "synchronous is OFF"},
		{dsn(dir+"/ft.db", ""), `CREATE VIRTUAL TABLE ft USING fts4(a); CREATE VIRTUAL TABLE words USING fts4aux(ft)`, drivers.Warning, `"words"`},
	} {
		db, err := sql.Open("sqlite3", c.dsn)
		if err != nil {
			t.Fatal(err)
		}
		run(t, db, c.setup)
		findings, err := New().(drivers.Checker).Check(t.Context(), db)
		wantIs(t, err)
		switch {
		case c.want == "" && len(findings) != 0:
			t.Errorf("%s: %v", c.dsn, findings)
		case c.want != "" && (len(findings) == 0 || findings[0].Severity != c.severity || !strings.Contains(findings[0].Problem, c.want)):
			t.Errorf("%s: %v, want %s: %q", c.dsn, findings, c.severity, c.want)
		}
		db.Close()
	}
}

// TestFunctionCharIsSQLites for every use that is not the fence's.
func TestFunctionCharIsSQLites(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a)`, `CREATE INDEX i ON t(char(a, 66))`)
	conn, b := branchOn(t, db, "x", nil)
	for _, x := range []querier{db, conn} {
		for args, want := range map[string]string{
			"": "", "65": "41", "65, 66": "4142", "0": "00", "127, 128": "7FC280", "2047, 2048": "DFBFE0A080", "65535, 65536": "EFBFBFF0908080", "1114111, 1114112, -1": "F48FBFBFEFBFBDEFBFBD",
			"NULL, '67', 68.9, x'3639'": "00434445", "'xasqL', 'a'": "0000",
		} {
			if got := one(t, x, `SELECT hex(char(`+args+`))`); got != want {
				t.Errorf("char(%s) = %s, want %s", args, got, want)
			}
		}
	}
	run(t, conn, `INSERT INTO t VALUES (65)`)
	if got := one(t, conn, `SELECT count(*) FROM t WHERE char(a, 66) = 'AB'`); got != "1" {
		t.Errorf("%s rows by the index", got)
	}
	wantPrepared(t, b)
	wantIs(t, b.Commit(t.Context()))
}

// TestReplacedCharIsFound: without the function that captures, a branch must not be prepared.
func TestReplacedCharIsFound(t *testing.T) {
	_, db := newFile(t, `CREATE TABLE t(a)`)
	conn, b := branchOn(t, db, "x", nil)
	wantIs(t, onRaw(conn, func(raw *sqlite3.SQLiteConn) error {
		return raw.RegisterFunc("char", func(...any) string { return "" }, true)
	}))
	run(t, conn, `INSERT INTO t VALUES (1)`)
	_, err := b.Prepare(t.Context())
	wantIs(t, err, drivers.ErrRolledBack)
	if got := one(t, db, `SELECT count(*) FROM t`); got != "0" {
		t.Errorf("%s rows", got)
	}
}

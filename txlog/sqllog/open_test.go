package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

func openPool(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func exec(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// ownPool is a log that closes its pool, too.
type ownPool struct {
	*Log
	db *sql.DB
}

func (l ownPool) Close() error { return errors.Join(l.Log.Close(), l.db.Close()) }

func TestDecisionsSurviveSIGKILLOfProcessesThatShareTheLog(t *testing.T) {
	logtest.KillTest(t, logtest.Processes{
		New: func(t logtest.TB) string { return "file:" + t.TempDir() + "/log.db?_journal_mode=WAL" },
		Open: func(dsn string) (txlog.Log, error) {
			db := sql.OpenDB(connector{dsn, &faults{}})
			l, err := Open(context.Background(), db, SQLite, &Options{Logger: quiet()})
			return ownPool{l, db}, err
		},
		AtOnce: 3,
		Rounds: 4,
	})
}

func TestProcessesThatCreateTheLogAtOnceShareOne(t *testing.T) {
	dsn := sqliteDSN(t)
	ids := make([]string, 8)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			l, err := Open(t.Context(), openPool(t, dsn), SQLite, &Options{Logger: quiet()})
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			ids[i] = l.ID()
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] || len(id) != 12 {
			t.Errorf("identities are %q", ids)
		}
	}
}

func TestTheTablesMayBeMadeByHand(t *testing.T) {
	db := openPool(t, sqliteDSN(t))
	exec(t, db, Schema(SQLite), Schema(SQLite)) // twice changes nothing
	l, err := Open(t.Context(), db, SQLite, &Options{Existing: true, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err != nil {
		t.Error(err)
	}
	l.Close()
	exec(t, db, Schema(SQLite))
	again, err := Open(t.Context(), db, SQLite, &Options{Existing: true, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if again.ID() != l.ID() {
		t.Errorf("identity is %q, was %q", again.ID(), l.ID())
	}
}

func TestSchemaNamesEveryTableAndVersion(t *testing.T) {
	for _, d := range []Dialect{Postgres, MySQL, SQLite} {
		for _, name := range tableNames() {
			if !strings.Contains(Schema(d), "CREATE TABLE IF NOT EXISTS "+name+" ") {
				t.Errorf("%s: no %s", d, name)
			}
		}
		if !strings.Contains(Schema(d), fmt.Sprintf("VALUES (1, %d, ''", version)) {
			t.Errorf("%s: the version is not %d", d, version)
		}
		for s := range strings.SplitSeq(strings.TrimSuffix(Schema(d), ";\n"), ";\n") {
			if strings.Contains(s, ";") {
				t.Errorf("%s: a statement has a semicolon within: %s", d, s)
			}
		}
	}
	if Schema(Dialect{}) != "" {
		t.Error("the zero Dialect has a schema")
	}
}

func TestOpenRefusesAndSaysWhatToDo(t *testing.T) {
	dir := t.TempDir()
	file := func(name, options string) string { return "file:" + filepath.Join(dir, name) + options }
	full := func(name string, statements ...string) *sql.DB {
		db := openPool(t, file(name, ""))
		exec(t, db, append([]string{Schema(SQLite)}, statements...)...)
		return db
	}
	const used = "INSERT INTO xasql_resource (name, identity) VALUES ('orders', 'its')"
	resource := openPool(t, file("resource", ""))
	exec(t, resource, "CREATE TABLE _xa_prepared (xid TEXT)")
	readOnly := full("readonly")
	readOnly.Close()
	if err := os.Chmod(filepath.Join(dir, "readonly"), 0o444); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		db   *sql.DB
		d    Dialect
		opts Options
		want string
	}{
		"no dialect":                   {full("a"), Dialect{}, Options{}, "Dialect is missing"},
		"PostgreSQL's":                 {full("b"), Postgres, Options{}, "open it with sqllog.SQLite"},
		"MySQL's":                      {full("c"), MySQL, Options{}, "open it with sqllog.SQLite"},
		"no tables":                    {openPool(t, file("d", "")), SQLite, Options{Existing: true}, "there is no table xasql_log, xasql_decision"},
		"no tables, to be read":        {openPool(t, file("e", "")), SQLite, Options{ReadOnly: true}, "open it once for writing"},
		"a table is missing":           {full("f", "DROP TABLE xasql_claim"), SQLite, Options{Existing: true}, "there is no table xasql_claim:"},
		"a later version":              {full("g", "UPDATE xasql_log SET version = 2"), SQLite, Options{}, "the log has version 2, and this program knows up to 1"},
		"a later version, to complete": {full("h", "UPDATE xasql_log SET version = 2", "DROP TABLE xasql_claim"), SQLite, Options{}, "version 2"},
		"never opened":                 {full("i"), SQLite, Options{ReadOnly: true}, "never been opened for writing"},
		"no version":                   {full("j", used, "DELETE FROM xasql_log"), SQLite, Options{}, "table xasql_log is empty"},
		"no version, to complete":      {full("n", used, "DELETE FROM xasql_log", "DROP TABLE xasql_claim"), SQLite, Options{}, "table xasql_log is empty"},
		"half made, to be recovered":   {full("o", "DELETE FROM xasql_log"), SQLite, Options{Existing: true}, "table xasql_log is empty"},
		"a short lease":                {full("k"), SQLite, Options{Lease: 1}, "Lease is 1ns"},
		"a resource":                   {resource, SQLite, Options{}, "give the log a file of its own"},
		"in memory":                    {openPool(t, ":memory:"), SQLite, Options{}, "a log needs a file"},
		"temporary":                    {openPool(t, ""), SQLite, Options{}, "a log needs a file"},
		"no journal":                   {openPool(t, file("l", "?_journal_mode=OFF")), SQLite, Options{}, "use WAL, or set RelaxedDurability"},
		"a journal in memory":          {openPool(t, file("m", "?_journal_mode=MEMORY")), SQLite, Options{}, "journal_mode is memory"},
		"not to be written":            {openPool(t, file("readonly", "?mode=ro")), SQLite, Options{}, "the log can't be written"},
	} {
		c.opts.Logger = quiet()
		l, err := Open(t.Context(), c.db, c.d, &c.opts)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "sqllog: open: ") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

// On MySQL a process can be killed between any two of the statements that make a log, and so the next one finds the tables of the first of them.
func TestOpenCompletesALogThatWasLeftHalfMade(t *testing.T) {
	statements := strings.SplitAfter(strings.TrimSpace(Schema(SQLite)), ";\n")
	for n := range len(statements) + 1 {
		db := openPool(t, sqliteDSN(t))
		exec(t, db, statements[:n]...)
		l, err := Open(t.Context(), db, SQLite, &Options{Logger: quiet()})
		if err != nil {
			t.Errorf("after %d of %d statements: %v", n, len(statements), err)
			continue
		}
		if o, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err != nil || o != txlog.Committed {
			t.Errorf("after %d of %d statements: Decide = %s, %v", n, len(statements), o, err)
		}
		l.Close()
	}
}

func TestRelaxedDurabilityIsTakenAtItsWord(t *testing.T) {
	l, err := Open(t.Context(), openPool(t, sqliteDSN(t)[:len(sqliteDSN(t))-3]+"MEMORY"), SQLite, &Options{RelaxedDurability: true, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
}

func TestDurabilityDoesNotHangOnTheDSN(t *testing.T) {
	dsn := sqliteDSN(t) + "&_synchronous=OFF&_busy_timeout=0&_query_only=1&_locking_mode=EXCLUSIVE"
	db := openPool(t, dsn)
	l, err := Open(t.Context(), db, SQLite, &Options{Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var synchronous int
	err = l.writer.do(t.Context(), func(ctx context.Context, conn *sql.Conn) error {
		return conn.QueryRowContext(ctx, "PRAGMA synchronous").Scan(&synchronous)
	})
	if err != nil || synchronous != 3 {
		t.Errorf("synchronous is %d, %v; want EXTRA", synchronous, err)
	}
	other := openFile(t, sqliteDSN(t), Options{})
	mustDecide(t, other, "t", txlog.Committed)
}

func TestAReaderWritesNothing(t *testing.T) {
	l := newLog(t, Options{})
	mustDecide(t, l, "t", txlog.Committed)
	m, err := l.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := openFile(t, l.dsn, Options{ReadOnly: true})
	if _, err := r.Lookup(t.Context(), "t"); err != nil {
		t.Error(err)
	}
	for _, err := range r.Unsettled(t.Context()) {
		if err != nil {
			t.Error(err)
		}
	}
	for _, err := range r.Entries(t.Context()) {
		if err != nil {
			t.Error(err)
		}
	}
	info, err := r.Info(t.Context())
	if err != nil || info.Unsettled != 1 || len(info.Members) != 1 || info.Members[0].Mark != m.Mark() || info.Version != version || info.ID != l.ID() || info.Dialect != SQLite {
		t.Errorf("Info = %+v, %v", info, err)
	}
	if _, err := r.Registered(t.Context(), "r"); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{"Register": r.Register(t.Context(), "r", "i"), "Compact": r.Compact(t.Context())} {
		if err == nil || !strings.Contains(err.Error(), txlog.ErrReadOnly.Error()) {
			t.Errorf("%s: %v, want ErrReadOnly", name, err)
		}
	}
	r.Close()
	for _, verb := range []string{"INSERT", "UPDATE", "DELETE", "CREATE", "BEGIN"} {
		if n := r.faults.count(verb); n != 0 {
			t.Errorf("%d statements with %s", n, verb)
		}
	}
}

func TestMembersClaimManyIDsWithFewStatements(t *testing.T) {
	l := newLog(t, Options{})
	m, err := l.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const n = 10_000
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("%s.01K0000000AAAAA%011d", l.ID(), n-i)
	}
	before := l.faults.count("")
	if no, err := m.Claim(t.Context(), append(ids, ids...)); err != nil || len(no) != 0 {
		t.Fatalf("Claim refuses %d, %v", len(no), err)
	}
	holders, err := l.Holders(t.Context(), ids)
	if err != nil || len(holders) != n {
		t.Fatalf("%d holders, %v", len(holders), err)
	}
	if sent := l.faults.count("") - before; sent > 10*n/claimBatch {
		t.Errorf("%d IDs took %d statements", n, sent)
	}
}

func TestAClaimThatFailsChangesNothing(t *testing.T) {
	l := newLog(t, Options{grammar: serverLike()})
	a, err := l.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []fault{{text: "INSERT INTO xasql_claim", times: -1}, {text: "UPDATE xasql_member", times: -1}} {
		l.faults.add(f)
		if _, err := a.Claim(t.Context(), []string{"t"}); err == nil {
			t.Error("Claim succeeds")
		}
		l.faults.clear()
		if holders, err := l.Holders(t.Context(), []string{"t"}); err != nil || len(holders) != 0 {
			t.Errorf("Holders = %+v, %v; want none", holders, err)
		}
	}
	if no, err := a.Claim(t.Context(), []string{"t"}); err != nil || len(no) != 0 {
		t.Errorf("Claim refuses %+v, %v", no, err)
	}
	if err := a.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := a.Claim(t.Context(), []string{"t"}); err == nil {
		t.Error("a member that has left claims")
	}
}

func TestAMemberThatLeavesIsNotRenewed(t *testing.T) {
	l := newLog(t, Options{Lease: minLease, grammar: serverLike()})
	a, err := l.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	b, err := l.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l.faults.add(fault{text: "DELETE FROM xasql_member", times: -1})
	if err := a.Leave(t.Context()); err == nil {
		t.Error("Leave succeeds, though the database refused it")
	}
	alive := func() map[string]bool {
		info, err := l.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		alive := map[string]bool{}
		for _, m := range info.Members {
			alive[m.Mark] = m.Alive
		}
		return alive
	}
	eventually(t, "its lease is over, and the other's is not", func() bool {
		now := alive()
		return !now[a.Mark()] && now[b.Mark()]
	})
	l.faults.clear()
	if err := a.Leave(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestARegisteredNameThatChangesItsDatabaseIsTold(t *testing.T) {
	var told strings.Builder
	l := newLog(t, Options{})
	l.opts.Logger = loggerTo(&told)
	for _, identity := range []string{"one", "one", "two"} {
		if err := l.Register(t.Context(), "orders", identity); err != nil {
			t.Fatal(err)
		}
		if got, err := l.Registered(t.Context(), "orders"); err != nil || got != identity {
			t.Errorf("Registered = %q, %v; want %q", got, err, identity)
		}
	}
	if got := strings.Count(told.String(), "stands for another database"); got != 1 {
		t.Errorf("told %d times: %s", got, told.String())
	}
	if got, err := l.Registered(t.Context(), "none"); err != nil || got != "" {
		t.Errorf("Registered = %q, %v", got, err)
	}
}

func TestTheClockIsInMicrosecondsOfUTC(t *testing.T) {
	l := newLog(t, Options{Lease: time.Hour}) // which is not renewed meanwhile
	before := time.Now().Add(-time.Second)
	if _, err := l.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	info, err := l.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := info.Members[0]
	if m.Since.Before(before) || m.Since.After(time.Now().Add(time.Second)) || m.Expires.Sub(m.Since) != time.Hour {
		t.Errorf("%+v", m)
	}
}

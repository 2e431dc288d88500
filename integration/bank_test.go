package integration

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/internal/connect"
)

// sqlite stands for SQLite where an engine is wanted.
var sqlite = engines.Engine{Name: "sqlite", Kind: "sqlite"}

// bank is some databases with a ledger each, the log of the program that makes transfers between them, and what that program told.
type bank struct {
	log       string // URL
	told      string // directory, with a file of each program's own: a killed one can leave a part of a line
	databases []database
}

// database is one of a bank's.
type database struct {
	name   string // of the resource
	url    string
	server *engines.Server // nil: SQLite
}

// newBank makes a bank with one database of each engine; an engine may come several times. Its programs work as the servers'
// administrators.
func newBank(t *testing.T, es ...engines.Engine) *bank {
	t.Helper()
	return newBankOf(t, func(s *engines.Server) string { return s.NewDatabase(t) }, es...)
}

// newBankOf makes a bank with the databases whose URLs newDatabase returns.
func newBankOf(t *testing.T, newDatabase func(*engines.Server) string, es ...engines.Engine) *bank {
	t.Helper()
	dir := t.TempDir()
	b := &bank{log: "file:" + filepath.Join(dir, "log"), told: t.TempDir()}
	for i, e := range es {
		d := database{name: fmt.Sprintf("%c-%s", 'a'+i, strings.ReplaceAll(e.Name, ":", "-"))}
		if e == sqlite {
			d.url = "sqlite:" + filepath.Join(dir, d.name+".db")
		} else {
			d.server = e.Server(t)
			d.url = newDatabase(d.server)
		}
		db := d.open(t)
		err := ledger.Create(t.Context(), db)
		db.Close()
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		b.databases = append(b.databases, d)
	}
	return b
}

// open opens a pool of the checker's own. The caller closes it: an open connection is a session that awaitQuiet waits for.
func (d database) open(t *testing.T) *sql.DB {
	t.Helper()
	path, isFile := strings.CutPrefix(d.url, "sqlite:")
	var db *sql.DB
	var err error
	if isFile {
		db, err = sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_busy_timeout=5000")
	} else {
		db, err = engines.Open(d.url)
	}
	if err != nil {
		t.Fatalf("%s: open: %v", d.name, err)
	}
	return db
}

// patiently has who connects wait for a minute, and not for the ten seconds that are the default: a machine may be busy, or stand still.
func patiently(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return raw
	}
	q := u.Query()
	switch u.Scheme {
	case "postgres":
		q.Set("connect_timeout", "60")
	case "mysql":
		q.Set("timeout", "60s")
	}
	u.RawQuery = q.Encode()
	return u.String()
}

// env tells the programs of log and databases, with the passwords apart from the URLs.
func (b *bank) env() []string {
	var env, resources []string
	without := func(name, raw string) string {
		raw = patiently(raw)
		u, _ := url.Parse(raw)
		password, ok := u.User.Password()
		if !ok {
			return raw
		}
		variable := strings.NewReplacer("-", "_", ".", "_").Replace(strings.ToUpper(name))
		env = append(env, "XA_"+variable+"_PASSWORD="+password)
		u.User = url.User(u.User.Username())
		return u.String()
	}
	for _, d := range b.databases {
		resources = append(resources, d.name+"="+without(d.name, d.url))
	}
	env = append(env, "XA_LOG="+without("log", b.log))
	return append(env, "XA_RESOURCES="+strings.Join(resources, "\n"))
}

// start starts the program that makes transfers.
func (b *bank) start(t *testing.T, args ...string) *process {
	t.Helper()
	out := b.teller(t)
	defer out.Close()
	return startProgram(t, b.env(), out, "transfers", args...)
}

// teller makes a file for what one program tells. The caller closes it.
func (b *bank) teller(t *testing.T) *os.File {
	t.Helper()
	f, err := os.CreateTemp(b.told, "")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// startRecover starts xa-recover.
func (b *bank) startRecover(t *testing.T, args ...string) *process {
	t.Helper()
	return startProgram(t, b.env(), nil, "xa-recover", args...)
}

// awaitTold returns when the running program has told this outcome of a transfer.
func (b *bank) awaitTold(t *testing.T, want ledger.Outcome) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); ; <-tick.C {
		if slices.Contains(slices.Collect(maps.Values(b.readTold(t))), want) {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("no transfer was told as %s within a minute", want)
		}
	}
}

func (b *bank) readTold(t *testing.T) ledger.Told {
	t.Helper()
	told := ledger.Told{}
	files, err := os.ReadDir(b.told)
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(filepath.Join(b.told, file.Name()))
		if err == nil {
			err = told.Read(bytes.NewReader(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return told
}

// awaitQuiet returns when the databases have noticed that killed programs are gone: a statement that was on its way
// may take effect until then.
func (b *bank) awaitQuiet(t *testing.T) {
	t.Helper()
	for _, d := range b.databases {
		if d.server != nil {
			d.server.AwaitNoSessions(t, d.url)
		}
	}
}

// check fails the test for everything that is wrong after recovery: the books, what was told, what is still prepared,
// and what the log has not settled. It returns the books by resource, and what was told.
func (b *bank) check(t *testing.T) (map[string]ledger.Book, ledger.Told) {
	t.Helper()
	told := b.readTold(t)
	id := b.checkLog(t)
	books := map[string]ledger.Book{}
	for _, d := range b.databases {
		books[d.name] = d.check(t, id)
	}
	for _, wrong := range ledger.Check(books, told) {
		t.Error(wrong)
	}
	return books, told
}

// checkLog returns the log's identity.
func (b *bank) checkLog(t *testing.T) string {
	t.Helper()
	log, err := connect.ReadLog(b.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for d, err := range log.Unsettled(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		t.Errorf("%s: %s, and not settled", d.ID, d.Outcome)
	}
	return log.ID()
}

// check reads a database, and fails the test if it holds a prepared branch of that log.
func (d database) check(t *testing.T, logID string) ledger.Book {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	book, err := ledger.Read(t.Context(), db)
	if err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	for _, prepared := range d.prepared(t.Context(), t, db) {
		if strings.Contains(prepared, logID+".") {
			t.Errorf("%s: still prepared: %s", d.name, prepared)
		}
	}
	return book
}

// prepared lists what the database, or its whole server, holds prepared.
func (d database) prepared(ctx context.Context, t *testing.T, db *sql.DB) []string {
	t.Helper()
	if d.server != nil {
		return d.server.Prepared(t)
	}
	rows, err := db.QueryContext(ctx, "select xid from _xa_prepared")
	if err != nil {
		t.Errorf("%s: list prepared branches: %v", d.name, err)
		return nil
	}
	defer rows.Close()
	var got []string
	for rows.Next() {
		var xid string
		if err := rows.Scan(&xid); err != nil {
			t.Errorf("%s: list prepared branches: %v", d.name, err)
		}
		got = append(got, xid)
	}
	return got
}

package integration

import (
	"crypto/rand"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/sqllog"
)

// hand is a log and some databases with transactions in doubt, for xa-recover to finish.
type hand struct {
	*testing.T // of the command that is tried
	*bank
	resources []drivers.Resource // the last is SQLite, which can prove what became of a branch
	logID     string
	row       int      // of the latest transaction
	other     doubt    // another transaction, which is to have another end
	alive     []int    // processes that share the log
	lost      string   // the identity of a log that nobody has
	rounds    []string // first IDs of what was written before each compaction
	said      string   // by the latest xa-recover
}

// doubt is a transaction that is prepared, and the row that each of its branches inserts.
type doubt struct {
	id  string
	row int
}

// newHand makes databases on PostgreSQL, that engine and SQLite, and a log in files or in PostgreSQL.
func newHand(t *testing.T, e engines.Engine, logInFiles bool) *hand {
	t.Helper()
	es := []engines.Engine{named(t, "postgres:17"), e, sqlite}
	if everyStep() {
		es = []engines.Engine{es[0], named(t, "mysql:9.7"), named(t, "mariadb:11.8"), sqlite}
	}
	h := &hand{T: t, bank: newBank(t, es...), lost: strings.ToLower(rand.Text()[:12])}
	for i, d := range h.databases {
		h.databases[i].url = patiently(d.url)
	}
	if !logInFiles {
		h.shareLog(t, database{name: "log", url: patiently(h.databases[0].server.NewDatabase(t))}, sqllog.Postgres)
	}
	for _, d := range h.databases {
		res, err := connect.Create(d.name, d.url)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.DB.Close() })
		mustExec(t, res.DB, "create table done (id int primary key)")
		h.resources = append(h.resources, res)
	}
	h.withLog(func(log txlog.Log) { h.logID = log.ID() })
	lite := h.resources[len(h.resources)-1] // makes its tables with the first branch, and the judge reads them
	id := h.prepare(h.logID, lite)
	if err := lite.Driver.RollbackPrepared(t.Context(), lite.DB, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: lite.Name}); err != nil {
		t.Fatal(err)
	}
	return h
}

// inFiles tells whether the log is a directory, and which.
func (h *hand) inFiles() (dir string, ok bool) { return strings.CutPrefix(h.log, "file:") }

// withLog opens the log for as long as f works with it.
func (h *hand) withLog(f func(txlog.Log)) {
	h.Helper()
	u, err := connect.ParseLog(h.log)
	if err != nil {
		h.Fatal(err)
	}
	log, err := u.Open(h.Context(), connect.LogOptions{Create: true, Logger: quietLogger()})
	if err != nil {
		h.Fatal(err)
	}
	f(log)
	if err := log.Close(); err != nil {
		h.Fatal(err)
	}
}

// servers are the resources but SQLite, whose files hold one prepared branch at a time.
func (h *hand) servers() []drivers.Resource { return h.resources[:len(h.resources)-1] }

// prepare leaves a transaction of that log in doubt in these databases, and returns its ID.
func (h *hand) prepare(logID string, resources ...drivers.Resource) (id string) {
	h.Helper()
	h.row++
	id = txid.New(logID, "", time.Now())
	for _, res := range resources {
		conn, err := res.DB.Conn(h.Context())
		if err != nil {
			h.Fatal(err)
		}
		b, err := res.Driver.Begin(h.Context(), conn, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: res.Name}, nil)
		if err != nil {
			h.Fatal(err)
		}
		mustExec(h, conn, fmt.Sprintf("insert into done values (%d)", h.row))
		if _, err := b.Prepare(h.Context()); err != nil {
			h.Fatal(err)
		}
		conn.Raw(func(any) error { return driver.ErrBadConn })
		conn.Close()
	}
	return id
}

// awaitFree returns when no session holds a branch of that transaction any more.
func (h *hand) awaitFree(id string) {
	h.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); ; <-tick.C {
		held := ""
		for _, res := range h.resources {
			list, err := res.Driver.Prepared(h.Context(), res.DB)
			if err != nil {
				h.Fatal(err)
			}
			if slices.ContainsFunc(list, func(p drivers.Prepared) bool { return p.XID.GTRID == id && p.Held }) {
				held = res.Name
			}
		}
		if held == "" {
			return
		}
		if time.Now().After(limit) {
			h.Fatalf("a session in %s still holds its branch after a minute", held)
		}
	}
}

// decide writes a decision, as a coordinator does that is killed then.
func (h *hand) decide(log txlog.Log, id string, outcome txlog.Outcome, resources ...drivers.Resource) {
	h.Helper()
	d := txlog.Decision{ID: id, Outcome: outcome, At: time.Now()}
	for _, res := range resources {
		d.Resources = append(d.Resources, res.Name)
	}
	if got, err := log.Decide(h.Context(), d); err != nil || got != outcome {
		h.Fatalf("decide: %v, %v", got, err)
	}
}

// want runs xa-recover to its end, undisturbed, and returns its exit status, which must be one of these.
func (h *hand) want(args []string, status ...int) int {
	h.Helper()
	p := h.startRecover(h.T, args...)
	got := p.wait(h.T)
	h.said = p.stderr.String()
	if !slices.Contains(status, got) {
		h.Fatalf("xa-recover %v: status %d, want %v:\n%s", args, got, status, h.said)
	}
	return got
}

// adopt runs a command that adopts the lost log, to its end: again where it was refused.
func (h *hand) adopt(status int, args ...string) {
	h.Helper()
	for limit := time.Now().Add(time.Minute); h.want(args, status, 3) != status || h.refused(); {
		if !h.refused() || time.Now().After(limit) {
			h.Fatalf("xa-recover %v does not adopt:\n%s", args, h.said)
		}
	}
}

// refused tells whether the latest xa-recover found the lost log in use. Of a session that is just ending MariaDB does not tell what it holds, so that any on
// the server, as those of the other hands, may be taken for one that holds a branch of that log.
func (h *hand) refused() bool { return strings.Contains(h.said, "is in use") }

// in tells whether the row is in all these databases, or in none; anything else ends the test.
func (h *hand) in(row int, resources ...drivers.Resource) bool {
	h.Helper()
	var has []string
	for _, res := range resources {
		var one int
		switch err := res.DB.QueryRowContext(h.Context(), fmt.Sprintf("select 1 from done where id = %d", row)).Scan(&one); err {
		case nil:
			has = append(has, res.Name)
		case sql.ErrNoRows:
		default:
			h.Fatal(err)
		}
	}
	if len(has) != 0 && len(has) != len(resources) {
		h.Fatalf("row %d is in %v only", row, has)
	}
	return len(has) > 0
}

// prepared counts the databases that hold a branch of that transaction, as their servers tell it.
func (h *hand) prepared(id string) int {
	h.Helper()
	n := 0
	for i, d := range h.databases {
		if slices.ContainsFunc(d.prepared(h.Context(), h.T, h.resources[i].DB), func(s string) bool { return strings.Contains(s, id) }) {
			n++
		}
	}
	return n
}

// finished fails the test unless the latest transaction is committed everywhere, or nowhere, and prepared nowhere.
func (h *hand) finished(id string, committed bool) {
	h.Helper()
	if got := h.in(h.row, h.resources...); got != committed {
		h.Fatalf("%s: committed %v, want %v", id, got, committed)
	}
	if n := h.prepared(id); n != 0 {
		h.Fatalf("%s: still prepared in %d databases", id, n)
	}
}

// notes counts what is noted of a transaction.
func (h *hand) notes(id string) (n int) {
	h.Helper()
	h.withLog(func(log txlog.Log) {
		for _, err := range log.(txlog.Notes).Noted(h.Context(), id) {
			if err != nil {
				h.Fatal(err)
			}
			n++
		}
	})
	return n
}

// expire ends the leases of all members but those that are alive: the next one would wait on those that were killed.
func (h *hand) expire() {
	h.Helper()
	if _, ok := h.inFiles(); ok {
		return
	}
	db, err := engines.Open(h.log)
	if err != nil {
		h.Fatal(err)
	}
	defer db.Close()
	dead := "update xasql_member set expires = 0 where true"
	for _, pid := range h.alive {
		dead += fmt.Sprintf(" and name not like '%% pid %d'", pid)
	}
	mustExec(h, db, dead)
}

// behind returns the same bank, reached by way of the stepper.
func (b *bank) behind(t *testing.T, s *stepper) *bank {
	t.Helper()
	by := func(raw string) string {
		u, err := url.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		switch u.Scheme {
		case "postgres":
			u.Host = s.proxy(t, u.Host, isPostgresRequest)
		case "mysql":
			u.Host = s.proxy(t, u.Host, isMySQLRequest)
		default:
			return raw
		}
		return u.String()
	}
	c := *b
	c.log, c.databases = by(b.log), slices.Clone(b.databases)
	for i := range c.databases {
		c.databases[i].url = by(c.databases[i].url)
	}
	return &c
}

// everyStep tells whether all steps are wanted, of which an ordinary run tries some.
func everyStep() bool { return os.Getenv("XA_MATRIX") == "full" }

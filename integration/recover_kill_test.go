package integration

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
)

// hand is a log and three databases with transactions in doubt, which xa-recover reaches by way of a stepper.
type hand struct {
	*testing.T
	servers   map[string]string // resource to URL, as the test reaches it
	resources []drivers.Resource
	logURL    string
	logID     string
	dir       string
	row       int
}

// newHand makes databases on PostgreSQL, MariaDB and SQLite, and a log in files or in PostgreSQL.
func newHand(t *testing.T, logInFiles bool) *hand {
	t.Helper()
	pg, my := named(t, "postgres:17"), named(t, "mariadb:11.8")
	engines.Start(pg, my)
	h := &hand{T: t, dir: t.TempDir(), servers: map[string]string{}}
	h.servers["pg"], h.servers["my"] = pg.Server(t).NewDatabase(t), my.Server(t).NewDatabase(t)
	h.servers["lite"] = "sqlite:" + filepath.Join(h.dir, "lite.db")
	h.logURL = "file:" + filepath.Join(h.dir, "log")
	if !logInFiles {
		h.logURL = pg.Server(t).NewDatabase(t)
	}
	for _, name := range []string{"pg", "my", "lite"} {
		res, err := connect.Create(name, h.servers[name])
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { res.DB.Close() })
		mustExec(t, res.DB, "create table done (id int primary key)")
		h.resources = append(h.resources, res)
	}
	h.withLog(h.logURL, true, func(log txlog.Log) { h.logID = log.ID() })
	return h
}

// withLog opens the log for as long as f works with it.
func (h *hand) withLog(raw string, create bool, f func(txlog.Log)) {
	h.Helper()
	u, err := connect.ParseLog(raw)
	if err != nil {
		h.Fatal(err)
	}
	log, err := u.Open(h.Context(), connect.LogOptions{Create: create})
	if err != nil {
		h.Fatal(err)
	}
	f(log)
	if err := log.Close(); err != nil {
		h.Fatal(err)
	}
}

// doubt prepares a transaction of that log in all three databases, and returns its ID and the row that each branch inserts.
func (h *hand) doubt(logID string) (id string, row int) {
	h.Helper()
	h.row++
	id = txid.New(logID, "", time.Now())
	for _, res := range h.resources {
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
	return id, h.row
}

// decide writes a decision, as a coordinator does that is killed then.
func (h *hand) decide(id string, outcome txlog.Outcome) {
	h.Helper()
	h.withLog(h.logURL, false, func(log txlog.Log) {
		d := txlog.Decision{ID: id, Outcome: outcome, Resources: []string{"pg", "my", "lite"}, At: time.Now()}
		if got, err := log.Decide(h.Context(), d); err != nil || got != outcome {
			h.Fatalf("decide: %v, %v", got, err)
		}
	})
}

// recover starts xa-recover, behind the stepper.
func (h *hand) recover(s *stepper, args ...string) *process {
	h.Helper()
	behind := func(raw string) string {
		u, err := url.Parse(raw)
		if err != nil {
			h.Fatal(err)
		}
		switch u.Scheme {
		case "postgres":
			u.Host = s.proxy(h.T, u.Host, isPostgresRequest)
		case "mysql":
			u.Host = s.proxy(h.T, u.Host, isMySQLRequest)
		default:
			return raw
		}
		return u.String()
	}
	var resources []string
	for _, res := range h.resources {
		resources = append(resources, res.Name+"="+behind(h.servers[res.Name]))
	}
	env := []string{"XA_LOG=" + behind(h.logURL), "XA_RESOURCES=" + strings.Join(resources, "\n")}
	return startProgram(h.T, env, nil, "xa-recover", args...)
}

// want runs xa-recover to its end, undisturbed.
func (h *hand) want(status int, args ...string) {
	h.Helper()
	p := h.recover(newStepper(-1), args...)
	if got := p.wait(h.T); got != status {
		h.Fatalf("xa-recover %v: status %d, want %d:\n%s", args, got, status, p.stderr.String())
	}
}

// all tells whether the row is in all databases, or in none; anything else ends the test.
func (h *hand) all(row int) bool {
	h.Helper()
	n := 0
	for _, res := range h.resources {
		var one int
		switch err := res.DB.QueryRowContext(h.Context(), fmt.Sprintf("select 1 from done where id = %d", row)).Scan(&one); err {
		case nil:
			n++
		case sql.ErrNoRows:
		default:
			h.Fatal(err)
		}
	}
	if n != 0 && n != len(h.resources) {
		h.Fatalf("row %d is in %d of %d databases", row, n, len(h.resources))
	}
	return n > 0
}

// notes counts what is noted of a transaction.
func (h *hand) notes(id string) int {
	h.Helper()
	n := 0
	h.withLog(h.logURL, false, func(log txlog.Log) {
		for _, err := range log.(txlog.Notes).Noted(h.Context(), id) {
			if err != nil {
				h.Fatal(err)
			}
			n++
		}
	})
	return n
}

// handCommand is a command that is cut short at each of its requests.
type handCommand struct {
	name      string
	arguments func(h *hand, id string) []string
	before    func(h *hand) string // what is in doubt: its ID
	committed bool
	noted     bool // as a person's decision
}

func handCommands() []handCommand {
	byHand := func(name string) func(*hand, string) []string {
		return func(_ *hand, id string) []string { return []string{name, id, "--why", "the ledger says so", "--yes"} }
	}
	resolve := func(*hand, string) []string { return []string{"resolve"} }
	undecided := func(h *hand) string { id, _ := h.doubt(h.logID); return id }
	return []handCommand{
		{"commit", byHand("commit"), undecided, true, true},
		{"rollback", byHand("rollback"), undecided, false, true},
		{"resolve-committed", resolve, func(h *hand) string {
			id, _ := h.doubt(h.logID)
			h.decide(id, txlog.Committed)
			return id
		}, true, false},
		{"resolve-undecided", resolve, undecided, false, false},
	}
}

// A person's command, or cron's, that is killed after any of its requests has done all of what it decided, or none of it, once it is run again.
func TestRecoverKilledAfterEachRequestEndsTheSameWhenRunAgain(t *testing.T) {
	forEachHand(t, 4, func(h *hand, c handCommand, n int) (ended bool) {
		id := c.before(h)
		s := newStepper(n)
		ended = h.stop(h.recover(s, c.arguments(h, id)...), s)
		h.settled(c, id, n)
		return ended
	})
}

// Two at once, of which one stands still after any of its requests while the other goes to its end, make one outcome.
func TestTwoRecoveriesOfWhichOneStandsStillMakeOneOutcome(t *testing.T) {
	forEachHand(t, 10, func(h *hand, c handCommand, n int) (ended bool) {
		id := c.before(h)
		s := newStepper(n)
		p := h.recover(s, c.arguments(h, id)...)
		done := make(chan int, 1)
		go func() { done <- p.wait(t) }()
		select {
		case <-s.reached:
			other := h.recover(newStepper(-1), append(c.arguments(h, id), "--timeout", "5s")...)
			other.wait(t) // it may have to leave what the one holds
			s.thaw()
			<-done
		case got := <-done:
			s.cut()
			if ended = !s.spent(); ended && got != 0 {
				t.Errorf("undisturbed: status %d\n%s", got, p.stderr.String())
			}
		}
		h.settled(c, id, n)
		return ended
	})
}

// forEachHand calls f with every command, on both kinds of logs, for more and more requests until the command ends by itself. A log in a
// database takes many requests, of which only some are tried, for a person's command and cron's.
func forEachHand(t *testing.T, stride int, f func(h *hand, c handCommand, n int) (ended bool)) {
	for _, files := range []bool{true, false} {
		for i, c := range handCommands() {
			if !files && i%3 != 0 {
				continue
			}
			t.Run(fmt.Sprintf("%s/files=%v", c.name, files), func(t *testing.T) {
				h := newHand(t, files)
				step := stride
				if !files {
					step *= 7
				}
				n := 1 + i%step // another residue for each command
				for !f(h, c, n) {
					n += step
				}
				t.Logf("it ends within %d requests", n)
				h.want(0, "resolve")
			})
		}
	}
}

// stop kills the process once it has reached the step, unless it gives up for want of answers. It returns whether it ended before the step.
func (h *hand) stop(p *process, s *stepper) (ended bool) {
	h.Helper()
	done := make(chan int, 1)
	go func() { done <- p.wait(h.T) }()
	select {
	case <-s.reached:
		if err := p.Process.Kill(); err != nil {
			h.Fatal(err)
		}
		<-done
		s.cut()
		h.expire()
		return false
	case status := <-done:
		s.cut()
		if ended = !s.spent(); ended && status != 0 {
			h.Fatalf("undisturbed: status %d\n%s", status, p.stderr.String())
		}
		h.expire()
		return ended
	}
}

// expire ends the lease of a member that was killed, on which the next one would wait.
func (h *hand) expire() {
	h.Helper()
	if strings.HasPrefix(h.logURL, "file:") {
		return
	}
	db, err := engines.Open(h.logURL)
	if err != nil {
		h.Fatal(err)
	}
	defer db.Close()
	mustExec(h, db, "update xasql_member set expires = 0")
}

// settled runs the command again, and then checks that everything is as one undisturbed run leaves it.
func (h *hand) settled(c handCommand, id string, n int) {
	h.Helper()
	h.want(0, c.arguments(h, id)...)
	if got := h.all(h.row); got != c.committed {
		h.Errorf("cut short after %d requests: committed %v, want %v", n, got, c.committed)
	}
	if got := h.notes(id); (got > 0) != c.noted {
		h.Errorf("cut short after %d requests: %d notes", n, got)
	}
}

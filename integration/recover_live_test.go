package integration

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
)

// An operator, or a cron job, that runs xa-recover while the application owns the log in files does no harm, whatever the command, also twice at once, and killed:
// it says that something is in doubt, and leaves it to the application, even to one that is suspended. "Nobody may" is proved by a transaction that is
// prepared under the application's log while that can't touch it.
func TestRecoverBesideALivingApplicationTouchesNothing(t *testing.T) {
	engines.Start(named(t, "postgres:17"), named(t, "mysql:9.7"))
	h := newHand(t, named(t, "mysql:9.7"), true)
	app := h.onServers().start(t, "-workers", "4", "-jitter", "50ms")
	h.awaitTold(t, ledger.Committed)
	lost := txid.New(h.logID, "", time.Now())
	for _, args := range liveCommands(lost, h.lost) {
		h.twice(args, 0, 1, 2, 3) // nothing may be in doubt at the moment, and that ID is nobody's
	}
	for _, args := range [][]string{{"log", "compact"}, {"log", "adopt", "--yes"}, {"forget", lost}} {
		h.twice(args, 3)
	}

	if err := app.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	id := h.prepare(h.logID, h.servers()...)
	h.want([]string{"commit", id[:len(id)-1] + "U", "--why", "ledger", "--yes"}, 2)
	for i, args := range liveCommands(id, h.lost) {
		h.twice(args, 3)
		for n := 1 + i%4; ; n += 4 {
			status, ended := h.killAtRequest(handCommand{status: 3}, n, args)
			if status != -1 && status != 3 {
				t.Errorf("xa-recover %v beside a suspended owner, killed after %d requests: status %d", args, n, status)
			}
			if ended {
				break
			}
		}
	}
	if n := h.prepared(id); n != len(h.servers()) || h.in(h.row, h.servers()...) {
		t.Errorf("%s is prepared in %d databases: xa-recover has touched what the application owns", id, n)
	}
	if err := app.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	h.awaitGone(id)
	if h.in(h.row, h.servers()...) {
		t.Errorf("%s is committed, and nobody has decided so", id)
	}
	h.endWell(app)
}

// liveCommands are the commands that change something, about that transaction and a lost log.
func liveCommands(id, lost string) [][]string {
	return [][]string{
		{"resolve"},
		{"resolve", "--adopt", lost, "--yes"},
		{"commit", id, "--why", "ledger", "--yes"},
		{"rollback", id, "--why", "ledger", "--yes"},
		{"commit", id, "--why", "ledger", "--yes", "--force"},
		{"forget", id},
		{"log", "compact"},
		{"log", "adopt", "--yes"},
	}
}

// Beside living members of a shared log every command works, twice at once of which one is killed, on what dead members have left; the living go on, and
// are right.
func TestCommandsBesideLivingMembersOfASharedLogDoWhatTheySay(t *testing.T) {
	engines.Start(named(t, "postgres:17"), named(t, "mysql:9.7"))
	h := newHand(t, named(t, "mysql:9.7"), false)
	apps := []*process{h.onServers().start(t, "-workers", "2", "-jitter", "20ms", "-prefix", "m1"), h.onServers().start(t, "-workers", "2", "-jitter", "20ms", "-prefix", "m2")}
	for i, app := range apps {
		h.awaitToldOf(t, fmt.Sprintf("m%d-", i+1))
		h.alive = append(h.alive, app.Process.Pid)
	}
	steps := []int{4, 40}
	if everyStep() {
		steps = nil
		for n := 1; n < 150; n += 3 {
			steps = append(steps, n)
		}
	}
	for i, n := range steps {
		for j, c := range memberCommands() {
			h.besideMembers(c, fmt.Sprintf("dead%d-%d", i, j), n+2*j)
			if j%3 == 0 {
				h.adoptBesideMembers(n + 2*j)
			}
			if t.Failed() {
				t.FailNow() // what follows would fail for the same reason
			}
		}
	}
	h.awaitTold(t, ledger.Committed)
	h.endWell(apps...)
	h.leave()
}

// memberCommand is a command on what a member has left that was killed at that point, and what may come of it.
type memberCommand struct {
	arguments string // ID stands for the transaction's
	killed    string
	statuses  []int
	// wrong tells whether the outcome is not one that the status allows.
	wrong func(status int, committed bool) bool
}

// memberCommands are tried while the living members recover, too: who comes first decides, and the others agree, or are refused.
func memberCommands() []memberCommand {
	always := func(want bool) func(int, bool) bool {
		return func(_ int, committed bool) bool { return committed != want }
	}
	asSaid := func(want bool) func(int, bool) bool {
		return func(status int, committed bool) bool {
			return status == 0 && committed != want || status == 1 && committed == want
		}
	}
	return []memberCommand{
		{"commit ID --why ledger --yes", "decide-start", []int{0, 1, 3}, asSaid(true)},
		{"rollback ID --why ledger --yes", "decide-start", []int{0, 3}, always(false)},
		{"rollback ID --why ledger --yes", "decide-done", []int{1, 3}, always(true)},
		{"commit ID --why ledger --yes", "decide-done", []int{0, 3}, always(true)},
		{"resolve", "decide-start", []int{0, 3}, always(false)},
		{"resolve", "decide-done", []int{0, 3}, always(true)},
		{"log compact", "decide-done", []int{0}, always(true)},
	}
}

// besideMembers kills a member, and has the command run twice at once on what it left, of which one is killed after n requests.
func (h *hand) besideMembers(c memberCommand, prefix string, n int) {
	h.Helper()
	dead := h.onServers().start(h.T, "-prefix", prefix, "-count", "1", "-kill", c.killed)
	dead.want(h.T, -1)
	id := h.leftBy(dead.Process.Pid)
	h.expire()
	args := strings.Fields(strings.ReplaceAll(c.arguments, "ID", id))
	status := h.killedBeside(args, n, c.statuses...)
	h.awaitSettled(id, []string{"resolve"})
	committed := h.posted(prefix + "-1")
	if c.wrong(status, committed) {
		h.Errorf("xa-recover %v beside one that was killed after %d requests ended with status %d: committed is %v", args, n, status, committed)
	}
	h.want([]string{"list"}, 0, 3)
	if h.notes(id) > 0 {
		h.killedBeside([]string{"forget", id}, n/2, 0, 1) // the one that is killed may have been the first
		if left := h.notes(id); left > 0 {
			h.Errorf("%d notes on %s are left", left, id)
		}
	}
}

// adoptBesideMembers has what a lost log left adopted twice at once.
func (h *hand) adoptBesideMembers(n int) {
	h.Helper()
	h.other = doubt{id: h.lost}
	id := adoptBefore(h)
	args := []string{"resolve", "--adopt", h.lost, "--yes"}
	h.killedBeside(args, n, 0, 3)
	h.awaitSettled(id, args)
	h.finished(id, true)
}

// killedBeside runs the command twice at once. One is killed after n requests; the other's exit status, which must be one of these, is returned.
func (h *hand) killedBeside(args []string, n int, statuses ...int) (status int) {
	h.Helper()
	s := newStepper(n)
	one, other := h.behind(h.T, s).startRecover(h.T, args...), h.startRecover(h.T, args...)
	done := make(chan int, 1)
	go func() { done <- one.wait(h.T) }()
	var got int
	select {
	case <-s.reached:
		_ = one.Process.Kill() // it may have ended, if nobody waits for that answer
		got = <-done
	case got = <-done:
	}
	s.cut()
	if got != -1 && !slices.Contains(append(statuses, 1, 3), got) {
		h.Errorf("xa-recover %v, to be killed after %d requests, ends with status %d:\n%s", args, n, got, one.stderr.String())
	}
	if status = other.wait(h.T); !slices.Contains(statuses, status) {
		h.Errorf("xa-recover %v beside one that was killed: status %d, want one of %v:\n%s", args, status, statuses, other.stderr.String())
	}
	h.expire()
	return status
}

// twice runs the command twice at once. Both must end with one of these statuses.
func (h *hand) twice(args []string, statuses ...int) {
	h.Helper()
	both := []*process{h.startRecover(h.T, args...), h.startRecover(h.T, args...)}
	for _, p := range both {
		if got := p.wait(h.T); !slices.Contains(statuses, got) {
			h.Errorf("xa-recover %v beside a living owner: status %d, want one of %v:\n%s", args, got, statuses, p.stderr.String())
		}
	}
}

// onServers is the bank without SQLite, whose file would hold up the application while a test has a branch in it.
func (h *hand) onServers() *bank {
	b := *h.bank
	b.databases = b.databases[:len(h.servers())]
	return &b
}

// leftBy returns the ID of the transaction that a killed member has left.
func (h *hand) leftBy(pid int) (id string) {
	h.Helper()
	mark := h.markOf(pid)
	for _, d := range h.onServers().databases {
		for _, p := range d.server.Prepared(h.T) {
			if i := strings.Index(p, h.logID+"."); i >= 0 {
				if x := p[i:min(len(p), i+len(h.logID)+1+len(txid.New("", "", time.Now()))-1)]; txlog.Mark(x) == mark {
					return x
				}
			}
		}
	}
	h.Fatalf("process %d, of mark %q, has left nothing prepared", pid, mark)
	return ""
}

// markOf returns the mark of that process in the shared log.
func (h *hand) markOf(pid int) (mark string) {
	h.Helper()
	db, err := engines.Open(h.log)
	if err != nil {
		h.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRowContext(h.Context(), fmt.Sprintf("select mark from xasql_member where name like '%% pid %d'", pid)).Scan(&mark); err != nil {
		h.Fatal(err)
	}
	return mark
}

// awaitSettled runs the command until no database holds a branch of that transaction: a living member may have it in hand.
func (h *hand) awaitSettled(id string, args []string) {
	h.Helper()
	for limit := time.Now().Add(time.Minute); h.prepared(id) > 0; {
		if time.Now().After(limit) {
			h.Fatalf("%s is in doubt for a minute", id)
		}
		h.want(args, 0, 3)
	}
}

// awaitGone returns when no database holds a branch of that transaction.
func (h *hand) awaitGone(id string) {
	h.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); h.prepared(id) > 0; <-tick.C {
		if time.Now().After(limit) {
			h.Fatalf("%s is in doubt for a minute", id)
		}
	}
}

// posted tells whether a transfer is in the books of both its databases, or of none.
func (h *hand) posted(transfer string) bool {
	h.Helper()
	n := 0
	for _, d := range h.onServers().databases {
		db := d.open(h.T)
		book, err := ledger.Read(h.Context(), db)
		db.Close()
		if err != nil {
			h.Fatal(err)
		}
		if _, ok := book.Entries[transfer]; ok {
			n++
		}
	}
	if n == 1 {
		h.Fatalf("%s is in one of the two books", transfer)
	}
	return n == 2
}

// endWell ends the applications, which must have had nothing but good luck, and holds the books against what they told.
func (h *hand) endWell(apps ...*process) {
	h.Helper()
	for _, app := range apps {
		if err := app.Process.Signal(syscall.SIGTERM); err != nil {
			h.Fatal(err)
		}
	}
	for _, app := range apps {
		app.want(h.T, 0)
		if out := app.stderr.String(); strings.Contains(out, "heuristic") {
			h.Errorf("an application tells of a heuristic outcome:\n%s", out)
		}
	}
	h.alive = nil
	_, told := h.check(h.T)
	if count := counted(h.T, told); count[ledger.Committed] == 0 || count[ledger.Heuristic] > 0 {
		h.Errorf("transfers of the living: %v", count)
	}
}

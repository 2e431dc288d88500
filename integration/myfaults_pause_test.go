package integration

import (
	"strings"
	"syscall"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// An application is suspended until its servers have dropped every session of it, and its transactions' timeouts are over. Its log in files
// is its own all that time: xa-recover tells so and touches nothing. When it goes on it comes to an end that is true.
func TestMySQLSuspendedApplicationKeepsItsLogAndComesToATrueEnd(t *testing.T) {
	t.Parallel()
	es := []engines.Engine{named(t, "mysql:9.7"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	// One of its sessions may wait for a row that a branch of its own has locked.
	const soon = "?wait_timeout=5&interactive_timeout=5&innodb_lock_wait_timeout=2"
	b := newBankOf(t, func(s *engines.Server) string { return s.NewDatabase(t) + soon }, append(es, sqlite)...)
	p := b.start(t, "-workers", "8", "-jitter", "20ms")
	b.awaitTold(t, ledger.Committed)
	b.suspendUntilDropped(t, p)
	b.awaitMoreTold(t)
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.want(t, 0)
	if out := p.stderr.String(); strings.Contains(out, "heuristic") {
		t.Errorf("the application tells of a heuristic outcome:\n%s", out)
	}
	b.awaitQuiet(t)
	_, told := b.check(t)
	counted(t, told)
}

// suspendUntilDropped stops the application until no server has a session of it any more, lets xa-recover look, and lets the application go on.
func (b *bank) suspendUntilDropped(t *testing.T, app *process) {
	t.Helper()
	if err := app.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	b.awaitQuiet(t)
	before := b.preparedOnServers(t)
	// Status 3: something is in doubt, and a live owner has it in hand.
	recovery := b.startRecover(t, "resolve")
	if status := recovery.wait(t); status != 3 && (status != 0 || before != "") {
		t.Errorf("xa-recover resolve ended with status %d:\n%s", status, recovery.stderr.String())
	}
	if after := b.preparedOnServers(t); after != before {
		t.Errorf("xa-recover has touched what a live application owns: before\n%s\nafter\n%s", before, after)
	}
}

// preparedOnServers lists what the bank's servers hold prepared.
func (b *bank) preparedOnServers(t *testing.T) string {
	t.Helper()
	var all []string
	for _, d := range b.databases {
		if d.server != nil {
			all = append(all, d.server.Prepared(t)...)
		}
	}
	return strings.Join(all, "\n")
}

// awaitMoreTold returns when the running program has told another outcome.
func (b *bank) awaitMoreTold(t *testing.T) {
	t.Helper()
	ended := func() (n int) {
		for _, o := range b.readTold(t) {
			if o == ledger.Committed {
				n++
			}
		}
		return n
	}
	before := ended()
	eventually(t, "another transfer is committed after it went on", func() bool { return ended() > before })
}

package integration

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog/sqllog"
)

// Several applications share a log in a table of a database that is a resource as well. They, and the recoveries beside them, are killed
// or suspended for longer than their lease at random; the rest goes on, and takes over what they left. All or nothing, and nobody's
// work is ever called heuristic (rule P13). XA_CRASH_TIME sets how long that goes on.
func TestKilledAndSuspendedMembersOfASharedLogLeaveAllOrNothing(t *testing.T) {
	duration, err := time.ParseDuration(cmp.Or(os.Getenv("XA_CRASH_TIME"), "40s"))
	if err != nil {
		t.Fatalf("XA_CRASH_TIME: %v", err)
	}
	random := rand.New(rand.NewPCG(randomSeed(t), 0))
	es := []engines.Engine{named(t, "postgres:17"), named(t, "mysql:9.7"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	b := newBank(t, es...)
	b.shareLog(t, b.databases[0], sqllog.Postgres)

	apps := make([]*process, 3)
	generation := make([]int, len(apps))
	start := func(i int) {
		generation[i]++
		apps[i] = b.start(t, "-workers", "3", "-jitter", "10ms", "-prefix", fmt.Sprintf("m%d-%d", i, generation[i]), "-seed", strconv.FormatUint(random.Uint64(), 10))
	}
	for i := range apps {
		start(i)
	}
	kills, pauses := 0, 0
	for end := time.Now().Add(duration); (time.Now().Before(end) || kills < 4) && !t.Failed(); {
		i := random.IntN(len(apps))
		switch n := random.IntN(10); {
		case n < 6:
			if kills++; kills%2 == 1 { // on a slow machine none would be killed in a transfer else
				b.awaitToldOf(t, fmt.Sprintf("m%d-%d-", i, generation[i]))
			}
			killAfter(t, apps[i], random, 800*time.Millisecond)
			start(i)
		case n < 9:
			recovery := b.startRecover(t, "resolve")
			if random.IntN(2) == 0 {
				killAfter(t, recovery, random, 150*time.Millisecond, 3)
			} else if status := recovery.wait(t); status != 0 && status != 3 {
				t.Fatalf("xa-recover resolve ended with status %d:\n%s", status, recovery.stderr.String())
			}
		default: // one that is stopped while it opens the log loses its session there, and ends
			b.awaitToldOf(t, fmt.Sprintf("m%d-%d-", i, generation[i]))
			b.suspend(t, apps[i])
			pauses++
		}
	}
	for i, app := range apps {
		b.awaitToldOf(t, fmt.Sprintf("m%d-%d-", i, generation[i]))
		if err := app.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
	}
	for _, app := range apps {
		app.want(t, 0)
		if out := app.stderr.String(); strings.Contains(out, "heuristic") {
			t.Errorf("an application tells of a heuristic outcome:\n%s", out)
		}
	}
	b.recoverUntilClean(t)
	_, told := b.check(t)
	t.Logf("%d kills, %d suspended", kills, pauses)
	if count := counted(t, told); count[ledger.Committed] == 0 || count[ledger.Begun] == 0 {
		t.Error("nothing was proved: nobody was interrupted, or nothing was acknowledged")
	}
}

// awaitToldOf returns when a transfer whose id begins so was told of: its application has opened by then.
func (b *bank) awaitToldOf(t *testing.T, prefix string) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); ; <-tick.C {
		for id := range b.readTold(t) {
			if strings.HasPrefix(id, prefix) {
				return
			}
		}
		if time.Now().After(limit) {
			t.Fatalf("no transfer %s... was told of within a minute", prefix)
		}
	}
}

// shareLog keeps the log in tables of one of the bank's databases.
func (b *bank) shareLog(t *testing.T, d database, dialect sqllog.Dialect) {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	log, err := sqllog.Open(t.Context(), db, dialect, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	b.log = d.url
}

// suspend stops the application until another member has seen its lease run out, and lets it go on.
func (b *bank) suspend(t *testing.T, app *process) {
	t.Helper()
	if err := app.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := app.Process.Signal(syscall.SIGCONT); err != nil {
			t.Error(err)
		}
	}()
	b.awaitDead(t, fmt.Sprintf(" pid %d", app.Process.Pid))
	recovery := b.startRecover(t, "resolve")
	if status := recovery.wait(t); status != 0 && status != 3 {
		t.Fatalf("xa-recover resolve ended with status %d:\n%s", status, recovery.stderr.String())
	}
}

// awaitDead returns when the shared log has no living member whose name ends so.
func (b *bank) awaitDead(t *testing.T, name string) {
	t.Helper()
	log, err := connect.ReadLog(b.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	members := log.(interface {
		Info(context.Context) (sqllog.Info, error)
	})
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); ; <-tick.C {
		info, err := members.Info(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(info.Members, func(m sqllog.Member) bool {
			return m.Alive && strings.HasSuffix(m.Name, name)
		}) {
			return
		}
		if time.Now().After(limit) {
			t.Fatalf("the lease of a member that is dead or suspended (%q) does not end: %+v", name, info.Members)
		}
	}
}

// recoverUntilClean recovers until nothing is in doubt, the databases have noticed that killed programs are gone, and nobody has any decision of
// the shared log left: one that a killed member has finished and not settled is its own until its lease is over, although nothing is in doubt.
// It recovers before it waits for that: a session of a killed program may wait for a row that a branch in doubt has locked.
func (b *bank) recoverUntilClean(t *testing.T) {
	t.Helper()
	b.resolveUntilClean(t)
	b.awaitQuiet(t)
	b.awaitDead(t, "")
	b.resolveUntilClean(t)
}

// resolveUntilClean runs xa-recover until nothing is in doubt: what a killed member had is left to it until its lease is over.
func (b *bank) resolveUntilClean(t *testing.T) {
	t.Helper()
	for limit := time.Now().Add(time.Minute); ; {
		recovery := b.startRecover(t, "resolve")
		status := recovery.wait(t)
		if status == 0 {
			return
		}
		if status != 3 || time.Now().After(limit) {
			t.Fatalf("xa-recover resolve ends with status %d:\n%s", status, recovery.stderr.String())
		}
		time.Sleep(time.Second)
	}
}

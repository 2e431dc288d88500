package integration

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// A primary and its standby, as long as there are two, and when the standby takes over.
func TestPostgresStandby(t *testing.T) {
	t.Parallel()
	e := named(t, "postgres:17")
	p := newPgfPair(t, e)
	t.Run("settles nothing", func(t *testing.T) { pgfStandbySettlesNothing(t, p, e.Server(t)) })
	t.Run("finishes what it had prepared when it takes over", func(t *testing.T) {
		pgfFailoverFinishesWhatTheStandbyHadPrepared(t, p, e.Server(t))
	})
}

// A standby lists no prepared transaction, although it has them: that must not be taken for an answer. The database beside it is recovered all
// the same.
func pgfStandbySettlesNothing(t *testing.T, p *pgfPair, other *engines.Server) {
	b := newFaultBankOf(t, database{"a-postgres", p.primary.NewDatabase(t), p.primary}, database{"b-other", other.NewDatabase(t), other})
	primary := b.databases[0].url
	b.start(t, "-count", "1", "-kill", "decide-done").want(t, -1)
	p.caughtUp()

	b.databases[0].url = p.standby.URL(pgName(primary))
	for _, command := range []struct {
		args   []string
		status int
	}{{[]string{"list"}, 3}, {[]string{"resolve"}, 3}, {[]string{"resolve"}, 3}, {[]string{"doctor"}, 1}} {
		recovery := b.startRecover(t, command.args...)
		if status := recovery.wait(t); status != command.status || !strings.Contains(recovery.stderr.String(), "standby") {
			t.Errorf("xa-recover %s against a standby: status %d, want %d and the word standby in:\n%s",
				command.args, status, command.status, recovery.stderr.String())
		}
	}
	if left := other.Prepared(t); len(left) != 0 {
		t.Errorf("the database beside it still holds %q", left)
	}
	application := b.start(t, "-count", "1")
	if status := application.wait(t); status != 1 || !strings.Contains(application.stderr.String(), "the server is a standby") {
		t.Errorf("an application on a standby: status %d, want 1 and why:\n%s", status, application.stderr.String())
	}

	b.databases[0].url = primary
	b.startRecover(t, "resolve").want(t, 0)
	b.check(t)
}

// newPgfFailover returns the world of a pair and of a database on another server.
func newPgfFailover(t *testing.T, p *pgfPair, other *engines.Server) *faultWorld {
	t.Helper()
	b := newFaultBankOf(t, database{"a-postgres", p.primary.URL("postgres"), p.primary}, database{"b-other", other.NewDatabase(t), other})
	b.databases[0].url = p.url()
	return newFaultWorld(t, b, faultSetUp{})
}

// pgfHeld is a transfer that stands still at a point of the protocol.
type pgfHeld struct {
	release func()
	done    <-chan faultTransfer
}

// hold begins a transfer, and returns when it stands still at the point.
func (w *faultWorld) hold(point string, work faultWork) *pgfHeld {
	w.t.Helper()
	reached, gate := make(chan struct{}), make(chan struct{})
	h := &pgfHeld{release: sync.OnceFunc(func() { close(gate) })}
	w.at(point, func(string) {
		close(reached)
		<-gate
	})
	w.t.Cleanup(h.release)
	work.opts = &xa.TxOptions{Timeout: 10 * time.Minute}
	h.done = w.begin(work)
	select {
	case <-reached:
	case x := <-h.done:
		w.t.Fatalf("a transfer ended before %s: %v", point, x.err)
	}
	return h
}

// end lets the transfer go on, and returns what became of it.
func (h *pgfHeld) end() faultTransfer {
	h.release()
	return <-h.done
}

// What a standby had got of a transaction decides what a failover to it makes of it. A branch whose PREPARE it had is finished as
// was decided, even if the old primary had finished it, and the decision was settled, before. A branch whose PREPARE it had not is lost, as is
// any commit that asynchronous replication has not brought: nothing can mend that, but recovery tells of it where the decision still was open.
func pgfFailoverFinishesWhatTheStandbyHadPrepared(t *testing.T, p *pgfPair, other *engines.Server) {
	w := newPgfFailover(t, p, other)
	w.works()

	// The standby gets these PREPAREs, and none of what follows them.
	settled := w.hold("decide-start", faultWork{})
	undone := w.hold("rollback-start", w.rollingBack())
	decided := w.hold("commit-start", faultWork{})
	p.caughtUp()
	p.cut()
	x := settled.end()
	fates := map[string]faultTransfer{"settled": x, "undone": undone.end()}
	fates["missed"] = w.transfer(faultWork{})
	lost := w.hold("commit-start", faultWork{})
	for _, name := range []string{"settled", "missed"} {
		if fates[name].err != nil || w.there(fates[name]) != 2 {
			t.Errorf("%s: %v, in %d databases of two before the failover", name, fates[name].err, w.there(fates[name]))
		}
	}

	p.failOver()
	fates["decided"], fates["lost"] = decided.end(), lost.end()
	w.databases[0].server = p.standby
	w.settle()
	for name, want := range map[string]struct {
		told  ledger.Outcome
		there int
	}{
		"settled": {ledger.Committed, 2},
		"undone":  {ledger.RolledBack, 0},
		"decided": {ledger.Committed, 2},
		"missed":  {ledger.Committed, 1}, // and nobody can know
		"lost":    {ledger.Committed, 1},
	} {
		if x := fates[name]; x.outcome() != want.told || w.there(x) != want.there {
			t.Errorf("%s: told %s (%v), and in %d databases; want %s, %d", name, x.outcome(), x.err, w.there(x), want.told, want.there)
		}
	}
	told := w.noted(fates["lost"])
	w.mu.Lock()
	if len(told) == 0 && !slices.Equal(w.unverified[fates["lost"].tx], []string{"a-postgres"}) {
		t.Error("nobody is told of the lost branch")
	}
	w.mu.Unlock()
	w.works()
	w.shutdown()
	want := []string{fates["missed"].id + ": half there: 1 of 2 entries", fates["lost"].id + ": half there: 1 of 2 entries"}
	if got := ledger.Check(w.books(t), w.readTold(t)); !slices.Equal(got, want) {
		t.Errorf("the books say %q, want %q", got, want)
	}
	if status, out := w.recover(t, "list"); status != 0 && status != 4 || strings.Contains(out, fates["lost"].tx) != (status == 4) {
		t.Errorf("xa-recover list: status %d\n%s", status, out)
	}
}

// With a synchronous standby nothing that anybody was told of is lost: no PREPARE and no commit is acknowledged before the standby has it.
func TestPostgresFailoverToASynchronousStandbyLosesNothing(t *testing.T) {
	t.Parallel()
	e := named(t, "postgres:18")
	p := newPgfPair(t, e)
	pgExec(t, p.admin, "alter system set synchronous_standby_names = '*'", "select pg_reload_conf()")
	eventually(t, "the standby is synchronous", func() bool {
		var n int
		if err := p.admin.QueryRowContext(t.Context(), "select count(*) from pg_stat_replication where sync_state = 'sync'").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n == 1
	})
	w := newPgfFailover(t, p, e.Server(t))
	made := w.transfer(faultWork{})
	prepared := w.hold("decide-start", faultWork{})
	undone := w.hold("rollback-start", w.rollingBack())
	decided := w.hold("commit-start", faultWork{})
	p.failOver()
	w.databases[0].server = p.standby
	for _, c := range []struct {
		name string
		x    faultTransfer
		told ledger.Outcome
		want int
	}{
		{"made", made, ledger.Committed, 2},
		{"prepared", prepared.end(), ledger.Committed, 2},
		{"undone", undone.end(), ledger.RolledBack, 0},
		{"decided", decided.end(), ledger.Committed, 2},
	} {
		w.settle()
		if there := w.there(c.x); c.x.outcome() != c.told || there != c.want {
			t.Errorf("%s: told %s (%v), and in %d databases; want %s, %d", c.name, c.x.outcome(), c.x.err, there, c.told, c.want)
		}
	}
	w.works()
	w.end()
}

package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// Whoever kills a branch's session, at whatever step, gets all or nothing, and the application is told the truth.
func TestMySQLKilledSessionAtEveryStepLeavesAllOrNothing(t *testing.T) {
	forMyFaults(t, faultSetUp{}, func(t *testing.T, w *faultWorld) {
		for _, c := range []struct {
			point      string
			only, fail bool
			want       faultFate
		}{
			{"begun", false, false, fateRolledBack},
			{"worked", false, false, fateRolledBack},
			{"prepare-start", false, false, fateRolledBack},
			{"prepare-done", false, false, fateCommitted},
			{"decide-start", false, false, fateCommitted},
			{"decide-done", false, false, fateCommitted},
			{"commit-start", false, false, fateCommitted},
			{"rollback-start", false, true, fateRolledBack},
			{"begun", true, false, fateRolledBack},
			{"worked", true, false, fateRolledBack},
			{"commit-start", true, false, fateRolledBack},
			{"rollback-start", true, true, fateRolledBack},
		} {
			what := fmt.Sprintf("killed at %s, only %t, fails %t", c.point, c.only, c.fail)
			work := faultWork{only: c.only}
			w.during(c.point, &work, w.kill)
			if c.fail {
				work = work.fail()
			}
			x := w.transfer(work)
			if c.fail && !errors.Is(x.err, errFaultOwn) {
				t.Errorf("%s: %v does not tell the application's own error", what, x.err)
			}
			w.want(what, x, c.want)
		}
	})
}

// A session, or only its statement, is killed while the server executes XA PREPARE or XA COMMIT, or the server gives the statement up by
// itself. What the application is told must hold: of a commit in one phase nobody can tell.
func TestMySQLTwoPhaseStatementThatIsCutOffLeavesAllOrNothing(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *engines.Server) {
		for _, cut := range []struct{ kill, params string }{{"kill", ""}, {"kill query", ""}, {"", "lock_wait_timeout=1"}} {
			t.Run(cut.kill+cut.params, func(t *testing.T) {
				w := newFaultWorld(t, newFaultBank(t, s), faultSetUp{params: cut.params})
				w.cutOff(cut.kill, "prepare", false, ledger.RolledBack)
				w.cutOff(cut.kill, "commit", false, ledger.Committed)
				w.cutOff(cut.kill, "commit", true, ledger.Unknown)
				w.end()
			})
		}
	}, engines.MySQL, engines.MariaDB)
}

// cutOff makes a transfer whose XA PREPARE or XA COMMIT is cut off.
func (w *faultWorld) cutOff(kill, verb string, only bool, want ledger.Outcome) {
	w.t.Helper()
	what := fmt.Sprintf("%s, only %t", verb, only)
	answered, done := make(chan struct{}), make(chan struct{})
	w.at(verb+"-start", func(string) { w.cutDuring(kill, verb, answered, done) })
	w.at(verb+"-done", func(string) { close(answered) })
	x := w.transfer(faultWork{only: only})
	w.reached(what)
	<-done
	w.wantTold(what, x, want)
	w.settle()
}

// cutDuring keeps the session waiting in XA PREPARE or XA COMMIT, and kills it or the statement, or with an empty kill waits until the server gives
// it up, which is when it has answered. It returns at once, and closes done when all may go on.
func (w *faultWorld) cutDuring(kill, verb string, answered <-chan struct{}, done chan<- struct{}) {
	release, err := blockCommits(w.t.Context(), w.admin)
	if err != nil {
		w.t.Error(err)
		close(done)
		return
	}
	const executes = " from information_schema.processlist where id = ? and info like ? and state like 'Waiting for%'"
	go func() {
		defer close(done)
		if kill != "" {
			statement := "%XA " + strings.ToUpper(verb) + "%"
			w.await(verb+" to wait", "select count(*) > 0"+executes, w.session, statement)
			w.exec(fmt.Sprintf("%s %d", kill, w.session))
			w.await(verb+" to be cut off", "select count(*) = 0"+executes, w.session, statement)
		} else {
			<-answered
		}
		if err := release(); err != nil {
			w.t.Error(err)
		}
	}()
}

package integration

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// Whoever kills a branch's session, at whatever step, gets all or nothing, and the application is told the truth.
func TestMySQLKilledSessionAtEveryStepLeavesAllOrNothing(t *testing.T) {
	forMyFaults(t, mySetUp{}, func(t *testing.T, f *myFaults) {
		for _, c := range []struct {
			step        string
			alone, fail bool
			want        ledger.Outcome
		}{
			{myBegun, false, false, ledger.RolledBack},
			{myWorked, false, false, ledger.RolledBack},
			{myPrepare, false, false, ledger.RolledBack},
			{myPrepared, false, false, ledger.Committed},
			{myDecide, false, false, ledger.Committed},
			{myDecided, false, false, ledger.Committed},
			{myCommit, false, false, ledger.Committed},
			{myRollback, false, true, ledger.RolledBack},
			{myBegun, true, false, ledger.RolledBack},
			{myWorked, true, false, ledger.RolledBack},
			{myCommit, true, false, ledger.RolledBack},
			{myRollback, true, true, ledger.RolledBack},
		} {
			name := fmt.Sprintf("killed at %s, alone %t, fails %t", c.step, c.alone, c.fail)
			killed := false
			_, err := f.transfer(myTransfer{alone: c.alone, fail: c.fail, at: func(step string, session int64) error {
				if step == c.step && !killed {
					killed = true
					f.kill(session)
				}
				return nil
			}})
			if !killed {
				t.Errorf("%s: the step was not reached: %v", name, err)
			}
			wantMyOutcome(t, name, err, c.want)
			if c.fail && !errors.Is(err, errMyOwn) {
				t.Errorf("%s: %v does not tell the application's own error", name, err)
			}
			f.settle()
		}
	})
}

// A session, or only its statement, is killed while the server executes XA PREPARE or XA COMMIT, or the server gives the statement up by
// itself. What the application is told must hold: of a commit in one phase nobody can tell.
func TestMySQLTwoPhaseStatementThatIsCutOffLeavesAllOrNothing(t *testing.T) {
	forMyServers(t, func(t *testing.T, s *engines.Server) {
		for _, cut := range []struct{ kill, params string }{{"kill", ""}, {"kill query", ""}, {"", "lock_wait_timeout=1"}} {
			t.Run(cut.kill+cut.params, func(t *testing.T) {
				f := newMyFaults(t, s, mySetUp{params: cut.params})
				f.cutOff(cut.kill, myPrepare, "XA PREPARE", false, ledger.RolledBack)
				f.cutOff(cut.kill, myCommit, "XA COMMIT", false, ledger.Committed)
				f.cutOff(cut.kill, myCommit, "XA COMMIT", true, ledger.Unknown)
				f.end()
			})
		}
	})
}

// cutOff makes a transfer whose statement at that step is cut off.
func (f *myFaults) cutOff(kill, at, statement string, alone bool, want ledger.Outcome) {
	f.t.Helper()
	what := fmt.Sprintf("%s, alone %t", statement, alone)
	var wait func()
	answered := make(chan struct{})
	next := sync.OnceFunc(func() { close(answered) })
	_, err := f.transfer(myTransfer{alone: alone, at: func(step string, session int64) error {
		switch {
		case wait != nil:
			next()
		case step == at:
			wait = f.cutDuring(kill, statement, session, answered)
		}
		return nil
	}})
	next()
	if wait == nil {
		f.t.Fatalf("%s: the step was not reached: %v", what, err)
	}
	wait()
	wantMyOutcome(f.t, what, err, want)
	f.settle()
}

// cutDuring keeps the session waiting in a statement of this kind, and kills it or the statement, or with an empty kill waits until the server gives
// it up, which is when the transfer goes on. It returns at once; the returned function waits until that is done.
func (f *myFaults) cutDuring(kill, statement string, session int64, answered <-chan struct{}) (wait func()) {
	release, err := blockCommits(f.t.Context(), f.admin)
	if err != nil {
		f.t.Error(err)
		return func() {}
	}
	const executes = " from information_schema.processlist where id = ? and info like ? and state like 'Waiting for%'"
	done := make(chan struct{})
	go func() {
		defer close(done)
		if kill != "" {
			f.await(statement+" to wait", "select count(*) > 0"+executes, session, "%"+statement+"%")
			mustExecMy(f, "%s %d", kill, session)
			f.await(statement+" to be cut off", "select count(*) = 0"+executes, session, "%"+statement+"%")
		} else {
			<-answered
		}
		if err := release(); err != nil {
			f.t.Error(err)
		}
	}()
	return func() { <-done }
}

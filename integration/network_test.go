package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/faultproxy"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// netPairs starts the engines behind the bad network, each with what is its partner on a good one.
func netPairs(t *testing.T) [][2]engines.Engine {
	t.Helper()
	postgres, mysql, mariadb, old := named(t, "postgres:18"), named(t, "mysql:9.7"), named(t, "mariadb:11.8"), named(t, "mariadb:10.11")
	engines.Start(postgres, mysql, mariadb, old)
	return [][2]engines.Engine{{postgres, sqlite}, {mysql, sqlite}, {mariadb, postgres}, {old, sqlite}}
}

// Every statement of the protocol meets every failure of the network at every moment: what Commit answers is true, and when the network is
// back everything comes to its end without anybody's help. XA_NETWORK=text runs the cases whose name holds the text.
func TestNetworkFaultAtEachStatementLeavesAllOrNothing(t *testing.T) {
	pairs := netPairs(t)
	netWithoutLeaks(t)
	var running sync.WaitGroup
	var counts netCounts
	for _, pair := range pairs {
		var lanes []*netLane
		for range 6 {
			lanes = append(lanes, newNetLane(t, pair[0], pair[1]))
		}
		running.Go(func() { netInLanes(t, lanes, slices.DeleteFunc(netCases(pair[0]), netUnwanted[netCase]), counts.run) })
	}
	running.Wait()
	t.Logf("%d cases: %d committed, %d rolled back, %d unknown; %d late branches were left to the next recovery; %d were not reached in time",
		counts.cases.Load(), counts.committed.Load(), counts.rolledBack.Load(), counts.unknown.Load(), counts.late.Load(), counts.unreached.Load())
	if counts.unreached.Load() > counts.cases.Load()/2 {
		t.Error("the machine is too slow for this test to show anything")
	}
}

// netUnwanted tells whether XA_NETWORK leaves out a case.
func netUnwanted[C fmt.Stringer](c C) bool {
	return !strings.Contains(c.String(), os.Getenv("XA_NETWORK"))
}

// netCounts tells what a test has shown.
type netCounts struct {
	cases, committed, rolledBack, unknown, late, unreached atomic.Int64
}

func (n *netCounts) run(l *netLane, c netCase) error {
	n.cases.Add(1)
	ctx := l.t.Context()
	var r *netRun
	r, err := l.open(ctx, xa.Config{
		CompletionTimeout: c.patience(),
		RecoveryInterval:  time.Hour, // what is left must be known to be left
		Trace: &xa.Trace{PrepareDone: func(e xa.BranchEvent) {
			if c.point.way == netRollPrepared && e.Err == nil {
				r.tx.SetRollbackOnly(errors.New("the test wants a rollback"))
			}
		}},
	})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	late := c.late(l.bank.databases[1].server != nil)
	outcome, told, err := c.strike(ctx, r)
	if err == nil && !c.closed && !late {
		err = r.awaitSettled(ctx)
	}
	if err != nil {
		return errors.Join(err, r.end(func(context.Context) error { return r.m.Close() }))
	}
	switch outcome {
	case ledger.Committed:
		n.committed.Add(1)
	case ledger.RolledBack:
		n.rolledBack.Add(1)
	case ledger.Unknown:
		n.unknown.Add(1)
	}
	switch {
	case slices.Contains(c.expect(), outcome):
	case netTooSlow(outcome, told):
		n.unreached.Add(1)
	default:
		err = fmt.Errorf("told %s (%v), want one of %v", outcome, told, c.expect())
	}
	how := r.m.Shutdown
	if c.closed {
		how = func(context.Context) error { return r.m.Close() }
	}
	if err := errors.Join(err, r.end(how)); err != nil {
		return err
	}
	found, err := r.settle(ctx)
	if err != nil {
		return err
	}
	if !c.closed && found > 0 {
		if !late {
			return fmt.Errorf("Shutdown told that nothing is in doubt, and %d branches were", found)
		}
		n.late.Add(int64(found))
	}
	return errors.Join(r.check(ctx), r.log.Close())
}

// strike makes a transfer whose network fails, and heals the network when the transfer has ended, or recovery has met the fault.
func (c netCase) strike(ctx context.Context, r *netRun) (outcome ledger.Outcome, told, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	nth := 1
	point := func(name string) func([]byte) bool {
		i := slices.IndexFunc(netPoints(), func(p netPoint) bool { return p.name == name })
		return faultproxy.Text(netPoints()[i].text(c.engine.Kind))
	}
	switch {
	case c.point.way == netPresumed:
		r.proxy.On(point("prepare"), faultproxy.Lost, 1, (*faultproxy.Proxy).Reset)
	case c.point.way == netInDoubt:
		r.proxy.On(point("commit prepared"), faultproxy.Before, 1, (*faultproxy.Proxy).Reset)
		if c.point.name == "commit at recovery" {
			nth = 2
		}
	}
	fired := r.proxy.On(faultproxy.Text(c.point.text(c.engine.Kind)), c.when, nth, c.fault.do)
	struck := make(chan struct{})
	if c.abandoned() {
		go func() {
			defer close(struck)
			select {
			case <-fired:
				cancel()
			case <-ctx.Done():
			}
		}()
	} else {
		close(struck)
	}

	names := []string{r.resources[0].Name, r.resources[1].Name}
	var last error
	switch c.point.way {
	case netRollBack:
		last = errors.New("the application's function fails")
	case netOnePhase:
		names = names[:1]
	}
	outcome, told = r.transfer(ctx, fmt.Sprintf("%d", r.cases), last, names...)
	cancel()
	<-struck
	if !slices.Contains(c.expect(), outcome) && netTooSlow(outcome, told) {
		r.proxy.Heal() // the fault may have struck before the decision
		return outcome, told, nil
	}
	select {
	case <-fired:
	case <-time.After(netLimit):
		return outcome, told, fmt.Errorf("the fault did not strike; told %s (%v)", outcome, told)
	}
	if c.point.inRecovery() && c.fault.name != "reset" {
		time.Sleep(100 * time.Millisecond) // so long it lasts
	}
	r.proxy.Heal()
	return outcome, told, nil
}

// netTooSlow tells whether the decision may not have been written within Config.CompletionTimeout, which the test sets low.
func netTooSlow(outcome ledger.Outcome, told error) bool {
	return outcome == ledger.RolledBack && errors.Is(told, context.DeadlineExceeded)
}

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/faultproxy"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/txlog/sqllog"
	"github.com/xasql/xasql/xa"
)

// netLogCase is a fault between the manager and its log, at the request that carries a decision. The databases are reached.
type netLogCase struct {
	engine engines.Engine
	fault  netFault
	when   faultproxy.When
	lasts  bool // until Commit has returned, which is longer than the log tries; else for a moment
}

func (c netLogCase) String() string {
	s := fmt.Sprintf("%s: %s %s the decision", c.engine, c.fault.name, c.when)
	if c.lasts {
		s += ", until Commit returns"
	}
	return s
}

func netLogCases(e engines.Engine) []netLogCase {
	var cases []netLogCase
	for _, lasts := range []bool{false, true} {
		for _, f := range netFaults() {
			if lasts && (f.name == "reset" || f.name == "strand") {
				continue // a new connection works at once
			}
			for _, w := range []faultproxy.When{faultproxy.Before, faultproxy.During, faultproxy.Lost, faultproxy.After} {
				if lasts && w == faultproxy.After {
					continue // the decision is told before
				}
				cases = append(cases, netLogCase{e, f, w, lasts})
			}
		}
	}
	return cases
}

// The log is behind a bad network. A decision whose answer is lost is asked about until it is known; where it can't be known in time Commit says
// so, and what the log holds comes true when the network is back.
func TestNetworkFaultAtTheDecisionIsFoundOutOrToldAsUnknown(t *testing.T) {
	es := []engines.Engine{named(t, "postgres:18"), named(t, "mysql:9.7"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	netWithoutLeaks(t)
	var running sync.WaitGroup
	var counts netCounts
	for _, e := range es {
		var lanes []*netLane
		logs := map[*netLane]string{}
		for range 6 {
			l := newNetLane(t, e, sqlite)
			logs[l] = e.Server(t).NewDatabase(t)
			lanes = append(lanes, l)
		}
		running.Go(func() {
			netInLanes(t, lanes, slices.DeleteFunc(netLogCases(e), netUnwanted[netLogCase]), func(l *netLane, c netLogCase) error { return counts.runLog(l, logs[l], c) })
		})
	}
	running.Wait()
	t.Logf("%d cases: %d committed, %d rolled back, %d unknown; %d were not found out in time", counts.cases.Load(), counts.committed.Load(),
		counts.rolledBack.Load(), counts.unknown.Load(), counts.unreached.Load())
	if counts.unreached.Load() > counts.cases.Load()/2 {
		t.Error("the machine stands still too often for this test to show anything")
	}
}

func (n *netCounts) runLog(l *netLane, logURL string, c netLogCase) error {
	n.cases.Add(1)
	l.cases++
	ctx := l.t.Context()
	r, farURL, err := l.connect(logURL)
	if err != nil {
		return err
	}
	if r.logDB, err = engines.Open(farURL); err != nil {
		return err
	}
	if r.log, err = sqllog.Open(ctx, r.logDB, dialectOf(c.engine), &sqllog.Options{Logger: quietLogger()}); err != nil {
		return err
	}
	if r.resources, err = l.pools(l.bank.databases[0].url); err != nil {
		return err
	}
	var fired <-chan struct{}
	decide := func(xa.TxEvent) { fired = c.arm(r) }
	if err := r.manage(ctx, xa.Config{RecoveryInterval: 2 * time.Second, Trace: &xa.Trace{DecideStart: decide}}); err != nil {
		return err
	}
	stood := watchStanding()
	outcome, told := r.transfer(ctx, fmt.Sprint(l.cases), nil, r.resources[0].Name, r.resources[1].Name)
	lost := stood()
	if fired == nil {
		return fmt.Errorf("told %s (%v) before the decision", outcome, told)
	}
	select {
	case <-fired:
	case <-time.After(netLimit):
		return fmt.Errorf("the fault did not strike; told %s (%v)", outcome, told)
	}
	r.proxy.Heal()
	switch {
	case slices.Contains(c.expect(), outcome):
	case outcome == ledger.Unknown && lost > 2*time.Second: // of the log's ten, and it needs some of them
		n.unreached.Add(1)
	default:
		err = fmt.Errorf("told %s (%v), want one of %v", outcome, told, c.expect())
	}
	switch outcome {
	case ledger.Committed:
		n.committed.Add(1)
	case ledger.RolledBack:
		n.rolledBack.Add(1)
	case ledger.Unknown:
		n.unknown.Add(1)
	}
	if err := errors.Join(err, r.awaitSettled(ctx), r.end(r.m.Shutdown)); err != nil {
		return err
	}
	return r.checkLogDirectly(ctx, c.engine, logURL)
}

// arm sets the trap for the request that carries the decision of the transaction in hand: the first with its ID, whether or not the statement
// was prepared.
func (c netLogCase) arm(r *netRun) <-chan struct{} {
	return r.proxy.On(faultproxy.Text(r.tx.ID()), c.when, 1, func(p *faultproxy.Proxy) {
		c.fault.do(p)
		if !c.lasts {
			time.AfterFunc(300*time.Millisecond, p.Heal)
		}
	})
}

// expect returns what Commit may answer.
func (c netLogCase) expect() []ledger.Outcome {
	if c.lasts {
		return []ledger.Outcome{ledger.Unknown}
	}
	return []ledger.Outcome{ledger.Committed}
}

// checkLogDirectly is settle and check, over the log as it is without the network.
func (r *netRun) checkLogDirectly(ctx context.Context, e engines.Engine, logURL string) error {
	db, err := engines.Open(logURL)
	if err != nil {
		return err
	}
	defer db.Close()
	if r.log, err = sqllog.Open(ctx, db, dialectOf(e), &sqllog.Options{Logger: quietLogger(), Existing: true}); err != nil {
		return err
	}
	found, err := r.settle(ctx)
	if err == nil && found > 0 {
		err = fmt.Errorf("Shutdown told that nothing is in doubt, and %d branches were", found)
	}
	return errors.Join(err, r.check(ctx), r.log.Close())
}

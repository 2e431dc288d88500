package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/faultproxy"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// netTask is something to do in a lane.
type netTask struct {
	name string
	run  func(*netLane) error
}

func (n netTask) String() string { return n.name }

// The network fails, or is slow, for longer than a statement. See each task.
func TestNetworkThatIsAwayOrSlowChangesNoOutcome(t *testing.T) {
	pairs := netPairs(t)
	netWithoutLeaks(t)
	var running sync.WaitGroup
	for _, pair := range pairs {
		var tasks []netTask
		for _, f := range netFaults()[:3] {
			if f.name != "reset" {
				tasks = append(tasks, netTask{f.name + " from the decision on", func(l *netLane) error { return netPartition(l, f) }})
			}
		}
		for name, fromDecision := range map[string]bool{"silence from Commit on": false, "silence from the decision on": true} {
			tasks = append(tasks, netTask{name, func(l *netLane) error { return netSilence(l, fromDecision) }})
		}
		for name, slow := range map[string]func(*faultproxy.Proxy) error{
			"50 ms of latency":      func(p *faultproxy.Proxy) error { return p.Latency(25 * time.Millisecond) },
			"200 ms of latency":     func(p *faultproxy.Proxy) error { return p.Latency(100 * time.Millisecond) },
			"8000 bytes per second": func(p *faultproxy.Proxy) error { return p.Drip(8000) },
		} {
			tasks = append(tasks, netTask{name, func(l *netLane) error { return netSlow(l, slow) }})
		}
		var lanes []*netLane
		for range 3 {
			lanes = append(lanes, newNetLane(t, pair[0], pair[1]))
		}
		running.Go(func() { netInLanes(t, lanes, tasks, func(l *netLane, task netTask) error { return task.run(l) }) })
	}
	running.Wait()
}

// netPartition begins a partition when the decision is durable: the commit is told at once, and comes to its end in the background when
// the partition is over, and not before does Shutdown say that nothing is in doubt.
func netPartition(l *netLane, f netFault) error {
	ctx := l.t.Context()
	var r *netRun
	r, err := l.open(ctx, xa.Config{
		CompletionTimeout: 2 * time.Second,
		RecoveryInterval:  time.Hour,
		Trace:             &xa.Trace{DecideDone: func(xa.TxEvent) { f.do(r.proxy) }},
	})
	if err != nil {
		return err
	}
	outcome, told := r.transfer(ctx, fmt.Sprint(l.cases), nil, r.resources[0].Name, r.resources[1].Name)
	if outcome != ledger.Committed && !netTooSlow(outcome, told) {
		return fmt.Errorf("told %s (%v)", outcome, told)
	}
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	if err := r.m.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("Shutdown during the partition = %v", err)
	}
	if outcome == ledger.Committed {
		if held := strings.Join(l.bank.databases[0].prepared(ctx, l.t, nil), " "); !strings.Contains(held, r.log.ID()+".") {
			return errors.New("the far branch is not prepared any more, though nobody could tell it to commit")
		}
	}
	r.proxy.Heal()
	if err := r.awaitSettled(ctx); err != nil {
		return err
	}
	if err := r.end(r.m.Shutdown); err != nil {
		return err
	}
	if found, err := r.settle(ctx); err != nil || found > 0 {
		return fmt.Errorf("after Shutdown %d branches were in doubt (%v)", found, err)
	}
	return errors.Join(r.check(ctx), r.log.Close())
}

// netSilence lets nothing pass from the moment on that Commit is called, or that the decision is durable: Commit returns, though nobody heals
// the network, and tells what will be true.
func netSilence(l *netLane, fromDecision bool) error {
	ctx := l.t.Context()
	var r *netRun
	cfg := xa.Config{CompletionTimeout: 2 * time.Second, RecoveryInterval: time.Hour}
	if fromDecision {
		cfg.Trace = &xa.Trace{DecideDone: func(xa.TxEvent) { r.proxy.Hang() }}
	}
	r, err := l.open(ctx, cfg)
	if err != nil {
		return err
	}
	id := fmt.Sprint(l.cases)
	l.told[id] = ledger.Begun
	tx, err := r.m.Begin(ctx, nil)
	if err != nil {
		return err
	}
	for i, res := range r.resources {
		b, err := tx.Branch(ctx, res.Name)
		if err != nil {
			return err
		}
		if err := ledger.Post(ctx, b, ledger.Entry{ID: id, Parties: 2, Account: 1, Delta: int64(1 - 2*i)}); err != nil {
			return err
		}
	}
	if !fromDecision {
		r.proxy.Hang()
	}
	deadline, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	began := time.Now()
	err = tx.Commit(deadline)
	l.t.Logf("%s: Commit under 500 ms, nothing passes, from the decision on %v: %v after %v", l.bank.databases[0].name, fromDecision, err, time.Since(began).Round(time.Millisecond))
	switch {
	case err == nil && fromDecision:
		l.told[id] = ledger.Committed
	case errors.Is(err, xa.ErrRolledBack) && errors.Is(err, context.DeadlineExceeded):
		l.told[id] = ledger.RolledBack
	default:
		return fmt.Errorf("Commit = %v", err)
	}
	if took := time.Since(began); took > netLimit {
		return fmt.Errorf("Commit took %v", took)
	}
	r.proxy.Heal()
	if err := r.end(r.m.Shutdown); err != nil {
		return err
	}
	if _, err := r.settle(ctx); err != nil {
		return err
	}
	return errors.Join(r.check(ctx), r.log.Close())
}

// netSlow makes some transfers on a slow network, where everything takes its time, and nothing else happens.
func netSlow(l *netLane, slow func(*faultproxy.Proxy) error) error {
	ctx := l.t.Context()
	r, farURL, err := l.connect(l.bank.databases[0].url)
	if err != nil {
		return err
	}
	if err := slow(r.proxy); err != nil {
		return err
	}
	l.cases++
	if err := r.openFiles(); err != nil {
		return err
	}
	if r.resources, err = l.pools(farURL); err != nil {
		return err
	}
	if err := r.manage(ctx, xa.Config{RecoveryTimeout: netLimit, CompletionTimeout: netLimit, RecoveryInterval: time.Hour}); err != nil {
		return err
	}
	names := []string{r.resources[0].Name, r.resources[1].Name}
	failure := errors.New("the application's function fails")
	for _, c := range []struct {
		names []string
		last  error
		want  ledger.Outcome
	}{{names, nil, ledger.Committed}, {names[:1], nil, ledger.Committed}, {names, failure, ledger.RolledBack}} {
		l.cases++
		if outcome, told := r.transfer(ctx, fmt.Sprint(l.cases), c.last, c.names...); outcome != c.want {
			return fmt.Errorf("told %s (%v), want %s", outcome, told, c.want)
		}
	}
	if err := r.end(r.m.Shutdown); err != nil {
		return err
	}
	if found, err := r.settle(ctx); err != nil || found > 0 {
		return fmt.Errorf("after Shutdown %d branches were in doubt (%v)", found, err)
	}
	return errors.Join(r.check(ctx), r.log.Close())
}

package main

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xasql/xasql/integration/faultproxy"
	"github.com/xasql/xasql/integration/judge"
)

// torment makes faults at random moments until the time is over.
func (r *run) torment(ctx context.Context, until time.Time) {
	var kinds []func(context.Context)
	for i, fault := range []func(context.Context){r.kill, r.suspend, r.recoverBeside, r.killServer, r.breakNetwork} {
		if r.o.does(allFaults[i]) {
			kinds = append(kinds, fault)
		}
	}
	for {
		pause := time.Duration(r.random.Int64N(int64(2 * r.o.every)))
		if left := time.Until(until); pause > left || len(kinds) == 0 {
			sleep(ctx, left)
			return
		}
		if !sleep(ctx, pause) {
			return
		}
		kinds[r.random.IntN(len(kinds))](ctx)
	}
}

// fault runs one beside the others, unless its target is busy with another.
func (r *run) fault(name string, busy *atomic.Bool, do func()) {
	if !busy.CompareAndSwap(false, true) {
		return
	}
	r.activate(name, 1)
	r.faults.Go(func() {
		defer busy.Store(false)
		defer r.activate(name, -1)
		do()
	})
}

func (r *run) activate(name string, by int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.active[name] += by
}

// atWork names the faults that are at work.
func (r *run) atWork() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.active, func(_ string, n int) bool { return n == 0 })
	return slices.Sorted(maps.Keys(r.active))
}

// kill kills a worker, wherever it is.
func (r *run) kill(context.Context) {
	if s := r.victim(); s != nil {
		s.signal(syscall.SIGKILL)
	}
}

// victim chooses a worker that may be killed, nil where there is none.
func (r *run) victim() *slot {
	mortal := slices.DeleteFunc(slices.Clone(r.slots), func(s *slot) bool { return s.steady })
	if len(mortal) == 0 {
		return nil
	}
	return mortal[r.random.IntN(len(mortal))]
}

// suspend stops a worker, sometimes for longer than its lease on a shared log and all its timeouts, and lets it go on.
func (r *run) suspend(ctx context.Context) {
	s := r.slots[r.random.IntN(len(r.slots))]
	pause := time.Duration(r.random.Int64N(int64(3 * time.Second)))
	long := 8
	if r.arena.log != "" { // the others then take over what it has in hand
		long = 3
	}
	if r.random.IntN(long) == 0 {
		pause = 15 * time.Second
	}
	points := pointNames()
	point := points[r.random.IntN(len(points))]
	if r.random.IntN(2) == 0 { // what matters most is whether others may finish what it has not yet decided
		point = "decide-start"
	}
	atPoint := r.random.IntN(2) == 0
	r.fault(fmt.Sprintf("worker %d stopped", s.n), &s.busy, func() {
		if atPoint {
			defer s.free(ctx)
			if s.stopAt(ctx, point) {
				r.count("stops at a point")
				sleep(ctx, pause)
			}
			return
		}
		if s.signal(syscall.SIGSTOP) {
			r.count("stops")
			sleep(ctx, pause)
			s.signal(syscall.SIGCONT)
		}
	})
}

// recoverBeside runs xa-recover beside the worker that owns, or shares, the log.
func (r *run) recoverBeside(ctx context.Context) {
	s := r.slots[r.random.IntN(len(r.slots))]
	kill := r.random.IntN(2) == 0
	if !s.hasLog.Load() {
		return
	}
	r.faults.Go(func() { r.recover(ctx, s, kill) })
}

// killServer kills a server, sometimes a worker with it, and starts it again.
func (r *run) killServer(ctx context.Context) {
	if len(r.arena.servers) == 0 {
		return
	}
	server := r.arena.servers[r.random.IntN(len(r.arena.servers))]
	pause := time.Duration(r.random.Int64N(int64(2 * time.Second)))
	var with *slot
	if r.o.does("kill") && r.random.IntN(3) == 0 {
		with = r.victim()
	}
	r.fault(server.Engine.Name+" down", &server.busy, func() {
		r.disturbed.Add(1)
		defer r.disturbed.Add(-1)
		if err := server.KillNow(); err != nil {
			r.violate("%s could not be killed: %v", server.Engine, err)
			return
		}
		if with != nil {
			with.signal(syscall.SIGKILL)
		}
		r.count("server kills")
		sleep(ctx, pause)
		if err := server.StartAgain(); err != nil && ctx.Err() == nil {
			r.violate("%s does not come back: %v", server.Engine, err)
		}
	})
}

// breakNetwork does something to the network before one server.
func (r *run) breakNetwork(ctx context.Context) {
	if len(r.arena.proxies) == 0 {
		return
	}
	proxy := r.arena.proxies[r.random.IntN(len(r.arena.proxies))]
	pause := time.Duration(r.random.Int64N(int64(3 * time.Second)))
	bad := []struct {
		what       string
		begin, end func() error
	}{
		{"cut", do(proxy.Cut), do(proxy.Heal)},
		{"reset", do(proxy.Reset), do(proxy.Heal)},
		{"hang", do(proxy.Hang), do(proxy.Heal)},
		{"long hang", do(proxy.Hang), do(proxy.Heal)},
		{"hang that ends in a reset", do(proxy.Hang), do(proxy.Reset)},
		{"slow link", slow(proxy, 10*time.Millisecond), slow(proxy, 0)},
		{"reset at a statement", strike(proxy, r.random), do(proxy.Heal)},
	}[r.random.IntN(7)]
	if bad.what == "long hang" { // longer than a transaction, its completion and the recovery may take
		pause = 12 * time.Second
	}
	r.fault(bad.what+" before "+proxy.upstream, &proxy.busy, func() {
		r.disturbed.Add(1)
		defer r.disturbed.Add(-1)
		r.count(bad.what)
		err := bad.begin()
		sleep(ctx, pause)
		if ended := bad.end(); err == nil {
			err = ended
		}
		if err != nil {
			r.violate("the fault proxy fails: %v", err)
		}
	})
}

func do(f func()) func() error { return func() error { f(); return nil } }

// slow makes the connections slow. They are all made anew, since they keep the pace that they were made with.
func slow(proxy *proxy, latency time.Duration) func() error {
	return func() error {
		err := proxy.Latency(latency)
		proxy.Reset()
		return err
	}
}

// strike breaks all connections at some statement of the protocol.
func strike(proxy *proxy, random *rand.Rand) func() error {
	texts := []string{"XA END", "XA PREPARE", "XA COMMIT", "XA ROLLBACK", "insert into", "update "}
	if strings.HasPrefix(proxy.scheme, "postgres") {
		texts = []string{"PREPARE TRANSACTION", "COMMIT PREPARED", "ROLLBACK PREPARED", "insert into", "update "}
	}
	text := texts[random.IntN(len(texts))]
	moment := []faultproxy.When{faultproxy.Before, faultproxy.During, faultproxy.Lost, faultproxy.After}[random.IntN(4)]
	nth := 1 + random.IntN(4)
	return func() error {
		proxy.On(faultproxy.Text(text), moment, nth, (*faultproxy.Proxy).Reset)
		return nil
	}
}

// recover runs xa-recover resolve over a worker's log, and kills it at random if that is wanted.
func (r *run) recover(ctx context.Context, s *slot, kill bool) {
	r.count("recoveries")
	if kill {
		r.count("recoveries killed")
	}
	r.recoverWith(ctx, s, r.arena.seen, "resolve", kill, good, 3)
}

// recoverWith runs a command of xa-recover on these databases, which must end with one of these statuses unless it is killed.
func (r *run) recoverWith(ctx context.Context, s *slot, databases []judge.Database, command string, kill bool, want ...int) {
	out, err := os.OpenFile(filepath.Join(r.dir, "xa-recover.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		r.violate("%v", err)
		return
	}
	defer out.Close()
	limited, cancel := context.WithTimeout(ctx, r.o.patience)
	defer cancel()
	cmd := exec.CommandContext(limited, r.o.recover, command)
	cmd.Env = environment(databases, s.log)
	cmd.Stdout, cmd.Stderr = out, out
	disturbed := r.disturbed.Load()
	if err := cmd.Start(); err != nil {
		if ctx.Err() == nil {
			r.violate("xa-recover could not be started: %v", err)
		}
		return
	}
	fmt.Fprintf(out, "--- xa-recover %s of worker %d's log, pid %d\n", command, s.n, cmd.Process.Pid)
	if kill {
		moment := time.AfterFunc(rand.N(200*time.Millisecond), func() { _ = cmd.Process.Kill() })
		defer moment.Stop()
	}
	_ = cmd.Wait()
	switch status := cmd.ProcessState.ExitCode(); {
	case slices.Contains(want, status), ctx.Err() != nil:
	case kill && status == -1: // it may as well have ended before
	case status == 1 && disturbed+r.disturbed.Load() > 0: // it could not reach a log in a database
	default:
		r.violate("xa-recover %s of worker %d's log ended with status %d: see %s", command, s.n, status, out.Name())
	}
}

// sleep returns false when ctx ended before the time was over.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"syscall"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// childEnv is the environment variable that makes a test binary the application that is killed. It holds a child.
const childEnv = "XA_COMPAT_CHILD"

// child is what the application that is killed has to know.
type child struct {
	Pair    Pair
	Library string
	Point   point
}

// point is where the application is killed.
type point string

const (
	undecided point = "undecided" // both branches are prepared, nothing is decided
	decided   point = "decided"   // the decision is durable, no branch has been told
)

// Main runs the tests, or, in the child process that a test has started, the application that is killed. TestMain calls it.
// libs are all those that the tests use.
func Main(m *testing.M, libs ...Library) {
	text := os.Getenv(childEnv)
	if text == "" {
		engines.Main(m)
	}
	var c child
	err := json.Unmarshal([]byte(text), &c)
	if err == nil {
		i := slices.IndexFunc(libs, func(lib Library) bool { return lib.Name == c.Library })
		err = c.run(context.Background(), libs[i])
	}
	fmt.Fprintln(os.Stderr, "the application that should be killed has ended:", err)
	os.Exit(1)
}

// run makes a transfer, and never comes to its end.
func (c child) run(ctx context.Context, lib Library) error {
	kill := func(xa.TxEvent) {
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // what is to be killed does nothing more
	}
	trace := &xa.Trace{}
	switch c.Point {
	case undecided:
		trace.DecideStart = kill
	case decided:
		trace.DecideDone = kill
	}
	app, err := c.Pair.start(ctx, lib, trace)
	if err != nil {
		return err
	}
	s := scenario{App: app}
	return s.transfer(ctx, string(c.Point), 10, nil)
}

// kill lets the application die between prepare and commit, recovers, and checks that both banks have the transfer, if it was
// decided, or neither; and that the next application works.
func (s *scenario) kill(t *testing.T, at point) {
	s.die(t, at)
	report := s.pair.resolve(t)
	want := recovery.RolledBack
	if at == decided {
		want = recovery.Committed
		s.transferred(string(at), 10)
	}
	if got := report.Branches(func(b recovery.Branch) bool { return b.Action == want }); len(got) != 2 || !report.Clean() {
		t.Errorf("want two branches %s and nothing in doubt: %+v", want, report)
	}
	s.start(t)
	defer s.stop(t)
	s.check(t)
	after := "after " + string(at)
	if err := s.transfer(t.Context(), after, 10, nil); err != nil {
		t.Errorf("the next application's transfer: %v", err)
	}
	s.transferred(after, 10)
	s.check(t)
}

// die runs the application in a process of its own until it is killed.
func (s *scenario) die(t *testing.T, at point) {
	t.Helper()
	text, err := json.Marshal(child{Pair: s.pair, Library: s.lib.Name, Point: at})
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self)
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("the application was not killed: %v\n%s", err, out)
	}
}

// resolve recovers as xa-recover does.
func (p Pair) resolve(t *testing.T) recovery.Report {
	t.Helper()
	log, err := filelog.Open(p.Log, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r := recovery.Resolver{Log: log, Logger: slog.New(slog.DiscardHandler)}
	for i, d := range p.Databases {
		pool, err := d.Pool()
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		r.Resources = append(r.Resources, xa.Resource{Name: names[i], DB: pool, Driver: d.Driver()})
	}
	report, err := r.Resolve(t.Context())
	if err != nil {
		t.Fatalf("recover: %v", err)
	}
	return report
}

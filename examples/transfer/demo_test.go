package main

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/recovery"
)

// What `make demo` claims is checked from outside: by the text that it leaves, and by the files.
func TestDemoLosesNoMoneyAndLeavesNothingInDoubt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "demo")
	demo := exec.CommandContext(t.Context(), "./demo.sh", dir)
	var stderr strings.Builder
	demo.Stderr = &stderr
	out, err := demo.Output()
	if err != nil {
		t.Fatalf("demo.sh: %v\n%s%s", err, out, stderr.String())
	}
	for _, claim := range []string{
		"moved 10 from berlin to paris",
		"the decision to commit is in the log. kill -9!",
		"2 branches of 1 transaction are in doubt: ",
		"Committed 2 branches, rolled back 0, left 0, of 1 transaction; settled 1 decision.",
		"nothing is decided. kill -9!",
		"Committed 0 branches, rolled back 2, left 0, of 1 transaction; settled 1 decision.",
		" is in doubt in 2 databases.",
		"berlin 70 + paris 130 = 200",
	} {
		if !strings.Contains(string(out), claim) {
			t.Errorf("the demo does not say %q:\n%s", claim, out)
		}
	}

	bs, err := openBanks(options{dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer bs.close()
	for name, want := range map[string]int64{"berlin": 70, "paris": 130} {
		if got, err := bs[name].balance(t.Context()); err != nil || got != want {
			t.Errorf("%s: balance is %d, %v, want %d", name, got, err, want)
		}
	}
	checkSettled(t, dir, bs)
}

func TestOverdraftIsRolledBackInBoth(t *testing.T) {
	opts := options{dir: t.TempDir(), from: "paris", to: "berlin", amount: 101}
	if err := run(t.Context(), opts); err == nil || !strings.HasPrefix(err.Error(), "nothing was moved: ") {
		t.Errorf("got %v, want that nothing was moved", err)
	}
	bs, err := openBanks(opts)
	if err != nil {
		t.Fatal(err)
	}
	defer bs.close()
	for name := range bs {
		if got, err := bs[name].balance(t.Context()); err != nil || got != 100 {
			t.Errorf("%s: balance is %d, %v, want 100", name, got, err)
		}
	}
	checkSettled(t, opts.dir, bs)
}

func TestNextTransferRecoversTheOneThatWasKilled(t *testing.T) {
	dir := t.TempDir()
	bin := filepath.Join(dir, "transfer")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	for _, c := range []struct {
		kill killPoint
		want string // after 10 more have moved
	}{
		{afterDecision, "berlin 80 + paris 120 = 200"},
		{beforeDecision, "berlin 70 + paris 130 = 200"},
	} {
		killed := exec.CommandContext(t.Context(), bin, "-dir", dir, "-kill", string(c.kill))
		if out, err := killed.CombinedOutput(); killed.ProcessState.ExitCode() != -1 {
			t.Fatalf("%s: it was not killed: %v\n%s", c.kill, err, out)
		}
		out, err := exec.CommandContext(t.Context(), bin, "-dir", dir).CombinedOutput()
		if err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("%s: the next transfer says %q, %v, want %s", c.kill, out, err, c.want)
		}
	}
}

func TestWrongFlagsAreRefused(t *testing.T) {
	for _, c := range []struct {
		order, args []string
		from, to    string
	}{
		{order: []string{"berlin"}},
		{order: []string{"berlin", "paris"}, args: []string{"move"}},
		{order: []string{"berlin", "paris"}, from: "paris"},
		{order: []string{"berlin", "paris"}, to: "berlin"},
		{order: []string{"berlin", "paris"}, to: "rome"},
	} {
		o := options{from: c.from, to: c.to}
		if err := o.complete(c.order, c.args); err == nil {
			t.Errorf("%+v: no error", c)
		}
	}
}

// checkSettled asks the databases and the log, as xa-recover does.
func checkSettled(t *testing.T, dir string, bs banks) {
	t.Helper()
	log, err := connect.ReadLog("file:" + filepath.Join(dir, "xalog"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	r := recovery.Resolver{Log: log, Resources: bs.resources()}
	report, err := r.Scan(t.Context())
	if err != nil || !report.Clean() || len(report.Decisions) > 0 {
		t.Errorf("something is left: %+v, %v", report, err)
	}
}

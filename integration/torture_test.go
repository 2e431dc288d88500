package integration

import (
	"cmp"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// The program that users try their set-ups with finds nothing wrong: applications, recoveries, servers and networks are broken at random,
// and a checker that shares no code with xasql compares. MySQL's server is not among the victims (see TestApplicationOutlivesItsServersAndSettlesByItself).
// XA_TORTURE_TIME sets how long it goes on.
func TestTortureOfAMinuteFindsNothingWrong(t *testing.T) {
	duration := cmp.Or(os.Getenv("XA_TORTURE_TIME"), "60s")
	limit, err := time.ParseDuration(duration)
	if err != nil {
		t.Fatalf("XA_TORTURE_TIME: %v", err)
	}
	// Where one is missing this says so. The program starts its own, to kill them, but for MySQL, which it borrows.
	for _, name := range []string{"postgres:17", "mariadb:11.8"} {
		named(t, name).Server(t)
	}
	mysql := named(t, "mysql:9.7").Server(t)
	torture := filepath.Join(filepath.Dir(program(t, "xa-recover")), "torture") // which looks for xa-recover beside itself
	build := []string{"build", "-o", torture}
	if raceEnabled {
		build = append(build, "-race")
	}
	if out, err := exec.Command("go", append(build, "./cmd/torture")...).CombinedOutput(); err != nil {
		t.Fatalf("build torture: %v\n%s", err, out)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	cmd := exec.CommandContext(t.Context(), torture, "-engines", "postgres:17,mysql:9.7,mariadb:11.8,sqlite", "-duration", duration, "-check", (limit / 3).String(),
		"-threads", "2", "-think", "100ms", "-progress", "15s", "-json", report)
	cmd.Env = append(os.Environ(), mysql.Engine.Env()+"="+mysql.URL(""))
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // it ends its own processes
	cmd.WaitDelay = time.Minute
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Fatalf("torture: %v", err)
	}
	var got struct {
		Verdict struct {
			Violations []any
			Written    int
		}
		Faults map[string]int
	}
	raw, err := os.ReadFile(report)
	if err == nil {
		err = json.Unmarshal(raw, &got)
	}
	if err != nil || len(got.Verdict.Violations) > 0 || got.Verdict.Written == 0 || got.Faults["judgements"] < 2 {
		t.Errorf("the report is %s (%v)", raw, err)
	}
}

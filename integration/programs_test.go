package integration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"
)

// programs are the commands that tests run as processes of their own, built once.
var programs struct {
	dir  string // removed by TestMain
	once sync.Once
	out  []byte
	err  error
}

// program returns the path of a built command.
func program(t *testing.T, name string) string {
	t.Helper()
	programs.once.Do(func() {
		if programs.dir, programs.err = os.MkdirTemp("", "xasql-integration"); programs.err != nil {
			return
		}
		// Each in its own module: xa-recover as its users build it.
		for module, commands := range map[string][]string{".": {"./cmd/parking", "./cmd/transfers"}, "..": {"./cmd/xa-recover"}} {
			args := []string{"-C", module, "build", "-o", programs.dir + string(filepath.Separator)}
			if raceEnabled {
				args = append(args, "-race")
			}
			if programs.out, programs.err = exec.Command("go", append(args, commands...)...).CombinedOutput(); programs.err != nil {
				return
			}
		}
	})
	if programs.err != nil {
		t.Fatalf("build the programs: %v\n%s", programs.err, programs.out)
	}
	return filepath.Join(programs.dir, name)
}

// process is a program that runs.
type process struct {
	*exec.Cmd
	stderr bytes.Buffer
	ended  context.CancelFunc
}

// startProgram starts a program. One that hangs is told to print its goroutines, and killed: later than any takes whose servers are killed
// and started again on a machine that is busy with other things.
func startProgram(t *testing.T, env []string, stdout *os.File, name string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	p := &process{Cmd: exec.CommandContext(ctx, program(t, name), args...), ended: cancel}
	p.Env = append(os.Environ(), env...)
	p.Cmd.Stderr = &p.stderr
	p.Cmd.Stdout = stdout
	if stdout == nil {
		p.Cmd.Stdout = &p.stderr
	}
	p.Cancel = func() error { return p.Process.Signal(syscall.SIGQUIT) }
	p.WaitDelay = 10 * time.Second
	if err := p.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	return p
}

// wait returns the program's exit status, or -1 when it was killed with SIGKILL.
func (p *process) wait(t *testing.T) int {
	t.Helper()
	defer p.ended()
	err := p.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case !errors.As(err, &exit):
		t.Fatalf("%s: %v\n%s", filepath.Base(p.Path), err, p.stderr.String())
	}
	status := exit.Sys().(syscall.WaitStatus)
	if status.Signaled() {
		if status.Signal() != syscall.SIGKILL {
			t.Fatalf("%s: %v\n%s", filepath.Base(p.Path), err, p.stderr.String())
		}
		return -1
	}
	return status.ExitStatus()
}

// want waits for the program and ends the test unless it ended with this status.
func (p *process) want(t *testing.T, status int) {
	t.Helper()
	if got := p.wait(t); got != status {
		t.Fatalf("%s ended with status %d, want %d:\n%s", filepath.Base(p.Path), got, status, p.stderr.String())
	}
}

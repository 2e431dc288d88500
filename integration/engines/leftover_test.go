package engines_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
)

// TestHoldsAServer is what the tests below run in a process of its own: it starts a server, tells its address,
// and waits for the end of its standard input, or to be killed.
func TestHoldsAServer(t *testing.T) {
	if os.Getenv("XA_TEST_HOLD") == "" {
		return
	}
	s := engines.Of(engines.Postgres)[0].Server(t)
	u, err := url.Parse(s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("address", u.Host)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// holder is such a process.
type holder struct {
	*exec.Cmd
	address string
	stdin   io.Closer
	stderr  strings.Builder
}

func hold(t *testing.T) *holder {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute) // for all that a test does beside it
	t.Cleanup(cancel)
	h := &holder{Cmd: exec.CommandContext(ctx, os.Args[0], "-test.run=^TestHoldsAServer$")}
	// Without the URL: a server of the environment is nobody's to remove.
	h.Env = append(os.Environ(), "XA_TEST_HOLD=1", engines.Of(engines.Postgres)[0].Env()+"=")
	h.Stderr = &h.stderr
	stdout, err := h.StdoutPipe()
	if err == nil {
		h.stdin, err = h.StdinPipe()
	}
	if err == nil {
		err = h.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if address, ok := strings.CutPrefix(lines.Text(), "address "); ok {
			h.address = address
			return h
		}
	}
	_ = h.Wait()
	t.Fatalf("it started no server:\n%s", h.stderr.String())
	return nil
}

func needDocker(t *testing.T) {
	t.Helper()
	e := engines.Of(engines.Postgres)[0]
	if os.Getenv(e.Env()) != "" {
		t.Skipf("SKIPPED: it needs a container of its own; unset %s", e.Env())
	}
	e.Server(t)
}

func answers(address string) bool {
	conn, err := net.DialTimeout("tcp", address, time.Minute) // nobody there: it is refused at once
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

func TestContainerOfAKilledProcessIsRemovedByTheNext(t *testing.T) {
	needDocker(t)
	killed, neighbour := hold(t), hold(t)
	if err := killed.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = killed.Wait()
	if !answers(killed.address) {
		t.Fatal("the container went with its process: there is nothing to test")
	}
	next := hold(t)
	// The next one's own server can have got the port that had become free.
	if next.address != killed.address && answers(killed.address) {
		t.Error("the killed process's server still answers")
	}
	if !answers(neighbour.address) {
		t.Error("a living process's server was removed")
	}
	for _, h := range []*holder{next, neighbour} {
		h.stdin.Close()
		if err := h.Wait(); err != nil {
			t.Errorf("%v\n%s", err, h.stderr.String())
		}
	}
}

func TestInterruptedProcessRemovesItsContainers(t *testing.T) {
	needDocker(t)
	h := hold(t)
	if err := h.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = h.Wait()
	if code := h.ProcessState.ExitCode(); code != 130 {
		t.Errorf("exit status %d, want 130\n%s", code, h.stderr.String())
	}
	if answers(h.address) {
		t.Error("its server still answers")
	}
}

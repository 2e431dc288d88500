package faultproxy_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xasql/xasql/integration/faultproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limit is for what must happen: reaching it fails the test.
const limit = time.Minute

// server answers each line with "re: " and the line, and tells what it got.
type server struct {
	addr string
	got  chan string // lines, and "closed" when a client's end was closed
}

func newServer(t *testing.T) *server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{addr: l.Addr().String(), got: make(chan string, 1000)}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer conn.Close()
				for lines := bufio.NewScanner(conn); lines.Scan(); {
					s.got <- lines.Text()
					_, _ = io.WriteString(conn, "re: "+lines.Text()+"\n")
				}
				s.got <- "closed"
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return s
}

func (s *server) expect(t *testing.T, want string) {
	t.Helper()
	select {
	case got := <-s.got:
		if got != want {
			t.Fatalf("server got %q, want %q", got, want)
		}
	case <-time.After(limit):
		t.Fatalf("server did not get %q", want)
	}
}

func (s *server) expectNothing(t *testing.T) {
	t.Helper()
	select {
	case got := <-s.got:
		t.Fatalf("server got %q, want nothing", got)
	default:
	}
}

func newProxy(t *testing.T, upstream string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.Start(upstream)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

type client struct {
	net.Conn
	in *bufio.Reader
}

func dial(t *testing.T, p *faultproxy.Proxy) *client {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{conn, bufio.NewReader(conn)}
}

func (c *client) send(t *testing.T, line string) {
	t.Helper()
	if _, err := io.WriteString(c, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// read returns the next answer, or why there is none.
func (c *client) read(t *testing.T) (string, error) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(limit)); err != nil {
		t.Fatal(err)
	}
	line, err := c.in.ReadString('\n')
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("no answer: %v", err)
	}
	return strings.TrimSuffix(line, "\n"), err
}

func (c *client) ask(t *testing.T, line, want string) {
	t.Helper()
	c.send(t, line)
	if got, err := c.read(t); err != nil || got != want {
		t.Fatalf("answer to %q is %q, %v; want %q", line, got, err, want)
	}
}

// expectReset fails unless the connection was reset and had nothing to read before.
func (c *client) expectReset(t *testing.T) {
	t.Helper()
	if got, err := c.read(t); got != "" || !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("read %q, %v; want a reset connection", got, err)
	}
}

// expectSilence fails if something can be read now.
func (c *client) expectSilence(t *testing.T) {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got, err := c.in.ReadString('\n'); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("read %q, %v; want silence", got, err)
	}
}

// expectRefusal fails unless a new connection is reset, which may happen while it is made.
func expectRefusal(t *testing.T, p *faultproxy.Proxy) {
	t.Helper()
	conn, err := net.Dial("tcp", p.Addr())
	if err == nil {
		defer conn.Close()
		(&client{conn, bufio.NewReader(conn)}).expectReset(t)
	} else if !errors.Is(err, syscall.ECONNRESET) {
		t.Fatal(err)
	}
}

func await(t *testing.T, fired <-chan struct{}) {
	t.Helper()
	select {
	case <-fired:
	case <-time.After(limit):
		t.Fatal("the trigger did not fire")
	}
}

func TestHealthyProxyForwardsBothWays(t *testing.T) {
	s := newServer(t)
	p := newProxy(t, s.addr)
	one, two := dial(t, p), dial(t, p)
	one.ask(t, "a", "re: a")
	two.ask(t, "b", "re: b")
	one.Close()
	s.expect(t, "a")
	s.expect(t, "b")
	s.expect(t, "closed")
	two.ask(t, "c", "re: c")
}

func TestCutResetsOldAndNewConnectionsUntilHealed(t *testing.T) {
	s := newServer(t)
	p := newProxy(t, s.addr)
	c := dial(t, p)
	c.ask(t, "a", "re: a")
	s.expect(t, "a")
	p.Cut()
	c.expectReset(t)
	s.expect(t, "closed")
	expectRefusal(t, p)
	p.Heal()
	dial(t, p).ask(t, "b", "re: b")
	s.expect(t, "b")
}

func TestResetTakesNewConnections(t *testing.T) {
	p := newProxy(t, newServer(t).addr)
	c := dial(t, p)
	c.ask(t, "a", "re: a")
	p.Reset()
	c.expectReset(t)
	dial(t, p).ask(t, "b", "re: b")
}

func TestHangHoldsBackBytesAndClosingUntilHealed(t *testing.T) {
	s := newServer(t)
	p := newProxy(t, s.addr)
	c := dial(t, p)
	c.ask(t, "a", "re: a")
	s.expect(t, "a")
	p.Hang()
	c.send(t, "late")
	fresh := dial(t, p)
	fresh.send(t, "new")
	c.expectSilence(t)
	fresh.expectSilence(t)
	s.expectNothing(t)
	c.Close()
	fresh.expectSilence(t)
	s.expectNothing(t)
	p.Heal()
	if got, err := fresh.read(t); err != nil || got != "re: new" {
		t.Fatalf("read %q, %v", got, err)
	}
	left := map[string]bool{"late": true, "closed": true, "new": true}
	for len(left) > 0 {
		select {
		case got := <-s.got:
			if !left[got] {
				t.Fatalf("server got %q, want one of %v", got, left)
			}
			delete(left, got)
		case <-time.After(limit):
			t.Fatalf("server did not get %v", left)
		}
	}
}

func TestCutLosesWhatHangHasHeldBack(t *testing.T) {
	s := newServer(t)
	p := newProxy(t, s.addr)
	c := dial(t, p)
	c.ask(t, "a", "re: a")
	s.expect(t, "a")
	p.Hang()
	c.send(t, "late")
	c.expectSilence(t)
	p.Cut()
	p.Heal()
	c.expectReset(t)
	s.expect(t, "closed")
	s.expectNothing(t)
}

func TestStrandTellsNeitherEnd(t *testing.T) {
	s := newServer(t)
	p := newProxy(t, s.addr)
	c, gone := dial(t, p), dial(t, p)
	c.ask(t, "a", "re: a")
	gone.ask(t, "b", "re: b")
	s.expect(t, "a")
	s.expect(t, "b")
	p.Strand()
	p.Strand()
	p.Heal()
	c.send(t, "never")
	gone.Close()
	c.expectSilence(t)
	dial(t, p).ask(t, "new", "re: new")
	s.expect(t, "new")
	s.expectNothing(t)
	p.Close()
	c.expectReset(t)
	for range 3 {
		s.expect(t, "closed")
	}
}

func TestTriggerStrikesAtTheNthMatch(t *testing.T) {
	for _, when := range []faultproxy.When{faultproxy.Before, faultproxy.During, faultproxy.Lost, faultproxy.After} {
		t.Run(when.String()+" cut", func(t *testing.T) {
			s := newServer(t)
			p := newProxy(t, s.addr)
			one, two := dial(t, p), dial(t, p)
			fired := p.On(faultproxy.Text("x"), when, 2, (*faultproxy.Proxy).Cut)
			one.ask(t, "x1", "re: x1")
			one.ask(t, "y", "re: y")
			s.expect(t, "x1")
			s.expect(t, "y")
			select {
			case <-fired:
				t.Fatal("fired at the first match")
			default:
			}
			two.send(t, "x2")
			await(t, fired)
			if when == faultproxy.After {
				if got, err := two.read(t); err != nil || got != "re: x2" {
					t.Fatalf("read %q, %v", got, err)
				}
				if got, err := two.read(t); err == nil {
					t.Fatalf("read %q after the cut", got)
				}
			} else {
				two.expectReset(t)
			}
			one.expectReset(t)
			reached := false
			for closed := 0; closed < 2; {
				select {
				case got := <-s.got:
					switch got {
					case "closed":
						closed++
					case "x2":
						reached = true
					default:
						t.Errorf("server got %q", got)
					}
				case <-time.After(limit):
					t.Fatal("the server's connections stay")
				}
			}
			if want := when != faultproxy.Before; reached != want {
				t.Errorf("the request reached the server: %v, want %v", reached, want)
			}
		})
		t.Run(when.String()+" hang", func(t *testing.T) {
			s := newServer(t)
			p := newProxy(t, s.addr)
			c := dial(t, p)
			c.ask(t, "a", "re: a")
			s.expect(t, "a")
			fired := p.On(faultproxy.Text("x"), when, 1, (*faultproxy.Proxy).Hang)
			c.send(t, "x")
			await(t, fired)
			if when == faultproxy.After {
				if got, err := c.read(t); err != nil || got != "re: x" {
					t.Fatalf("read %q, %v", got, err)
				}
			}
			if when != faultproxy.Before {
				s.expect(t, "x")
			}
			c.expectSilence(t)
			s.expectNothing(t)
			p.Heal()
			if when != faultproxy.After {
				if got, err := c.read(t); err != nil || got != "re: x" {
					t.Fatalf("read %q, %v", got, err)
				}
			}
			c.ask(t, "y", "re: y")
		})
	}
}

func TestSlowConnectionsAreSlow(t *testing.T) {
	p := newProxy(t, newServer(t).addr)
	took := func(line string) time.Duration {
		t.Helper()
		start := time.Now()
		c := dial(t, p)
		c.ask(t, line, "re: "+line)
		return time.Since(start)
	}
	if err := p.Latency(60 * time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if d := took("late"); d < 120*time.Millisecond {
		t.Errorf("with 60 ms of latency each way: %v", d)
	}
	if err := p.Latency(0); err != nil {
		t.Fatal(err)
	}
	if err := p.Drip(1000); err != nil {
		t.Fatal(err)
	}
	if d := took(strings.Repeat("x", 100)); d < 150*time.Millisecond {
		t.Errorf("200 bytes at 1000 a second: %v", d)
	}
	if err := p.Drip(0); err != nil {
		t.Fatal(err)
	}
	took("fast")
}

func TestCloseEndsAHungProxy(t *testing.T) {
	s := newServer(t)
	p := newProxy(t, s.addr)
	c := dial(t, p)
	c.ask(t, "a", "re: a")
	p.Hang()
	c.send(t, "late")
	fresh := dial(t, p)
	fresh.expectSilence(t)
	p.Close()
	p.Close()
	c.expectReset(t)
}

func TestServerThatIsDownResetsTheClient(t *testing.T) {
	// Bound and not listening: nobody answers, and no other program can take the port.
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	expectRefusal(t, newProxy(t, fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)))
}

package integration

import (
	"io"
	"net"
	"sync"
	"testing"
)

// stepper stands between xa-recover and its servers, and holds everything up after the n-th request: the server has carried that one out, and
// nobody is told.
type stepper struct {
	mu      sync.Mutex
	left    int           // requests until it holds
	count   int           // that went through
	reached chan struct{} // closed when the server has answered the last one
	thawed  chan struct{} // closed: everything goes on
	ended   chan struct{} // closed: all connections are
}

// newStepper lets n requests through; n < 0: all.
func newStepper(n int) *stepper {
	return &stepper{left: n, reached: make(chan struct{}), thawed: make(chan struct{}), ended: make(chan struct{})}
}

// request counts a request. It tells whether it may pass, and whether it is the last one.
func (s *stepper) request() (pass, last bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left == 0 {
		return false, false
	}
	s.left--
	s.count++
	return true, s.left == 0
}

// spent tells whether the last request has come.
func (s *stepper) spent() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.left == 0
}

func (s *stepper) thaw() {
	s.mu.Lock()
	s.left = -1
	s.mu.Unlock()
	close(s.thawed)
}

// cut ends all connections, so that the servers end their sessions.
func (s *stepper) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.ended:
	default:
		close(s.ended)
	}
}

// proxy returns an address that leads to the server, by way of the stepper.
func (s *stepper) proxy(t *testing.T, address string, isRequest func([]byte) bool) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var links sync.WaitGroup
	links.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			links.Go(func() { s.link(client, address, isRequest) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.cut()
		links.Wait()
	})
	return l.Addr().String()
}

// link carries one connection until either side ends it, or the test does.
func (s *stepper) link(client net.Conn, address string, isRequest func([]byte) bool) {
	defer client.Close()
	server, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	var struck sync.Map // "last": the answer that comes is the last one's
	over := make(chan struct{})
	var both sync.WaitGroup
	both.Go(func() { // what the client asks
		defer server.Close()
		s.copy(server, client, func(b []byte) bool {
			if !isRequest(b) {
				return true
			}
			pass, last := s.request()
			if last {
				struck.Store("last", true)
			}
			return pass
		})
	})
	both.Go(func() { // what the server answers
		defer client.Close()
		s.copy(client, server, func([]byte) bool {
			_, last := struck.LoadAndDelete("last")
			if last {
				close(s.reached)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			return !last && s.left != 0
		})
	})
	go func() {
		select {
		case <-s.ended:
			client.Close()
			server.Close()
		case <-over:
		}
	}()
	both.Wait()
	close(over)
}

// copy carries what may pass; the rest waits for the thaw.
func (s *stepper) copy(to io.Writer, from io.Reader, pass func([]byte) bool) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		if n > 0 && !pass(b[:n]) {
			select {
			case <-s.thawed:
			case <-s.ended:
				return
			}
		}
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// isPostgresRequest tells a statement from what connects and disconnects.
func isPostgresRequest(b []byte) bool { return b[0] == 'Q' || b[0] == 'P' || b[0] == 'B' }

// isMySQLRequest knows COM_QUERY, COM_STMT_PREPARE and COM_STMT_EXECUTE.
func isMySQLRequest(b []byte) bool {
	return len(b) > 4 && b[3] == 0 && (b[4] == 0x03 || b[4] == 0x16 || b[4] == 0x17)
}

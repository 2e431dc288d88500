package faultproxy

import (
	"net"
	"sync"
	"sync/atomic"
)

// chunk is how much is read at once: more than any request of the tests, so that one read sees one request whole.
const chunk = 64 << 10

// link is one client's connection, and the one to the server that was made for it.
type link struct {
	proxy  *Proxy
	client *net.TCPConn

	broken   chan struct{} // closed by breakOff
	stranded chan struct{} // closed by strand

	mu     sync.Mutex   // guards what follows, and the closing of the channels
	server *net.TCPConn // nil until it is connected

	gentle  atomic.Bool             // the client has got an answer that it must be able to read
	pending atomic.Pointer[trigger] // strikes at the server's next answer
	turn    sync.Mutex              // held while something passes and a trigger then strikes: nothing slips in between
}

func (l *link) run() {
	defer l.end()
	if !l.proxy.pass(l) {
		return
	}
	conn, err := net.Dial("tcp", l.proxy.route())
	if err != nil {
		reset(l.client)
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	l.mu.Lock()
	l.server = server
	l.mu.Unlock()
	if isClosed(l.broken) {
		return
	}

	var both sync.WaitGroup
	both.Go(func() { l.requests(server) })
	l.answers(server)
	both.Wait()
}

// end takes the link from the proxy's list.
func (l *link) end() {
	_ = l.client.Close()
	l.proxy.mu.Lock()
	defer l.proxy.mu.Unlock()
	delete(l.proxy.links, l)
}

// breakOff ends the link for the client at once. The server first gets what it was sent; with hard, it need not.
func (l *link) breakOff(hard bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isClosed(l.broken) {
		close(l.broken)
		if l.gentle.Load() {
			_ = l.client.Close()
		} else {
			reset(l.client)
		}
		if l.server != nil {
			_ = l.server.CloseWrite()
		}
	}
	if hard && l.server != nil {
		_ = l.server.Close()
	}
}

// strand makes the link a dead one that neither end hears of.
func (l *link) strand() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !isClosed(l.stranded) {
		close(l.stranded)
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// requests forwards what the client sends.
func (l *link) requests(server *net.TCPConn) {
	buf := make([]byte, chunk)
	for {
		n, err := l.client.Read(buf)
		if n > 0 && !l.request(server, buf[:n]) {
			return
		}
		if err != nil {
			if l.proxy.pass(l) {
				_ = server.CloseWrite()
			}
			return
		}
	}
}

// awaitStrike returns when no trigger is striking.
func (l *link) awaitStrike() {
	l.turn.Lock()
	defer l.turn.Unlock()
}

// request forwards one request; false means that the link is over.
func (l *link) request(server *net.TCPConn, sent []byte) bool {
	l.awaitStrike()
	t := l.proxy.match(sent)
	if t != nil && t.when == Before {
		t.strike(l.proxy)
	}
	if !l.proxy.pass(l) {
		return false
	}
	if t != nil {
		switch t.when {
		case During:
			l.turn.Lock()
			defer l.turn.Unlock()
			defer t.strike(l.proxy)
		case Lost, After:
			l.pending.Store(t)
		}
	}
	_, err := server.Write(sent)
	return err == nil
}

// answers forwards what the server sends. Once the link is over it only reads on, so that the server can
// finish what it was sent.
func (l *link) answers(server *net.TCPConn) {
	defer l.breakOff(true)
	buf := make([]byte, chunk)
	for {
		n, err := server.Read(buf)
		if n > 0 {
			l.answer(buf[:n])
		}
		if err != nil {
			if l.proxy.pass(l) {
				l.gentle.Store(true) // the server has closed: so does the client's connection
			}
			return
		}
	}
}

func (l *link) answer(got []byte) {
	l.awaitStrike()
	t := l.pending.Swap(nil)
	if t != nil && t.when == Lost {
		t.strike(l.proxy)
	}
	if !l.proxy.pass(l) {
		return
	}
	if t != nil && t.when == After {
		l.gentle.Store(true)
		l.turn.Lock()
		defer l.turn.Unlock()
		defer t.strike(l.proxy)
	}
	_, _ = l.client.Write(got)
}

package faultproxy

import (
	"fmt"
	"net"
	"sync"
)

// Proxy forwards TCP connections to one server. Its methods may be called at any time from any goroutine.
type Proxy struct {
	upstream string
	listener net.Listener
	running  sync.WaitGroup // the accept loop, and two goroutines a connection

	mu       sync.Mutex
	state    state
	changed  chan struct{} // closed at the next change of state
	links    map[*link]struct{}
	triggers []*trigger
	slow     pace    // of connections that are made from now on
	slowed   []*slow // what has been started for them
}

type state uint8

const (
	open state = iota
	cut
	hung
	closed
)

// Start returns a proxy to the server at upstream, "host:port", which need not listen yet.
func Start(upstream string) (*Proxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("faultproxy: %w", err)
	}
	p := &Proxy{upstream: upstream, listener: listener, changed: make(chan struct{}), links: map[*link]struct{}{}}
	p.running.Go(p.accept)
	return p, nil
}

// Addr returns the address, "host:port", that clients connect to.
func (p *Proxy) Addr() string { return p.listener.Addr().String() }

// Cut resets all clients' connections, and those of new clients as soon as they are made, until Heal. The server sees its ends
// closed after what was already sent to it. What Hang has held back is lost.
func (p *Proxy) Cut() { p.become(cut, true) }

// Reset resets all clients' connections as Cut does, and goes on with new ones.
func (p *Proxy) Reset() { p.become(open, true) }

// Hang lets nothing pass in either direction, until Heal: neither bytes nor the closing of either end, so that each end's connection
// outlives the other end. New clients connect, and hear nothing.
func (p *Proxy) Hang() { p.become(hung, false) }

// Strand lets nothing pass any more over the connections that are there, and tells neither end of it: as when a router has forgotten
// them. Each end's connection outlives the other end, until Cut, Reset or Close. New connections work.
func (p *Proxy) Strand() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for l := range p.links {
		l.strand()
	}
}

// Heal ends Cut and Hang. As when a broken network comes back, what Hang has held back arrives late, even where its
// sender has given up and closed; call Cut before Heal if it never shall. Latency and Drip stay.
func (p *Proxy) Heal() { p.become(open, false) }

// Close closes all connections and the proxy, and returns when its last goroutine has ended. It may be called twice.
func (p *Proxy) Close() {
	p.become(closed, true)
	_ = p.listener.Close()
	p.running.Wait()
	p.mu.Lock()
	slowed := p.slowed
	p.slowed = nil
	p.mu.Unlock()
	for _, s := range slowed {
		s.stop()
	}
}

func (p *Proxy) become(s state, breaking bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.state == closed {
		return
	}
	p.state = s
	close(p.changed)
	p.changed = make(chan struct{})
	if breaking {
		for l := range p.links {
			l.breakOff(s == closed)
		}
	}
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		l := &link{proxy: p, client: client.(*net.TCPConn), broken: make(chan struct{}), stranded: make(chan struct{})}
		p.mu.Lock()
		if p.state == cut || p.state == closed {
			// The listener stays, so that no other program can take the port meanwhile.
			reset(l.client)
		} else {
			p.links[l] = struct{}{}
			p.running.Go(l.run)
		}
		p.mu.Unlock()
	}
}

// pass returns true when the link may go on, after Hang has ended; false when it was broken off.
func (p *Proxy) pass(l *link) bool {
	for {
		p.mu.Lock()
		s, changed := p.state, p.changed
		p.mu.Unlock()
		select {
		case <-l.broken:
			return false
		case <-l.stranded:
			<-l.broken
			return false
		default:
		}
		if s != hung {
			return true
		}
		select {
		case <-changed:
		case <-l.broken:
		}
	}
}

// reset closes a connection so that its other end gets a reset.
func reset(conn *net.TCPConn) {
	_ = conn.SetLinger(0)
	_ = conn.Close()
}

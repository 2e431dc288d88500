package faultproxy

import (
	"fmt"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"
)

// pace is how slow connections are.
type pace struct {
	latency        time.Duration
	bytesPerSecond int
	through        *slow // nil while they are not
}

// slow is a toxiproxy of one pace, between this proxy and the server. It is never changed: connections keep the pace
// that they were made with. It stands in the way of slow connections only, as it leaks the goroutines of a connection that
// breaks while bytes are on their way.
type slow struct{ proxy *toxiproxy.Proxy }

// Latency makes what passes over connections that are made from now on take d longer, each way, in whole
// milliseconds; 0 ends it.
func (p *Proxy) Latency(d time.Duration) error {
	return p.change(func(s *pace) { s.latency = d })
}

// Drip lets at most so many bytes a second, a few at a time, pass each way over connections that are made from now on;
// 0 ends it.
func (p *Proxy) Drip(bytesPerSecond int) error {
	return p.change(func(s *pace) { s.bytesPerSecond = bytesPerSecond })
}

func (p *Proxy) change(f func(*pace)) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	next := p.slow
	f(&next)
	next.through = nil
	if next.latency > 0 || next.bytesPerSecond > 0 {
		s, err := startSlow(p.upstream, next)
		if err != nil {
			return fmt.Errorf("faultproxy: %w", err)
		}
		p.slowed = append(p.slowed, s)
		next.through = s
	}
	p.slow = next
	return nil
}

// route returns the address that a new connection's server side goes to.
func (p *Proxy) route() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.slow.through != nil {
		return p.slow.through.proxy.Listen
	}
	return p.upstream
}

func startSlow(upstream string, s pace) (*slow, error) {
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	proxy := toxiproxy.NewProxy(server, upstream, "127.0.0.1:0", upstream)
	for _, stream := range []string{"upstream", "downstream"} {
		var toxics []string
		if s.latency > 0 {
			toxics = append(toxics, fmt.Sprintf(`{"type": "latency", "stream": %q, "attributes": {"latency": %d}}`,
				stream, s.latency.Milliseconds()))
		}
		if s.bytesPerSecond > 0 {
			size := max(1, s.bytesPerSecond/50)
			toxics = append(toxics, fmt.Sprintf(`{"type": "slicer", "stream": %q, "attributes": {"average_size": %d, "delay": %d}}`,
				stream, size, size*1_000_000/s.bytesPerSecond))
		}
		for _, t := range toxics {
			if _, err := proxy.Toxics.AddToxicJson(strings.NewReader(t)); err != nil {
				return nil, err
			}
		}
	}
	if err := proxy.Start(); err != nil {
		return nil, err
	}
	return &slow{proxy}, nil
}

func (s *slow) stop() { s.proxy.Stop() }

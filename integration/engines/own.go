package engines

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// Own is what is different about a server that one test has for itself. The zero value is a server of the image's own defaults:
// PostgreSQL then prepares no transactions.
type Own struct {
	// Env are more variables of the container's environment, as NAME=VALUE.
	Env []string
	// Args are what is run: the server's arguments, or a command and its.
	Args []string
	// Mounts are directories of this machine that the container sees, as HOST:CONTAINER.
	Mounts []string
}

// Own starts a server that only this test uses, and may do anything to, in Docker, whatever the environment says. It answers when Own
// returns, and is removed with its data when the test ends. Where there can't be one the test is skipped, or fails if XA_REQUIRE asks for
// the engine.
func (e Engine) Own(t testing.TB, o Own) *Server {
	t.Helper()
	pool, err := servers.docker()
	if err != nil {
		e.missing(t, err)
	}
	im := imageOf(e)
	im.env, im.command, im.mounts = append(im.env, o.Env...), o.Args, o.Mounts
	servers.slots <- struct{}{}
	s, err := serve(pool, e, im)
	<-servers.slots
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.db.Close()
		if err := s.container.remove(); err != nil {
			t.Errorf("%s: remove: %v", e, err)
		}
	})
	return s
}

// Revive returns when the server answers, and starts it as often as it ends by itself until the test is over: one that is about to end may still
// answer. It must be able to work again by then.
func (s *Server) Revive(t testing.TB) {
	t.Helper()
	s.needContainer(t)
	s.keepUp(t)
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(reviveTick)
	defer tick.Stop()
	for {
		err := s.db.PingContext(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: no answer within %v: %v", s.Engine, limit, err)
		case <-tick.C:
		}
	}
}

// keepUp starts the server whenever it has ended, until the test is over.
func (s *Server) keepUp(t testing.TB) {
	ctx, stop := context.WithCancel(t.Context())
	var keeping sync.WaitGroup
	t.Cleanup(func() {
		stop()
		keeping.Wait()
	})
	keeping.Go(func() {
		tick := time.NewTicker(reviveTick)
		defer tick.Stop()
		for ; ctx.Err() == nil; <-tick.C {
			if s.container.died() == nil {
				continue
			}
			if err := s.container.start(); err != nil {
				t.Errorf("%s: start: %v", s.Engine, err)
				return
			}
		}
	})
}

// reviveTick is how often a server that may end by itself is looked at.
const reviveTick = 100 * time.Millisecond

// Peer returns the address at which another container reaches the server. It is another one once the server was killed and started.
func (s *Server) Peer(t testing.TB) string {
	t.Helper()
	s.needContainer(t)
	got, err := s.container.pool.Client.InspectContainer(s.container.resource.Container.ID)
	if err != nil {
		t.Fatalf("%s: inspect: %v", s.Engine, err)
	}
	port, _, _ := strings.Cut(imageOf(s.Engine).port, "/")
	return net.JoinHostPort(got.NetworkSettings.IPAddress, port)
}

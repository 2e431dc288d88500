package engines

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ory/dockertest/v3"
)

// servers are this process's servers. It is a global because tests of one process share them, and package testing
// offers no other place for what several tests share.
var servers = &process{entries: map[string]*entry{}, ports: map[int]bool{}, slots: make(chan struct{}, 3)}

// process owns the servers that a test process uses.
type process struct {
	slots chan struct{} // as many servers start at once as a small machine bears

	mu      sync.Mutex // guards all below
	entries map[string]*entry
	ports   map[int]bool // given to containers
	pool    *dockertest.Pool
	swept   bool
	skipped []string
	closed  bool
}

// entry is a server that starts or has started.
type entry struct {
	once   sync.Once
	server *Server
	err    error
}

// Main runs the tests and exits; TestMain calls it. Containers are removed at the end, and on
// SIGINT and SIGTERM.
func Main(m *testing.M) { os.Exit(Run(m)) }

// Run is Main for a TestMain that has something of its own to clean up: it returns the exit code.
func Run(m *testing.M) int {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		servers.close()
		os.Exit(130)
	}()
	code := m.Run()
	if err := errors.Join(servers.tellSkipped(), servers.close()); err != nil {
		fmt.Fprintln(os.Stderr, "engines:", err)
		code = max(code, 1)
	}
	return code
}

func (p *process) get(e Engine) (*Server, error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, errors.New("the test process ends")
	}
	en := p.entries[e.Name]
	if en == nil {
		en = &entry{}
		p.entries[e.Name] = en
	}
	p.mu.Unlock()
	en.once.Do(func() {
		p.slots <- struct{}{}
		defer func() { <-p.slots }()
		en.server, en.err = p.begin(e)
	})
	return en.server, en.err
}

// begin finds or starts the engine's server, and returns when it answers.
func (p *process) begin(e Engine) (*Server, error) {
	begun := time.Now()
	if text := os.Getenv(e.Env()); text != "" {
		s, err := fromEnv(e, text)
		if err != nil {
			return nil, err
		}
		return s, nil
	}
	pool, err := p.docker()
	if err != nil {
		return nil, fmt.Errorf("%w; or set %s", err, e.Env())
	}
	s, err := serve(pool, e, imageOf(e))
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "engines: %s answers after %v\n", e, time.Since(begun).Round(time.Millisecond))
	return s, nil
}

// serve starts a server in Docker, and returns when it answers.
func serve(pool *dockertest.Pool, e Engine, im image) (*Server, error) {
	c, admin, err := run(pool, e, im)
	if err != nil {
		return nil, err
	}
	s := &Server{Engine: e, admin: admin, container: c}
	if s.db, err = Open(s.URL(adminDatabase(e))); err == nil {
		err = s.await()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", e, err), c.remove())
	}
	return s, nil
}

func fromEnv(e Engine, text string) (*Server, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The error would repeat the password.
		return nil, fmt.Errorf("%s is no URL: want scheme://user:password@host:port", e.Env())
	}
	s := &Server{Engine: e, admin: u}
	database := u.Path
	if database == "" || database == "/" {
		database = adminDatabase(e)
	}
	if s.db, err = Open(s.URL(database)); err != nil {
		return nil, fmt.Errorf("%s: %w", e.Env(), err)
	}
	if err := s.await(); err != nil {
		return nil, fmt.Errorf("%s: %w", e.Env(), err)
	}
	return s, nil
}

// adminDatabase is where the administrator's own statements run.
func adminDatabase(e Engine) string {
	if e.Kind == Postgres {
		return "postgres"
	}
	return ""
}

// docker connects to Docker once, and clears away what killed processes left there.
func (p *process) docker() (*dockertest.Pool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pool == nil {
		pool, err := connect()
		if err != nil {
			return nil, err
		}
		p.pool = pool
	}
	if !p.swept {
		p.swept = true
		if err := sweep(p.pool); err != nil {
			return nil, fmt.Errorf("remove containers of a killed run: %w", err)
		}
	}
	return p.pool, nil
}

func (p *process) noteSkip(e Engine, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	line := fmt.Sprintf("%s: %v", e, err)
	if !slices.Contains(p.skipped, line) {
		p.skipped = append(p.skipped, line)
	}
}

// tellSkipped tells which engines were missed, also in the file that XA_SKIPPED names: go test shows nothing of
// what a passing package prints.
func (p *process) tellSkipped() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.skipped) == 0 {
		return nil
	}
	for _, line := range p.skipped {
		fmt.Fprintln(os.Stderr, "engines: TESTS WERE SKIPPED for want of", line)
	}
	name := os.Getenv("XA_SKIPPED")
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = f.WriteString(strings.Join(p.skipped, "\n") + "\n")
	return errors.Join(err, f.Close())
}

// close removes the containers. Servers that are still starting are waited for: nothing else would remove them.
func (p *process) close() error {
	p.mu.Lock()
	p.closed = true
	entries := p.entries
	p.mu.Unlock()
	var errs []error
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, en := range entries {
		wg.Go(func() {
			en.once.Do(func() { en.err = errors.New("the test process ends") })
			if en.server == nil {
				return
			}
			en.server.db.Close()
			if c := en.server.container; c != nil {
				if err := c.remove(); err != nil {
					mu.Lock()
					errs = append(errs, err)
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

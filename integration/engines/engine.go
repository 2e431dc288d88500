package engines

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The kinds of engines. The kind of an engine is also what its image is called.
const (
	Postgres = "postgres"
	MySQL    = "mysql"
	MariaDB  = "mariadb"
)

// Engine is one version of a database server.
type Engine struct {
	Name string // the official image, e.g. "postgres:17"
	Kind string // Postgres, MySQL or MariaDB
}

// All returns the engines that this project is tested with.
func All() []Engine {
	return []Engine{
		{"postgres:15", Postgres},
		{"postgres:17", Postgres},
		{"postgres:18", Postgres},
		{"mysql:9.7", MySQL},
		{"mariadb:10.11", MariaDB},
		{"mariadb:11.8", MariaDB},
	}
}

// Of returns the engines of these kinds.
func Of(kinds ...string) []Engine {
	return slices.DeleteFunc(All(), func(e Engine) bool { return !slices.Contains(kinds, e.Kind) })
}

// String returns the engine's name.
func (e Engine) String() string { return e.Name }

// Env is the environment variable that may hold the URL of a running server, e.g. "XA_POSTGRES_17_URL".
func (e Engine) Env() string {
	return "XA_" + strings.ToUpper(strings.NewReplacer(":", "_", ".", "_").Replace(e.Name)) + "_URL"
}

// Server returns this engine's server, and starts it when the process has none yet. Where there
// can't be one the test is skipped, or fails if XA_REQUIRE asks for the engine.
func (e Engine) Server(t testing.TB) *Server {
	t.Helper()
	s, err := servers.get(e)
	if err != nil {
		e.missing(t, err)
	}
	return s
}

// Start starts the servers of these engines side by side, as tests that use many of them want. It tells
// nothing of a server that can't be had: [Engine.Server] does.
func Start(es ...Engine) {
	done := make(chan struct{})
	for _, e := range es {
		go func() {
			_, _ = servers.get(e)
			done <- struct{}{}
		}()
	}
	for range es {
		<-done
	}
}

// missing ends the test for want of something that only a server of this engine offers.
func (e Engine) missing(t testing.TB, err error) {
	t.Helper()
	if e.required() {
		t.Fatalf("%s is required by XA_REQUIRE: %v", e, err)
	}
	servers.noteSkip(e, err)
	t.Skipf("SKIPPED for want of %s: %v", e, err)
}

func (e Engine) required() bool {
	for want := range strings.SplitSeq(os.Getenv("XA_REQUIRE"), ",") {
		switch strings.TrimSpace(want) {
		case "all", e.Kind, e.Name:
			return true
		}
	}
	return false
}

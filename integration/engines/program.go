package engines

import (
	"context"
	"fmt"
	"net/url"
	"strings"
)

// What follows is for a program that is no test: it gets as errors what makes a test fail. Such a program calls [Close] before it ends.

// Get returns the engine's server, and starts it when the process has none yet.
func Get(e Engine) (*Server, error) { return servers.get(e) }

// Close removes the containers of this process. No server can be had afterwards.
func Close() error { return servers.close() }

// Owned tells whether the server runs in a container of this process, which may kill it.
func (s *Server) Owned() bool { return s.container != nil }

// NewDatabaseFor creates an empty database, and returns its URL. It goes with an owned server; in another one it stays until [Server.DropDatabase].
func (s *Server) NewDatabaseFor(ctx context.Context) (string, error) {
	name := s.newName()
	if _, err := s.db.ExecContext(ctx, "create database "+name); err != nil {
		return "", fmt.Errorf("%s: create a database: %w", s.Engine, err)
	}
	return s.URL(name), nil
}

// DropDatabase drops a database that NewDatabaseFor has created.
func (s *Server) DropDatabase(ctx context.Context, databaseURL string) error {
	u, err := url.Parse(databaseURL)
	if err == nil {
		_, err = s.db.ExecContext(ctx, "drop database "+strings.TrimPrefix(u.Path, "/"))
	}
	if err != nil {
		return fmt.Errorf("%s: drop a database: %w", s.Engine, err)
	}
	return nil
}

// KillNow ends all processes of an owned server with SIGKILL, and returns when they are gone.
func (s *Server) KillNow() error { return s.container.kill() }

// StartAgain starts a killed server, on the same address, and returns when it answers.
func (s *Server) StartAgain() error {
	if err := s.container.start(); err != nil {
		return err
	}
	return s.await()
}

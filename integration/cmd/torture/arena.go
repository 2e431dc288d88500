package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/faultproxy"
	"github.com/xasql/xasql/integration/judge"
	"github.com/xasql/xasql/internal/connect"
)

// arena is what the run works on: databases, log, and what can be broken of them.
type arena struct {
	databases []judge.Database           // as the checker sees them
	seen      []judge.Database           // as the workers do: through the proxies
	log       string                     // URL of a shared log as the workers see it; "": each worker has its own in files
	made      []judge.Database           // what Drop is to be called for at the end
	servers   []*server                  // that may be killed
	borrowed  map[string]*engines.Server // servers that are not this process's, by the URLs of the databases that were made in them
	proxies   []*proxy
	logs      string // directory of the logs in files
}

// server is one that may be killed.
type server struct {
	*engines.Server
	busy atomic.Bool // a fault is at work on it
}

// proxy stands before one server.
type proxy struct {
	*faultproxy.Proxy
	upstream string
	scheme   string      // of the URLs that go through it
	busy     atomic.Bool // a fault is at work on it
}

// build makes tables and log in the databases. After an error nothing of it is left.
func build(ctx context.Context, o *options, dir, run string) (*arena, error) {
	a := &arena{databases: o.databases, borrowed: map[string]*engines.Server{}}
	if err := a.build(ctx, o, dir, run); err != nil {
		a.close()
		clearing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		return nil, errors.Join(err, a.drop(clearing))
	}
	return a, nil
}

func (a *arena) build(ctx context.Context, o *options, dir, run string) error {
	if len(o.engines) > 0 {
		if err := a.start(ctx, o, dir); err != nil {
			return err
		}
	}
	for _, d := range a.databases {
		if o.does("network") {
			var err error
			if d.URL, err = a.through(d.URL); err != nil {
				return fmt.Errorf("%s: %w", d.Name, err)
			}
		}
		a.seen = append(a.seen, d)
	}
	for _, d := range a.databases {
		if err := judge.Create(ctx, d, run); err != nil {
			return err
		}
		a.made = append(a.made, d)
	}
	var err error
	if a.log, err = a.makeLog(ctx, o, dir, run); err == nil && a.log != "" && o.does("network") {
		a.log, err = a.through(a.log)
	}
	return err
}

// start starts the servers of -engines, and makes a database in each.
func (a *arena) start(ctx context.Context, o *options, dir string) error {
	var wanted []engines.Engine
	for _, name := range o.engines {
		if e, ok := engine(name); ok {
			wanted = append(wanted, e)
		}
	}
	engines.Start(wanted...)
	for i, name := range o.engines {
		d := judge.Database{Name: fmt.Sprintf("%c-%s", 'a'+i, strings.ReplaceAll(name, ":", "-"))}
		if e, ok := engine(name); ok {
			s, err := engines.Get(e)
			if err != nil {
				return err
			}
			if d.URL, err = s.NewDatabaseFor(ctx); err != nil {
				return err
			}
			if !s.Owned() {
				a.borrowed[d.URL] = s
			}
			known := slices.ContainsFunc(a.servers, func(other *server) bool { return other.Server == s })
			if s.Owned() && (e.Kind != engines.MySQL || o.killMySQL) && !known {
				a.servers = append(a.servers, &server{Server: s})
			}
		} else {
			d.URL = "sqlite:" + filepath.Join(dir, d.Name+".db")
		}
		if name == o.log {
			o.log = d.URL
		}
		a.databases = append(a.databases, d)
	}
	return nil
}

// makeLog makes the shared log and returns its URL, or the directory of the workers' own logs.
func (a *arena) makeLog(ctx context.Context, o *options, dir, run string) (string, error) {
	if path, isFile := strings.CutPrefix(o.log, "file:"); isFile || o.log == "" {
		path = cmp.Or(path, filepath.Join(dir, "logs"))
		if found, err := os.ReadDir(path); err == nil && len(found) > 0 {
			return "", fmt.Errorf("%s is not empty: the logs of the run are made in a directory of their own, never in an application's", path)
		}
		a.logs = path
		return "", os.MkdirAll(path, 0o777)
	}
	d := judge.Database{Name: "log", URL: o.log}
	if err := judge.ClaimLog(ctx, d, run); err != nil {
		return "", err
	}
	if !slices.ContainsFunc(a.databases, func(other judge.Database) bool { return other.URL == d.URL }) {
		a.made = append(a.made, d)
	}
	u, err := connect.ParseLog(o.log)
	if err != nil {
		return "", err
	}
	log, err := u.Open(ctx, connect.LogOptions{Create: true})
	if err != nil {
		return "", err
	}
	return o.log, log.Close()
}

// through returns the URL of the same database behind a proxy, one for each server.
func (a *arena) through(raw string) (string, error) {
	scheme, _, _ := strings.Cut(raw, ":")
	if scheme == "sqlite" {
		return raw, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || strings.Contains(u.Host, ",") || u.Query().Has("socket") || u.Query().Has("host") {
		return "", errors.New("-network needs a URL with one host and a port that a proxy can stand before")
	}
	port := "3306"
	if strings.HasPrefix(scheme, "postgres") {
		port = "5432"
	}
	upstream := net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))
	i := slices.IndexFunc(a.proxies, func(p *proxy) bool { return p.upstream == upstream })
	if i < 0 {
		p, err := faultproxy.Start(upstream)
		if err != nil {
			return "", err
		}
		i, a.proxies = len(a.proxies), append(a.proxies, &proxy{Proxy: p, upstream: upstream, scheme: scheme})
	}
	u.Host = a.proxies[i].Addr()
	return u.String(), nil
}

// drop removes the tables, and what the run made of the log.
func (a *arena) drop(ctx context.Context) error {
	var errs []error
	for _, d := range a.made {
		_, err := judge.Drop(ctx, d, names(a.databases))
		errs = append(errs, err)
	}
	for url, server := range a.borrowed {
		errs = append(errs, server.DropDatabase(ctx, url))
	}
	if a.logs != "" {
		errs = append(errs, os.RemoveAll(a.logs))
	}
	return errors.Join(errs...)
}

func (a *arena) close() {
	for _, proxy := range a.proxies {
		proxy.Close()
	}
}

func names(databases []judge.Database) []string {
	var out []string
	for _, d := range databases {
		out = append(out, d.Name)
	}
	return out
}

// clean removes what earlier runs have left in the databases.
func clean(ctx context.Context, o *options) error {
	databases := o.databases
	if o.log != "" && !strings.HasPrefix(o.log, "file:") {
		databases = append(databases, judge.Database{Name: "log", URL: o.log})
	}
	var errs []error
	for _, d := range databases {
		dropped, err := judge.Drop(ctx, d, names(o.databases))
		if errs = append(errs, err); err == nil {
			fmt.Printf("%s: dropped %s\n", d.Name, cmp.Or(strings.Join(dropped, ", "), "nothing"))
		}
	}
	return errors.Join(errs...)
}

// environment tells a program of these databases and this log, as xa-recover takes them.
func environment(databases []judge.Database, log string) []string {
	var words []string
	for _, d := range databases {
		words = append(words, d.Name+"="+d.URL)
	}
	return append(os.Environ(), "XA_RESOURCES="+strings.Join(words, "\n"), "XA_LOG="+log)
}

// findRecover returns the path of xa-recover, beside this program or in the PATH, or "".
func findRecover() string {
	if self, err := os.Executable(); err == nil {
		beside := filepath.Join(filepath.Dir(self), "xa-recover")
		if _, err := os.Stat(beside); err == nil {
			return beside
		}
	}
	path, _ := exec.LookPath("xa-recover")
	return path
}

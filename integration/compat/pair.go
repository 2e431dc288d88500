package compat

import (
	"context"
	"database/sql"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/drivers/sqlite"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// SQLite is the engine that needs no server.
const SQLite = "sqlite"

// names are the resources of a pair.
var names = [2]string{"first", "second"}

// Pair is two databases and a decision log: what one application's manager works with.
type Pair struct {
	Databases [2]Database
	Log       string // directory
}

// Database is one of a pair's.
type Database struct {
	Engine string // engines.Postgres, engines.MySQL, engines.MariaDB or SQLite
	URL    string // as engines.Open takes it; sqlite:PATH
}

// NewPair makes two empty databases of these engines, which may be the same. Without the servers the test is skipped.
func NewPair(t *testing.T, kinds ...string) Pair {
	t.Helper()
	dir := t.TempDir()
	p := Pair{Log: filepath.Join(dir, "log")}
	for i, kind := range kinds {
		p.Databases[i] = newDatabase(t, kind, filepath.Join(dir, names[i]+".db"))
	}
	return p
}

func newDatabase(t *testing.T, kind, file string) Database {
	t.Helper()
	if kind == SQLite {
		return Database{kind, "sqlite:" + file}
	}
	all := engines.Of(kind)
	url := all[len(all)-1].Server(t).NewDatabase(t)
	if kind != engines.Postgres {
		url += "?parseTime=true" // as all of the libraries ask for
	}
	return Database{kind, url}
}

// Pool opens a pool as the application does.
func (d Database) Pool() (*sql.DB, error) {
	if file, ok := strings.CutPrefix(d.URL, "sqlite:"); ok {
		return sql.Open("sqlite3", "file:"+file+"?_journal_mode=WAL&_busy_timeout=10000&_foreign_keys=1")
	}
	return engines.Open(d.URL)
}

// Driver returns the engine's driver.
func (d Database) Driver() drivers.Driver {
	switch d.Engine {
	case engines.Postgres:
		return postgres.New()
	case SQLite:
		return sqlite.New()
	default:
		return mysql.New()
	}
}

// App is a running application: the manager over a pair's databases, and its pools.
type App struct {
	Manager *xa.Manager
	Pools   [2]*sql.DB
	log     *filelog.Log
}

// start starts an application. The caller stops it.
func (p Pair) start(ctx context.Context, trace *xa.Trace) (*App, error) {
	a := &App{}
	cfg := xa.Config{Trace: trace, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
	for i, d := range p.Databases {
		pool, err := d.Pool()
		if err != nil {
			return nil, err
		}
		a.Pools[i] = pool
		cfg.Resources = append(cfg.Resources, xa.Resource{Name: names[i], DB: pool, Driver: d.Driver()})
	}
	var err error
	if a.log, err = filelog.Open(p.Log, nil); err != nil {
		return nil, err
	}
	cfg.Log = a.log
	a.Manager, err = xa.Open(ctx, cfg)
	return a, err
}

// Start starts an application on the pair. It is stopped when the test ends, and then fails the test if anything is in
// doubt or any connection is in use.
func (p Pair) Start(t *testing.T) *App {
	t.Helper()
	a, err := p.start(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.stop(t) })
	return a
}

func (a *App) stop(t *testing.T) {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	if err := a.Manager.Shutdown(ctx); err != nil {
		t.Errorf("shut down: %v", err)
	}
	for i, pool := range a.Pools {
		for what, db := range map[string]*sql.DB{"pool": pool, "handle": a.Manager.DB(names[i])} {
			if n := db.Stats().InUse; n > 0 {
				t.Errorf("%s: %d connections of the %s are in use after the end", names[i], n, what)
			}
		}
	}
	if err := a.Manager.Close(); err != nil {
		t.Errorf("close manager: %v", err)
	}
	for _, pool := range a.Pools {
		if err := pool.Close(); err != nil {
			t.Errorf("close pool: %v", err)
		}
	}
	if err := a.log.Close(); err != nil {
		t.Errorf("close log: %v", err)
	}
}

// DB returns the handle that the application's libraries get: of the pair's first database (0), or the second (1).
func (a *App) DB(i int) *sql.DB { return a.Manager.DB(names[i]) }

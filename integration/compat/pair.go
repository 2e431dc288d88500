package compat

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"maps"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
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

// newPair makes two empty databases of these engines, which may be the same. Without the servers the test is skipped.
func newPair(t *testing.T, kinds [2]string, lib Library) Pair {
	t.Helper()
	dir := t.TempDir()
	p := Pair{Log: filepath.Join(dir, "log")}
	for i, kind := range kinds {
		p.Databases[i] = newDatabase(t, kind, filepath.Join(dir, names[i]+".db"), lib.Options[kind])
	}
	return p
}

func newDatabase(t *testing.T, kind, file string, options url.Values) Database {
	t.Helper()
	if kind == SQLite {
		return Database{kind, "sqlite:" + file}
	}
	u, err := url.Parse(newest(kind).Server(t).NewDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	query := u.Query()
	if kind != engines.Postgres {
		query.Set("parseTime", "true") // as all of the libraries ask for
	}
	maps.Copy(query, options)
	u.RawQuery = query.Encode()
	return Database{kind, u.String()}
}

// newest returns the engine of that kind that the libraries are shown on.
func newest(kind string) engines.Engine {
	all := engines.Of(kind)
	return all[len(all)-1]
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

// App is a running application: the manager over a pair's databases, its pools, and a bank in each.
type App struct {
	Manager *xa.Manager
	Pools   [2]*sql.DB
	native  [2]*pgxpool.Pool // under a pool, where the library wants it
	banks   [2]Bank
	log     *filelog.Log
}

// start starts an application. The caller stops it.
func (p Pair) start(ctx context.Context, lib Library, trace *xa.Trace) (*App, error) {
	a := &App{}
	cfg := xa.Config{Trace: trace, Logger: slog.New(slog.DiscardHandler)}
	for i, d := range p.Databases {
		if err := a.openPool(ctx, i, d, lib); err != nil {
			return nil, err
		}
		cfg.Resources = append(cfg.Resources, xa.Resource{Name: names[i], DB: a.Pools[i], Driver: d.Driver()})
	}
	var err error
	if a.log, err = filelog.Open(p.Log, nil); err != nil {
		return nil, err
	}
	cfg.Log = a.log
	if a.Manager, err = xa.Open(ctx, cfg); err != nil {
		return nil, err
	}
	for i, d := range p.Databases {
		if pool := a.native[i]; pool != nil {
			a.banks[i], err = lib.OnPool(pool, a.Manager, names[i])
		} else {
			a.banks[i], err = lib.OnHandle(a.DB(i), d.Engine)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", names[i], err)
		}
	}
	return a, nil
}

func (a *App) openPool(ctx context.Context, i int, d Database, lib Library) (err error) {
	if lib.OnPool == nil || d.Engine != engines.Postgres {
		a.Pools[i], err = d.Pool()
		return err
	}
	if a.native[i], err = pgxpool.New(ctx, d.URL); err != nil {
		return err
	}
	a.Pools[i] = stdlib.OpenDBFromPool(a.native[i])
	return nil
}

// stop ends the application, and fails the test if anything is in doubt or any connection is in use.
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
	for _, pool := range a.native {
		if pool == nil {
			continue
		}
		if n := pool.Stat().AcquiredConns(); n > 0 {
			t.Fatalf("%d connections of the native pool are in use after the end", n) // its Close would wait for them
		}
		pool.Close()
	}
	if err := a.log.Close(); err != nil {
		t.Errorf("close log: %v", err)
	}
}

// DB returns the handle that the application's libraries get: of the pair's first database (0), or the second (1).
func (a *App) DB(i int) *sql.DB { return a.Manager.DB(names[i]) }

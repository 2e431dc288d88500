package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	sqlitedriver "github.com/xasql/xasql/drivers/sqlite"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/faultproxy"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// netLimit is for what must happen: reaching it fails the test.
const netLimit = 3 * time.Minute

// netLane is a pair of databases in which one case runs after the other: the first is reached by the network, the other is not.
type netLane struct {
	t      *testing.T
	bank   *bank
	admins []*sql.DB // of each one's server, nil where it has none
	told   ledger.Told
	cases  int
}

func newNetLane(t *testing.T, far, near engines.Engine) *netLane {
	t.Helper()
	l := &netLane{t: t, bank: newBank(t, far, near), told: ledger.Told{}}
	for _, d := range l.bank.databases {
		var admin *sql.DB
		if d.server != nil {
			database := map[string]string{engines.Postgres: "postgres", engines.MySQL: "mysql", engines.MariaDB: "mysql"}[d.server.Engine.Kind]
			admin = d.server.Open(t, d.server.URL(database))
		}
		l.admins = append(l.admins, admin)
	}
	return l
}

// netRun is one run of a lane: a network, a log, and a manager.
type netRun struct {
	*netLane
	proxy     *faultproxy.Proxy
	log       txlog.Log
	resources []xa.Resource
	logDB     *sql.DB // nil: the log is in files
	m         *xa.Manager
	tx        *xa.Tx // that is being made
}

// open starts a run with a log in files. The first database's pool connects through the network, healthy at first.
func (l *netLane) open(ctx context.Context, cfg xa.Config) (*netRun, error) {
	r, farURL, err := l.connect(l.bank.databases[0].url)
	if err != nil {
		return nil, err
	}
	l.cases++
	if err := r.openFiles(); err != nil {
		return nil, err
	}
	if r.resources, err = l.pools(farURL); err != nil {
		return nil, err
	}
	return r, r.manage(ctx, cfg)
}

// connect starts a network to the server of that URL, and returns the URL through it.
func (l *netLane) connect(databaseURL string) (r *netRun, farURL string, err error) {
	far, err := url.Parse(databaseURL)
	if err != nil {
		return nil, "", err
	}
	r = &netRun{netLane: l}
	r.proxy, err = faultproxy.Start(far.Host)
	if err != nil {
		return nil, "", err
	}
	far.Host = r.proxy.Addr()
	return r, far.String(), nil
}

// openFiles opens a new log in files.
func (r *netRun) openFiles() (err error) {
	r.log, err = filelog.Open(fmt.Sprintf("%s%d", strings.TrimPrefix(r.bank.log, "file:"), r.cases), nil)
	return err
}

func (r *netRun) manage(ctx context.Context, cfg xa.Config) (err error) {
	cfg.Log, cfg.Resources, cfg.Logger = r.log, r.resources, quietLogger()
	r.m, err = xa.Open(ctx, cfg)
	return err
}

// pools opens the lane's databases, the first by that URL.
func (l *netLane) pools(far string) ([]xa.Resource, error) {
	var resources []xa.Resource
	for i, d := range l.bank.databases {
		at := d.url
		if i == 0 {
			at = far
		}
		db, driver, err := netOpen(at)
		if err != nil {
			return nil, err
		}
		resources = append(resources, xa.Resource{Name: d.name, DB: db, Driver: driver})
	}
	return resources, nil
}

func netOpen(databaseURL string) (*sql.DB, drivers.Driver, error) {
	if path, ok := strings.CutPrefix(databaseURL, "sqlite:"); ok {
		db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_busy_timeout=5000")
		return db, sqlitedriver.New(), err
	}
	db, err := engines.Open(databaseURL)
	if strings.HasPrefix(databaseURL, "postgres:") {
		return db, postgres.New(), err
	}
	return db, mysql.New(), err
}

// transfer makes a transfer between the named resources, and notes what it was told of it. It fails with last, if that is not nil, in the end.
func (r *netRun) transfer(ctx context.Context, id string, last error, names ...string) (ledger.Outcome, error) {
	r.told[id] = ledger.Begun
	err := r.m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		r.tx = tx
		for i, name := range names {
			b, err := tx.Branch(ctx, name)
			if err != nil {
				return err
			}
			e := ledger.Entry{ID: id, Parties: len(names), Account: 1}
			if len(names) > 1 {
				e.Delta = int64(1 - 2*i)
			}
			if err := ledger.Post(ctx, b, e); err != nil {
				return err
			}
		}
		return last
	})
	outcome := ledger.Begun
	switch {
	case err == nil:
		outcome = ledger.Committed
	case errors.Is(err, xa.ErrHeuristic):
		outcome = ledger.Heuristic
	case errors.Is(err, xa.ErrOutcomeUnknown):
		outcome = ledger.Unknown
	case errors.Is(err, xa.ErrRolledBack):
		outcome = ledger.RolledBack
	}
	r.told[id] = outcome
	return outcome, err
}

// watchStanding tells, when the returned function is called, for how long this process stood still since: about as long as others did, whose time
// limits went by.
func watchStanding() (stood func() time.Duration) {
	const step = 100 * time.Millisecond
	began, done, steps := time.Now(), make(chan struct{}), make(chan time.Duration)
	go func() {
		tick := time.NewTicker(step)
		defer tick.Stop()
		for ran := time.Duration(0); ; ran += step {
			select {
			case <-tick.C: // what passes meanwhile is one
			case <-done:
				steps <- ran
				return
			}
		}
	}()
	return func() time.Duration {
		close(done)
		return time.Since(began) - <-steps
	}
}

// end ends the manager in that way, the network being healed, and checks that nobody keeps a connection.
func (r *netRun) end(how func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(r.t.Context(), netLimit)
	defer cancel()
	err := how(ctx)
	if err != nil {
		err = fmt.Errorf("end the manager: %w", err)
		_ = r.m.Close()
	}
	pools := map[string]*sql.DB{}
	for _, res := range r.resources {
		pools[res.Name] = res.DB
	}
	if r.logDB != nil {
		err = errors.Join(err, r.log.Close())
		pools["log"] = r.logDB
	}
	for name, db := range pools {
		if n := db.Stats().InUse; n != 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d connections are in use", name, n))
		}
		if closed := db.Close(); closed != nil {
			err = errors.Join(err, fmt.Errorf("%s: close pool: %w", name, closed))
		}
		if n := db.Stats().OpenConnections; n != 0 {
			err = errors.Join(err, fmt.Errorf("%s: %d connections are open", name, n))
		}
	}
	r.proxy.Close()
	return errors.Join(err, r.awaitQuiet(ctx))
}

// awaitSettled returns when the manager has brought everything to its end by itself.
func (r *netRun) awaitSettled(ctx context.Context) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for limit, left := time.Now().Add(netLimit), -1; ; <-tick.C {
		if time.Now().After(limit) {
			return fmt.Errorf("the manager has left %d branches and decisions", left)
		}
		left = 0
		for _, err := range r.log.Unsettled(ctx) {
			if err != nil {
				return err
			}
			left++
		}
		for i, d := range r.bank.databases {
			if d.server != nil {
				for _, prepared := range d.server.Prepared(r.t) {
					if strings.Contains(prepared, r.log.ID()+".") {
						left++
					}
				}
			} else if list, err := r.resources[i].Driver.Prepared(ctx, r.resources[i].DB); err != nil {
				return err
			} else {
				left += len(list)
			}
		}
		if left == 0 {
			return nil
		}
	}
}

// awaitQuiet returns when the servers have no session in the lane's databases: what was on its way has arrived, or never will.
func (l *netLane) awaitQuiet(ctx context.Context) error {
	for i, d := range l.bank.databases {
		if d.server == nil {
			continue
		}
		if err := d.awaitQuiet(ctx, l.admins[i]); err != nil {
			return err
		}
	}
	return nil
}

func (d database) awaitQuiet(ctx context.Context, admin *sql.DB) error {
	u, err := url.Parse(d.url)
	if err != nil {
		return err
	}
	query := "select count(*) from information_schema.processlist where db = ?"
	if d.server.Engine.Kind == engines.Postgres {
		query = "select count(*) from pg_stat_activity where datname = $1"
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; <-tick.C {
		if err := admin.QueryRowContext(ctx, query, u.Path[1:]).Scan(&n); err != nil {
			return fmt.Errorf("%s: wait for %d sessions to end: %w", d.name, n, err)
		}
		if n == 0 {
			return nil
		}
	}
}

// settle recovers over pools of its own, as xa-recover does, until nothing is in doubt. It returns how many branches it found in doubt.
func (r *netRun) settle(ctx context.Context) (found int, err error) {
	resources, err := r.pools(r.bank.databases[0].url)
	if err != nil {
		return 0, err
	}
	defer func() {
		for _, res := range resources {
			res.DB.Close()
		}
	}()
	resolver := recovery.Resolver{Log: r.log, Resources: resources, Logger: quietLogger()}
	ctx, cancel := context.WithTimeout(ctx, netLimit)
	defer cancel()
	for {
		report, err := resolver.Resolve(ctx)
		if err != nil {
			return found, err
		}
		if report.Heuristic() > 0 || len(report.Notes) > 0 {
			return found, fmt.Errorf("recovery reports a heuristic outcome: %+v", report)
		}
		found += len(report.Branches(func(b recovery.Branch) bool {
			return b.Action == recovery.Committed || b.Action == recovery.RolledBack
		}))
		if report.Clean() {
			break
		}
		if ctx.Err() != nil {
			return found, fmt.Errorf("recovery does not come to an end: %+v", report)
		}
	}
	for d, err := range r.log.Unsettled(ctx) {
		if err != nil {
			return found, err
		}
		return found, fmt.Errorf("%s: %s, and not settled", d.ID, d.Outcome)
	}
	return found, nil
}

// check compares the books with what was told, and looks for prepared branches.
func (r *netRun) check(ctx context.Context) error {
	books := map[string]ledger.Book{}
	var wrong []string
	for _, d := range r.bank.databases {
		db, driver, err := netOpen(d.url)
		if err != nil {
			return err
		}
		books[d.name], err = ledger.Read(ctx, db)
		if d.server != nil {
			for _, prepared := range d.server.Prepared(r.t) {
				if strings.Contains(prepared, r.log.ID()+".") {
					wrong = append(wrong, fmt.Sprintf("%s: still prepared: %s", d.name, prepared))
				}
			}
		} else if list, listed := driver.Prepared(ctx, db); listed != nil || len(list) > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: still prepared: %v (%v)", d.name, list, listed))
		}
		if err = errors.Join(err, db.Close()); err != nil {
			return err
		}
	}
	if wrong = append(wrong, ledger.Check(books, r.told)...); len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}

// netWithoutLeaks fails the test if it leaves a goroutine behind when all its clean-up is done. The engines have been started.
func netWithoutLeaks(t *testing.T) {
	t.Helper()
	ignored := []goleak.Option{
		goleak.IgnoreCurrent(),
		// Of the engines' own pools, which stay. That the test's are closed, their counts tell.
		goleak.IgnoreAnyFunction("github.com/go-sql-driver/mysql.(*mysqlConn).startWatcher.func1"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
	}
	t.Cleanup(func() {
		err := goleak.Find(ignored...)
		for limit := time.Now().Add(netLimit); err != nil && time.Now().Before(limit); err = goleak.Find(ignored...) {
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// netInLanes runs the cases side by side, as most of their time is waiting, and fails the test for each that fails.
func netInLanes[C fmt.Stringer](t *testing.T, lanes []*netLane, cases []C, run func(*netLane, C) error) {
	t.Helper()
	work := make(chan C, len(cases))
	for _, c := range slices.Backward(cases) { // the longest are last
		work <- c
	}
	close(work)
	var running sync.WaitGroup
	for _, l := range lanes {
		running.Go(func() {
			for c := range work {
				began := time.Now()
				err := run(l, c)
				if err != nil {
					t.Errorf("%s: %v", c, err)
				}
				if os.Getenv("XA_NETWORK") != "" {
					t.Logf("%s: %v", c, time.Since(began).Round(time.Millisecond))
				}
			}
		})
	}
	running.Wait()
}

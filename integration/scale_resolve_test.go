package integration

import (
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
)

// A thousand branches in each of two databases, every second one committed: all are settled, over several connections, none of which is lost.
func TestBacklogIsSettledOverSeveralConnections(t *testing.T) {
	const each, connections = 1000, 8
	pg := named(t, "postgres:18").Own(t, engines.Own{Args: []string{"-c", fmt.Sprintf("max_prepared_transactions=%d", each)}})
	maria := named(t, "mariadb:11.8").Server(t)
	log := scaleLog(t)
	orders, stock := newBacklog(t, pg, 2*connections), newBacklog(t, maria, 2*connections)
	stock.resource.Name = "stock"
	backlogs := []*backlog{orders, stock}
	var resources []drivers.Resource
	for _, b := range backlogs {
		b.prepare(t, log.ID(), each)
		for _, id := range b.ids[:each/2] {
			if _, err := log.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{b.resource.Name}}); err != nil {
				t.Fatal(err)
			}
		}
		resources = append(resources, b.resource)
	}
	var mu sync.Mutex
	last := map[string]int{}
	most := map[string]int{}
	r := recovery.Resolver{Log: log, Resources: resources, Parallel: connections, Timeout: time.Minute, Logger: quietLogger(),
		Progress: func(resource string, done, total int) {
			mu.Lock()
			defer mu.Unlock()
			last[resource] = max(last[resource], done)
			for _, res := range resources {
				most[res.Name] = max(most[res.Name], res.DB.Stats().InUse)
			}
			if total != each {
				t.Errorf("%s: %d of %d", resource, done, total)
			}
		}}
	report, err := r.Resolve(t.Context())
	if err != nil || !report.Clean() {
		t.Fatalf("%v, %d in doubt, unreached %v", err, report.InDoubt(), report.Unreached())
	}
	for _, b := range backlogs {
		name := b.resource.Name
		if left, rows := b.prepared(t), b.rows(t); left != 0 || rows != each/2 || last[name] != each {
			t.Errorf("%s: %d branches are left, %d rows committed, progress ended at %d", name, left, rows, last[name])
		}
		if in := b.resource.DB.Stats().InUse; in != 0 || most[name] < 2 || most[name] > connections {
			t.Errorf("%s: up to %d connections were used, %d are not given back", name, most[name], in)
		}
	}
	for d, err := range log.Unsettled(t.Context()) {
		t.Fatalf("not settled: %v, %v", d, err)
	}
}

func scaleLog(t *testing.T) txlog.Log {
	t.Helper()
	log, err := filelog.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
	return log
}

// Each database that fails, in whatever way, is named with its reason, and keeps its decisions; the others are settled meanwhile.
func TestEachDatabaseThatFailsIsNamedAndStopsNothing(t *testing.T) {
	pg, my := named(t, "postgres:17"), named(t, "mysql:9.7")
	engines.Start(pg, my)
	log := scaleLog(t)
	good, forbidden := newBacklog(t, pg.Server(t), 4), newBacklog(t, pg.Server(t), 4)
	forbidden.resource.Name = "forbidden"
	for _, b := range []*backlog{good, forbidden} {
		b.prepare(t, log.ID(), 20)
		b.decide(t, log)
	}
	deaf := newDeaf(t)
	ofPostgres := func(change func(u *url.URL)) *sql.DB {
		u, err := url.Parse(pg.Server(t).URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return pg.Server(t).Open(t, u.String())
	}
	forbidden.resource.DB = pg.Server(t).Open(t, pg.Server(t).NewUser(t, forbidden.url))
	resources := []drivers.Resource{
		good.resource, forbidden.resource,
		{Name: "hangs", Driver: postgres.New(), DB: ofPostgres(func(u *url.URL) { u.Host = deaf.Addr().String() })},
		{Name: "down", Driver: postgres.New(), DB: ofPostgres(func(u *url.URL) { u.Host = "127.0.0.1:1" })},
		{Name: "password", Driver: postgres.New(), DB: ofPostgres(func(u *url.URL) { u.User = url.UserPassword(u.User.Username(), "wrong") })},
		{Name: "dropped", Driver: postgres.New(), DB: ofPostgres(func(u *url.URL) { u.Path = "/nosuchdatabase" })},
		{Name: "unprivileged", Driver: mysql.New(), DB: my.Server(t).Open(t, my.Server(t).NewUser(t, my.Server(t).NewDatabase(t)))},
	}
	reasons := map[string]string{"hangs": "", "down": "connection refused", "password": "password authentication failed",
		"dropped": "does not exist", "unprivileged": "XA_RECOVER_ADMIN"}
	for name := range reasons {
		if _, err := log.Decide(t.Context(), txlog.Decision{ID: txid.New(log.ID(), "", time.Now()), Outcome: txlog.Committed, Resources: []string{name}}); err != nil {
			t.Fatal(err)
		}
	}
	r := recovery.Resolver{Log: log, Resources: resources, Timeout: time.Minute, Logger: quietLogger()}
	// The one that hangs goes on hanging until the good one is settled.
	var wg sync.WaitGroup
	wg.Go(func() {
		defer deaf.hangUp()
		tick := time.NewTicker(10 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
			if left, err := good.resource.Driver.Prepared(t.Context(), good.admin); err != nil || len(left) == 0 {
				return
			}
		}
		t.Error("the good database is not settled while another hangs")
	})
	report, err := r.Resolve(t.Context())
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for _, res := range report.Resources {
		reason, fails := reasons[res.Name]
		if fails != (res.Err != nil) || fails && !strings.Contains(res.Err.Error(), reason) {
			t.Errorf("%s: %v, want %q", res.Name, res.Err, reason)
		}
		for _, b := range res.Branches {
			left := res.Name == "forbidden"
			if left != (b.Action == recovery.Left) || left && !strings.Contains(b.Err.Error(), "permission denied") {
				t.Errorf("%s: a branch is %s: %v", res.Name, b.Action, b.Err)
			}
		}
	}
	for _, d := range report.Decisions {
		if d.Settled != (d.Resources[0] == "orders") {
			t.Errorf("decision on %s: settled is %v", d.Resources[0], d.Settled)
		}
	}
	if n := good.rows(t); n != 20 {
		t.Errorf("%d rows are committed, want 20", n)
	}
	for _, res := range resources {
		if n := res.DB.Stats().InUse; n != 0 {
			t.Errorf("%s: %d connections were not given back", res.Name, n)
		}
	}
}

// deaf accepts connections, and never answers.
type deaf struct {
	net.Listener
	mu    sync.Mutex // guards conns
	conns []net.Conn
}

func newDeaf(t *testing.T) *deaf {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	d := &deaf{Listener: l}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			d.mu.Lock()
			d.conns = append(d.conns, conn)
			d.mu.Unlock()
		}
	})
	t.Cleanup(func() { d.hangUp(); wg.Wait() })
	return d
}

// hangUp ends all connections, and takes no more.
func (d *deaf) hangUp() {
	_ = d.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conn := range d.conns {
		_ = conn.Close()
	}
}

package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/internal/connect"
)

// blockWorld is a database with a table of three rows, a branch's user, and who may see what others hold.
type blockWorld struct {
	*testing.T
	server   *engines.Server
	res      drivers.Resource // as the ordinary user who recovers
	observer drivers.Resource // as one who may see locks
}

func newBlockWorld(t *testing.T, e engines.Engine) *blockWorld {
	t.Helper()
	w := &blockWorld{T: t, server: e.Server(t)}
	databaseURL := plain(t, w.server)
	w.res = w.resource(databaseURL)
	for _, statement := range []string{"create table held (id int primary key, v int)", "insert into held values (1, 0), (2, 0), (3, 0)"} {
		mustExec(t, w.res.DB, statement)
	}
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	w.observer = w.resource(w.server.URL(strings.TrimPrefix(u.Path, "/")))
	return w
}

func (w *blockWorld) resource(databaseURL string) drivers.Resource {
	w.Helper()
	res, err := connect.Resource("held", databaseURL)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { res.DB.Close() })
	return res
}

// prepare leaves a branch in doubt that has changed the row. Its session has ended unless it is kept, and returned.
func (w *blockWorld) prepare(row int, keep bool) (drivers.XID, *sql.Conn) {
	w.Helper()
	xid := drivers.XID{FormatID: drivers.FormatID, GTRID: fmt.Sprintf("blockinglog.%026d", time.Now().UnixNano()), BQual: "held"}
	conn, err := w.res.DB.Conn(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	b, err := w.res.Driver.Begin(w.Context(), conn, xid, nil)
	if err != nil {
		w.Fatal(err)
	}
	mustExec(w, conn, fmt.Sprintf("update held set v = 1 where id = %d", row))
	if _, err := b.Prepare(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { // what a test that failed has left would keep its database from being dropped
		_ = w.observer.Driver.RollbackPrepared(context.WithoutCancel(w.Context()), w.observer.DB, xid)
	})
	if !keep {
		conn.Raw(func(any) error { return driver.ErrBadConn })
		conn.Close()
		w.until("its session has ended", func() bool { return w.finishable(xid) })
	}
	return xid, conn
}

// finishable tells whether no session holds the branch.
func (w *blockWorld) finishable(xid drivers.XID) bool {
	w.Helper()
	list, err := w.observer.Driver.Prepared(w.Context(), w.observer.DB)
	if err != nil {
		w.Fatal(err)
	}
	for _, p := range list {
		if p.XID == xid {
			return !p.Held
		}
	}
	w.Fatalf("%v is not listed", xid)
	return false
}

// until asks until it is so. MariaDB suffers from being asked often what InnoDB does.
func (w *blockWorld) until(what string, so func() bool) {
	w.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for limit := time.Now().Add(time.Minute); !so(); <-tick.C {
		if time.Now().After(limit) {
			w.Fatalf("not within a minute: %s", what)
		}
	}
}

func (w *blockWorld) blocking(res drivers.Resource, xid drivers.XID) (locks, waiting int, age int64, err error) {
	w.Helper()
	b, ok := res.Driver.(drivers.Blocker)
	if !ok {
		w.Fatal("the driver is no Blocker")
	}
	return b.Blocking(w.Context(), res.DB, xid)
}

// wait starts a session that waits for what the statement wants.
func (w *blockWorld) wait(statement string) (done chan error) {
	done = make(chan error, 1)
	ctx, cancel := context.WithTimeout(w.Context(), 2*time.Minute)
	w.Cleanup(cancel)
	go func() {
		_, err := w.observer.DB.ExecContext(ctx, statement)
		done <- err
	}()
	return done
}

func (w *blockWorld) rollback(xid drivers.XID) {
	w.Helper()
	if err := w.observer.Driver.RollbackPrepared(w.Context(), w.observer.DB, xid); err != nil {
		w.Fatal(err)
	}
}

func forEachServer(t *testing.T, test func(w *blockWorld)) {
	t.Helper()
	es := []engines.Engine{named(t, "postgres:17"), named(t, "mysql:9.7"), named(t, "mariadb:10.11"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	for _, e := range es {
		t.Run(e.Name, func(t *testing.T) { test(newBlockWorld(t, e)) })
	}
}

// What a branch in doubt stands in the way of is what makes it urgent: its locks, and who waits for them.
func TestBlockingTellsLocksAndWhoWaits(t *testing.T) {
	forEachServer(t, func(w *blockWorld) {
		for _, keep := range []bool{false, true} {
			xid, conn := w.prepare(1, keep)
			locks, waiting, age, err := w.blocking(w.observer, xid)
			if err != nil || locks == 0 || waiting != 0 || (age != 0) != (w.server.Engine.Kind == engines.Postgres) {
				w.Errorf("session kept: %v: %d locks, %d waiting, age %d, %v; want locks, and nobody waiting", keep, locks, waiting, age, err)
			}
			one, other := w.wait("update held set v = v + 10 where id = 1"), w.wait("update held set v = v + 100 where id = 1")
			w.until("two sessions wait", func() bool {
				_, waiting, _, err := w.blocking(w.observer, xid)
				return err == nil && waiting == 2
			})
			if conn != nil && keep {
				conn.Raw(func(any) error { return driver.ErrBadConn })
				conn.Close()
				w.until("its session has ended", func() bool { return w.finishable(xid) })
			}
			w.rollback(xid)
			for _, done := range []chan error{one, other} {
				if err := <-done; err != nil {
					w.Error(err)
				}
			}
			if locks, waiting, age, err := w.blocking(w.observer, xid); err != nil || locks != 0 || waiting != 0 || age != 0 {
				w.Errorf("of a branch that is gone: %d locks, %d waiting, age %d, %v", locks, waiting, age, err)
			}
		}
	})
}

// A user who may not see it, and a server that can't tell branches apart, make no zeros.
func TestBlockingThatCannotBeToldIsNeverZero(t *testing.T) {
	forEachServer(t, func(w *blockWorld) {
		xid, _ := w.prepare(1, false)
		defer w.rollback(xid)
		locks, _, _, err := w.blocking(w.res, xid)
		if w.server.Engine.Kind == engines.Postgres {
			if err != nil || locks == 0 {
				w.Errorf("the ordinary user sees %d locks, %v", locks, err)
			}
			return
		}
		if err == nil || !strings.Contains(err.Error(), "grant it PROCESS") {
			w.Errorf("the ordinary user sees %d locks, %v; want what to grant", locks, err)
		}
		second, _ := w.prepare(2, false)
		defer w.rollback(second)
		for _, x := range []drivers.XID{xid, second} {
			locks, _, _, err := w.blocking(w.observer, x)
			if !errors.Is(err, drivers.ErrNotSupported) || !strings.Contains(err.Error(), "which of its 2 prepared branches") {
				w.Errorf("of one of two branches: %d locks, %v", locks, err)
			}
		}
	})
}

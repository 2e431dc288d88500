package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
)

// backlog is what a crash under load leaves in one database: many prepared branches, each of a transaction of its own.
type backlog struct {
	resource drivers.Resource
	url      string  // of the database, for an administrator
	admin    *sql.DB // another pool, for who makes the backlog and looks at it
	ids      []string
}

// newBacklog makes a database without any branch. Its pool has room for so many connections, and keeps them.
func newBacklog(t testing.TB, s *engines.Server, connections int) *backlog {
	t.Helper()
	databaseURL := s.NewDatabase(t)
	b := &backlog{url: databaseURL, admin: s.Open(t, databaseURL), resource: drivers.Resource{Name: "orders", DB: s.Open(t, databaseURL), Driver: mysql.New()}}
	if s.Engine.Kind == engines.Postgres {
		b.resource.Driver = postgres.New()
	}
	b.resource.DB.SetMaxOpenConns(connections)
	b.resource.DB.SetMaxIdleConns(connections)
	if _, err := b.admin.ExecContext(t.Context(), "create table item (id varchar(64) primary key)"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.drop(t) })
	return b
}

// prepare has n branches prepared by sessions that have ended since, each with a row of its own.
func (b *backlog) prepare(t testing.TB, logID string, n int) {
	t.Helper()
	ctx := t.Context()
	b.ids = make([]string, n)
	for i := range b.ids {
		b.ids[i] = txid.New(logID, "", time.Now())
	}
	b.admin.SetMaxIdleConns(16)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n && !t.Failed(); i = int(next.Add(1)) - 1 {
				if err := b.prepareOne(ctx, b.ids[i]); err != nil {
					t.Errorf("prepare %s: %v", b.ids[i], err)
				}
			}
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (b *backlog) prepareOne(ctx context.Context, id string) error {
	conn, err := b.admin.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	br, err := b.resource.Driver.Begin(ctx, conn, b.xid(id), nil)
	if err == nil {
		_, err = conn.ExecContext(ctx, "insert into item values ('"+id+"')")
	}
	if err == nil {
		_, err = br.Prepare(ctx)
	}
	if _, bound := b.resource.Driver.(drivers.SessionEnder); bound {
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the branch is its session's until that ends
	}
	return err
}

func (b *backlog) xid(id string) drivers.XID {
	return drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: b.resource.Name}
}

// decide writes down that all are committed.
func (b *backlog) decide(t testing.TB, log txlog.Log) {
	t.Helper()
	ctx := t.Context()
	var wg sync.WaitGroup
	for worker := range 64 {
		wg.Go(func() {
			for i := worker; i < len(b.ids); i += 64 {
				if _, err := log.Decide(ctx, txlog.Decision{ID: b.ids[i], Outcome: txlog.Committed, Resources: []string{b.resource.Name}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// prepared counts the branches that the database holds.
func (b *backlog) prepared(t testing.TB) int {
	t.Helper()
	list, err := b.resource.Driver.Prepared(t.Context(), b.admin)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, p := range list {
		if p.Raw == "" && p.XID.BQual == b.resource.Name {
			n++
		}
	}
	return n
}

// awaitFree returns when no session holds a branch any more: those that prepared them have been told to end, and end a moment later.
func (b *backlog) awaitFree(t testing.TB) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for held := true; held; <-tick.C {
		list, err := b.resource.Driver.Prepared(t.Context(), b.admin)
		if err != nil {
			t.Fatal(err)
		}
		held = false
		for _, p := range list {
			held = held || p.Held
		}
		if held && time.Now().After(deadline) {
			t.Fatal("sessions still hold branches after a minute")
		}
	}
}

// rows counts what is committed.
func (b *backlog) rows(t testing.TB) int {
	t.Helper()
	var n int
	if err := b.admin.QueryRowContext(t.Context(), "select count(*) from item").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// drop rolls back what a test that failed has left, so that the database can be dropped.
func (b *backlog) drop(t testing.TB) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	list, err := b.resource.Driver.Prepared(ctx, b.admin)
	if err != nil {
		t.Error(err)
	}
	for _, p := range list {
		if p.Raw == "" && p.XID.BQual == b.resource.Name {
			if err := b.resource.Driver.RollbackPrepared(ctx, b.admin, p.XID); err != nil {
				t.Error(fmt.Errorf("clean up: %w", err))
			}
		}
	}
}

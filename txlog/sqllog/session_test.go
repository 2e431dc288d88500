package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/txlog"
)

// fillPool takes all connections that the log leaves, as branches do that wait for Decide.
func fillPool(t *testing.T, db *sql.DB) {
	t.Helper()
	for range db.Stats().MaxOpenConnections - db.Stats().InUse {
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
	}
}

func newSmallPool(t *testing.T, opts Options, n int) *testLog {
	t.Helper()
	f := &faults{}
	dsn := sqliteDSN(t)
	db := sql.OpenDB(connector{dsn, f})
	t.Cleanup(func() { db.Close() })
	db.SetMaxOpenConns(n)
	opts.Logger, opts.limit = quiet(), time.Minute
	l, err := Open(t.Context(), db, SQLite, &opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return &testLog{l, db, dsn, f}
}

func TestAFullPoolDoesNotKeepDecideWaiting(t *testing.T) {
	for way, g := range grammars() {
		l := newSmallPool(t, Options{grammar: g()}, 3)
		fillPool(t, l.db)
		mustDecide(t, l, way, txlog.Committed)
		mustLookup(t, l, way, txlog.Committed)
	}
}

// A place in the pool that becomes free goes to whoever waits: branches that will wait for this Decide.
func TestABrokenConnectionIsReplacedThoughThePoolIsFull(t *testing.T) {
	for way, g := range grammars() {
		l := newSmallPool(t, Options{grammar: g()}, 4)
		fillPool(t, l.db)
		ctx, cancel := context.WithCancel(t.Context())
		var greedy sync.WaitGroup
		for range 3 { // they get what the log gives back
			greedy.Go(func() {
				if conn, err := l.db.Conn(ctx); err == nil {
					t.Cleanup(func() { conn.Close() })
				}
			})
		}
		eventually(t, "all wait for the pool", func() bool { return l.db.Stats().WaitCount == 3 })
		l.faults.add(fault{text: insertDecision, lost: true})
		mustDecide(t, l, "one lost", txlog.Committed)
		dropAll(l)
		mustDecide(t, l, "all lost", txlog.Committed)
		mustLookup(t, l, "all lost", txlog.Committed)
		if s := l.db.Stats(); s.MaxOpenConnections != 4 || s.OpenConnections != 4 {
			t.Errorf("%s: %d connections are open, and the limit is %d; want 4", way, s.OpenConnections, s.MaxOpenConnections)
		}
		cancel()
		greedy.Wait()
	}
}

func TestAPoolThatTheLogWouldUseUpIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		g    *grammar
		n    int
		want string
	}{
		"SQLite":   {sqliteGrammar(), 1, "SetMaxOpenConns(2)"},
		"a server": {serverLike(), 2, "SetMaxOpenConns(3)"},
	} {
		db := sql.OpenDB(connector{sqliteDSN(t), &faults{}})
		db.SetMaxOpenConns(c.n)
		if _, err := Open(t.Context(), db, SQLite, &Options{grammar: c.g}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: Open with %d connections: %v, want %q", name, c.n, err, c.want)
		}
		if n := db.Stats().OpenConnections; n != 0 {
			t.Errorf("%s: %d connections are open", name, n)
		}
		db.Close()
	}
}

func TestAConnectionThatDiedUnnoticedIsReplaced(t *testing.T) {
	for _, text := range []string{"SELECT outcome", "SELECT id, outcome", "UPDATE xasql_member", "SELECT version"} {
		l := newLog(t, Options{grammar: serverLike()})
		m, err := l.Join(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		l.faults.add(fault{text: text, lost: true})
		mustLookup(t, l, "t", txlog.Undecided)
		for _, err := range l.Unsettled(t.Context()) {
			t.Error(err)
		}
		if _, err := m.Claim(t.Context(), []string{"t"}); err != nil {
			t.Errorf("%q: Claim: %v", text, err)
		}
		if err := l.Register(t.Context(), "r", "i"); err != nil {
			t.Errorf("%q: Register: %v", text, err)
		}
		l.Close()
	}
}

func TestDeadIdleConnectionsOfThePoolAreGonePast(t *testing.T) {
	l := newLog(t, Options{})
	var conns []*sql.Conn
	l.db.SetMaxIdleConns(4)
	for range 4 {
		conn, err := l.db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	for _, conn := range conns {
		_ = conn.Raw(func(c any) error {
			c.(*faultyConn).dead = true
			return nil
		})
		conn.Close()
	}
	dropAll(l)
	mustDecide(t, l, "t", txlog.Committed)
}

func TestAPoolThatLeadsElsewhereIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, Options{})
		mustDecide(t, l, "t", txlog.Committed)
		if _, err := l.db.ExecContext(t.Context(), "UPDATE xasql_log SET id = 'another'"); err != nil {
			t.Fatal(err)
		}
		dropAll(l)
		if o, err := l.Lookup(t.Context(), "t"); err == nil || !strings.Contains(err.Error(), "another log") {
			t.Errorf("Lookup = %s, %v; want it refused", o, err)
		}
		if _, err := l.Decide(t.Context(), txlog.Decision{ID: "u", Outcome: txlog.Committed}); !errors.Is(err, txlog.ErrNotDecided) {
			t.Errorf("Decide: %v, want ErrNotDecided", err)
		}
	})
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	for way, g := range grammars() {
		f := &faults{}
		db := sql.OpenDB(connector{sqliteDSN(t), f})
		l, err := Open(t.Context(), db, SQLite, &Options{grammar: g(), Logger: quiet()})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Errorf("%s: Close: %v", way, err)
		}
		if s := db.Stats(); s.OpenConnections != 0 {
			t.Errorf("%s: %d connections, with the log's settings, are left in the pool", way, s.OpenConnections)
		}
		if err := db.PingContext(t.Context()); err != nil {
			t.Errorf("%s: the pool does not work any more: %v", way, err)
		}
		db.Close()
	}
	eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

func TestAnOpenThatFailsLeavesNothingBehind(t *testing.T) {
	before := runtime.NumGoroutine()
	db := sql.OpenDB(connector{sqliteDSN(t), &faults{}})
	if _, err := Open(t.Context(), db, SQLite, &Options{Existing: true}); err == nil {
		t.Fatal("a log is opened that is not there")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Open(ended, db, SQLite, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("Open under a context that has ended: %v", err)
	}
	if n := db.Stats().OpenConnections; n != 0 {
		t.Errorf("%d connections are left", n)
	}
	db.Close()
	eventually(t, "all goroutines end", func() bool { return runtime.NumGoroutine() <= before })
}

package memdb

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
)

var xid = drivers.XID{FormatID: drivers.FormatID, GTRID: "log.1", BQual: "orders"}

// fixture is a database with one pool and its events.
type fixture struct {
	*DB
	pool   *sql.DB
	events []string
}

func newFixture(t *testing.T, style Style) *fixture {
	t.Helper()
	f := &fixture{DB: New("orders")}
	f.Style = style
	f.pool = f.Pool()
	t.Cleanup(func() { f.pool.Close() })
	f.OnEvent(func(e string) { f.events = append(f.events, e) })
	return f
}

func (f *fixture) begin(t *testing.T, x drivers.XID) (*sql.Conn, drivers.Branch) {
	t.Helper()
	conn, err := f.pool.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	b, err := f.Driver().Begin(t.Context(), conn, x, nil)
	if err != nil {
		t.Fatal(err)
	}
	return conn, b
}

func (f *fixture) prepare(t *testing.T, key, value string) (*sql.Conn, drivers.Branch) {
	t.Helper()
	conn, b := f.begin(t, xid)
	exec(t, conn, "PUT ? ?", key, value)
	if v, err := b.Prepare(t.Context()); v != drivers.VotePrepared || err != nil {
		t.Fatalf("Prepare = %v, %v", v, err)
	}
	return conn, b
}

func exec(t *testing.T, x interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, query string, args ...any) {
	t.Helper()
	if _, err := x.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func (f *fixture) want(t *testing.T, key, want string) {
	t.Helper()
	if got, _ := f.Get(key); got != want {
		t.Errorf("%s = %q, want %q", key, got, want)
	}
}

func TestChangesShowAfterPhaseTwoOnly(t *testing.T) {
	f := newFixture(t, Style{})
	conn, b := f.prepare(t, "k", "v")
	f.want(t, "k", "")
	if err := b.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	f.want(t, "k", "v")
	conn.Close()
	var n int
	if err := f.pool.QueryRowContext(t.Context(), "COUNT").Scan(&n); err != nil || n != 1 {
		t.Errorf("COUNT = %d, %v", n, err)
	}
	if got, want := strings.Join(f.events, ", "), "orders begin, orders prepare: prepared, orders commit"; got != want {
		t.Errorf("events: %s\nwant:   %s", got, want)
	}
	if v := f.Violations(); v != nil {
		t.Errorf("violations: %q", v)
	}
}

func TestPreparedBranchOutlivesCrash(t *testing.T) {
	f := newFixture(t, Style{SessionBound: true})
	f.prepare(t, "k", "v")
	if err := f.Driver().CommitPrepared(t.Context(), f.pool, xid); !errors.Is(err, drivers.ErrHeld) {
		t.Fatalf("CommitPrepared of a held branch: %v", err)
	}
	f.Crash()
	if err := f.Driver().CommitPrepared(t.Context(), f.pool, xid); err != nil {
		t.Fatal(err)
	}
	f.want(t, "k", "v")
	if err := f.Driver().CommitPrepared(t.Context(), f.pool, xid); !errors.Is(err, drivers.ErrUnknownXID) {
		t.Errorf("second CommitPrepared: %v", err)
	}
}

func TestCrashLosesActiveBranch(t *testing.T) {
	f := newFixture(t, Style{})
	conn, b := f.begin(t, xid)
	exec(t, conn, "PUT k v")
	f.Crash()
	if _, err := b.Prepare(t.Context()); !errors.Is(err, driver.ErrBadConn) {
		t.Errorf("Prepare after a crash: %v", err)
	}
	if got := f.Stats(); got.Active != 0 || got.Prepared != 0 {
		t.Errorf("left: %+v", got)
	}
}

func TestVanishedClientHoldsItsBranchUntilItsSessionIsEnded(t *testing.T) {
	f := newFixture(t, Style{SessionBound: true})
	conn, _ := f.prepare(t, "k", "v")
	f.Vanish()
	conn.Close()
	d := f.Driver()
	if err := d.RollbackPrepared(t.Context(), f.pool, xid); !errors.Is(err, drivers.ErrHeld) {
		t.Fatalf("RollbackPrepared: %v", err)
	}
	if err := d.(drivers.SessionEnder).EndSession(t.Context(), f.pool, xid); err != nil {
		t.Fatal(err)
	}
	if err := d.RollbackPrepared(t.Context(), f.pool, xid); err != nil {
		t.Fatal(err)
	}
}

func TestSecondWriterWaitsUntilBranchIsFinished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t, Style{})
		_, b := f.prepare(t, "k", "first")
		done := make(chan error, 1)
		go func() {
			_, err := f.pool.ExecContext(t.Context(), "PUT k second")
			done <- err
		}()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("the second writer did not wait: %v", err)
		default:
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := f.pool.ExecContext(ctx, "PUT k third"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("waiting past the context's end: %v", err)
		}
		if err := b.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		f.want(t, "k", "second")
	})
}

func TestFaults(t *testing.T) {
	refused := errors.New("refused")
	called := false
	tests := []struct {
		name      string
		fault     Fault
		err       error
		committed string
	}{
		{"lost before", Fault{Lost: true}, driver.ErrBadConn, ""},
		{"reply lost", Fault{Lost: true, After: true}, driver.ErrBadConn, "v"},
		{"error", Fault{Err: refused}, refused, ""},
		{"error after", Fault{Err: refused, After: true}, refused, "v"},
		{"hang", Fault{Hang: true}, context.DeadlineExceeded, ""},
		{"hang after", Fault{Hang: true, After: true}, context.DeadlineExceeded, "v"},
		{"hook", Fault{Hook: func() { called = true }}, nil, "v"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFixture(t, Style{})
				_, b := f.prepare(t, "k", "v")
				f.Fail(OpCommit, tt.fault)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := b.Commit(ctx); !errors.Is(err, tt.err) {
					t.Errorf("Commit = %v, want %v", err, tt.err)
				}
				f.want(t, "k", tt.committed)
			})
		})
	}
	if !called {
		t.Error("the hook was not called")
	}
}

func TestPoolingInsideBranchIsAViolation(t *testing.T) {
	f := newFixture(t, Style{})
	conn, _ := f.prepare(t, "k", "v")
	if _, err := conn.ExecContext(t.Context(), "GET k"); err == nil {
		t.Error("a statement beside a prepared branch was accepted")
	}
	conn.Close()
	want := []string{
		`orders: statement "GET k" beside the prepared branch log.1/orders`,
		`orders: connection pooled inside branch log.1/orders`,
	}
	if got := f.Violations(); !slices.Equal(got, want) {
		t.Errorf("violations = %q, want %q", got, want)
	}
}

func TestDiscardingAConnectionIsNoViolation(t *testing.T) {
	f := newFixture(t, Style{})
	conn, _ := f.prepare(t, "k", "v")
	conn.Raw(func(any) error { return driver.ErrBadConn })
	if got := f.Violations(); got != nil {
		t.Errorf("violations = %q", got)
	}
	if got := f.Prepared(); !slices.Equal(got, []drivers.XID{xid}) {
		t.Errorf("prepared = %v", got)
	}
}

func TestProofTellsTheOutcome(t *testing.T) {
	f := newFixture(t, Style{Proof: true})
	_, b := f.prepare(t, "k", "v")
	f.Finish(xid, true)
	if err := b.Commit(t.Context()); err != nil {
		t.Errorf("Commit of a branch that was committed: %v", err)
	}
	if err := f.Driver().RollbackPrepared(t.Context(), f.pool, xid); !errors.Is(err, drivers.ErrCommitted) {
		t.Errorf("RollbackPrepared of a branch that was committed: %v", err)
	}
}

func TestRepeatableReadAbortsLostUpdate(t *testing.T) {
	f := newFixture(t, Style{})
	exec(t, f.pool, "PUT k 1")
	tx, err := f.pool.BeginTx(t.Context(), &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	var v string
	if err := tx.QueryRow("GET k").Scan(&v); err != nil {
		t.Fatal(err)
	}
	exec(t, f.pool, "PUT k 2")
	_, err = tx.Exec("PUT k 3")
	if got := f.Driver().(drivers.Classifier).Classify(err); got != drivers.ClassSerialization {
		t.Errorf("class of %v is %d", err, got)
	}
	if err := tx.Commit(); err == nil {
		t.Error("the aborted transaction committed")
	}
	f.want(t, "k", "2")
}

func TestDownServerRefusesNewConnectionsOnly(t *testing.T) {
	f := newFixture(t, Style{})
	exec(t, f.pool, "PUT k v") // leaves an open connection in the pool
	f.Down(true)
	exec(t, f.pool, "PUT k w")
	other := f.Pool()
	defer other.Close()
	err := other.PingContext(t.Context())
	if got := f.Driver().(drivers.Classifier).Classify(err); got != drivers.ClassConnection {
		t.Errorf("Ping of a server that is down: %v, class %d", err, got)
	}
	f.Crash()
	if err := f.pool.PingContext(t.Context()); err == nil {
		t.Error("a crashed server that stays down answers")
	}
	f.Down(false)
	f.want(t, "k", "w")
	exec(t, other, "PUT k x")
}

func TestHealForgetsFaultsThatHaveNotHappened(t *testing.T) {
	f := newFixture(t, Style{})
	_, b := f.prepare(t, "k", "v")
	f.Fail(OpCommit, Fault{Lost: true})
	f.Heal()
	if err := b.Commit(t.Context()); err != nil {
		t.Error(err)
	}
}

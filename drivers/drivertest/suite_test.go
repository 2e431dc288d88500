package drivertest

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
)

var styles = map[string]memdb.Style{
	"Plain":        {},
	"SessionBound": {SessionBound: true},
	"ReadOnly":     {ReadOnlyVotes: true},
	"Proof":        {Proof: true},
	"Evidence":     {Proof: true, Evidence: true},
	"AbortOnError": {AbortOnError: true},
	"Bare":         {Bare: true},
	"NoIdentity":   {NoIdentity: true},
	"All":          {SessionBound: true, ReadOnlyVotes: true, Proof: true, AbortOnError: true},
}

func TestSuitePassesOnEveryStyleOfEngine(t *testing.T) {
	for name, style := range styles {
		t.Run(name, func(t *testing.T) {
			for _, c := range suite() {
				t.Run(c.name(), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						d := memdb.New("orders")
						d.Style = style
						c.run(t, newHarness(d))
						checkDatabase(t, d)
					})
				})
			}
		})
	}
}

func TestSuitePassesWithTheFewestHooks(t *testing.T) {
	Run(t, func(t *testing.T) Harness {
		h := newHarness(memdb.New("orders"))
		h.SingleWriter = true
		h.Poison, h.Crash, h.Stranger, h.Lossy, h.Another = nil, nil, nil, nil, nil
		return h
	})
}

func TestHarnessThatLacksSomethingIsToldSo(t *testing.T) {
	good := newHarness(memdb.New("orders"))
	for field, lack := range map[string]func(*Harness){
		"Driver": func(h *Harness) { h.Driver = nil },
		"Open":   func(h *Harness) { h.Open = nil },
		"Put":    func(h *Harness) { h.Put = "" },
		"Insert": func(h *Harness) { h.Insert = "" },
		"Get":    func(h *Harness) { h.Get = "" },
	} {
		h := good
		lack(&h)
		r := record(t, suite()[0], h)
		if text := strings.Join(r.log, "\n"); !r.failed || !strings.Contains(text, "harness: ") || !strings.Contains(text, field) {
			t.Errorf("without %s: failed %v, says %q", field, r.failed, text)
		}
	}
}

// checkDatabase checks what only the engine can tell.
func checkDatabase(t *testing.T, d *memdb.DB) {
	t.Helper()
	if v := d.Violations(); v != nil {
		t.Errorf("violations: %q", v)
	}
	if s := d.Stats(); s != (memdb.Stats{}) {
		t.Errorf("left: %+v", s)
	}
}

func newHarness(d *memdb.DB) Harness {
	return Harness{
		Driver:       d.Driver(),
		Open:         func() (*sql.DB, error) { return d.Pool(), nil },
		Put:          "PUT ? ?",
		Insert:       "INSERT ? ?",
		Get:          "GET ?",
		SessionBound: d.Style.SessionBound,
		NoIdentity:   d.Style.NoIdentity,
		Isolation:    []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelRepeatableRead, sql.LevelSerializable},
		ReadOnlyTx:   true,
		Poison: func(ctx context.Context, conn *sql.Conn) error {
			if _, err := conn.ExecContext(ctx, "POISON"); err == nil {
				return errors.New("POISON: no error")
			}
			return nil
		},
		Crash: func(context.Context) error { d.Crash(); return nil },
		Stranger: func(context.Context) (Stranger, error) {
			p := drivers.Prepared{Raw: "another program's"}
			d.Stranger(p, true)
			return Stranger{Raw: p.Raw, Remove: func(context.Context) error { d.Stranger(p, false); return nil }}, nil
		},
		Lossy:   func() (Lossy, error) { return lossy(d), nil },
		Another: func() (*sql.DB, error) { return memdb.New("orders").Pool(), nil },
	}
}

// lossy loses memdb's replies by its own means: its two-phase statements are calls.
func lossy(d *memdb.DB) Lossy {
	ops := []memdb.Op{memdb.OpPrepare, memdb.OpCommit, memdb.OpCommitOnePhase, memdb.OpCommitPrepared, memdb.OpRollbackPrepared}
	return Lossy{DB: d.Pool(), Lose: func(f func()) (sent []string) {
		var once sync.Once
		for _, op := range ops {
			d.Fail(op, memdb.Fault{After: true, Lost: true})
		}
		d.OnEvent(func(e string) {
			sent = append(sent, strings.Split(e, ":")[0])
			once.Do(d.Heal)
		})
		defer d.OnEvent(nil)
		f()
		return sent
	}}
}

// recorder is a tb that keeps what a case says.
type recorder struct {
	ctx    context.Context
	failed bool
	log    []string
	mu     sync.Mutex
}

func (r *recorder) Helper()                  {}
func (r *recorder) Context() context.Context { return r.ctx }

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *recorder) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// record runs a case on a goroutine of its own, so that Fatalf ends the case alone.
func record(t *testing.T, c testCase, h Harness) *recorder {
	r := &recorder{ctx: t.Context()}
	done := make(chan struct{})
	go func() {
		defer close(done)
		c.run(r, h)
	}()
	<-done
	return r
}

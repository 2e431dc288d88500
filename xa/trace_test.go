package xa_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

var errBadConn = driver.ErrBadConn

var update = flag.Bool("update", false, "rewrite the golden traces")

// TestTraces compares what happens to the log and the databases, step by step, with a golden file for each scenario: the order
// is the protocol. Steps that run at once are sorted, repeated ones told once, and stock
// is slow to connect and to list, so that it works on one database after the other.
func TestTraces(t *testing.T) {
	failing := func(db func(w *world) *memdb.DB, op memdb.Op, f memdb.Fault) func(w *world) error {
		return func(w *world) error {
			db(w).Fail(op, f)
			return w.transfer()
		}
	}
	orders := func(w *world) *memdb.DB { return w.orders }
	errDown := errors.New("disk full")
	for name, scenario := range map[string]func(w *world) error{
		"commit":                     (*world).transfer,
		"no-vote":                    failing(orders, memdb.OpPrepare, memdb.Fault{Err: errDown}),
		"lost-at-prepare-before":     failing(orders, memdb.OpPrepare, memdb.Fault{Lost: true}),
		"lost-at-prepare-after":      failing(orders, memdb.OpPrepare, memdb.Fault{Lost: true, After: true}),
		"lost-at-commit-before":      failing(orders, memdb.OpCommit, memdb.Fault{Lost: true}),
		"lost-at-commit-after":       failing(orders, memdb.OpCommit, memdb.Fault{Lost: true, After: true}),
		"log-refuses":                failingLog(logtest.NotRecorded),
		"log-unknown-recorded":       failingLog(logtest.LostRecorded),
		"log-unknown-unrecorded":     failingLog(logtest.LostUnrecorded),
		"one-phase":                  func(w *world) error { return w.work(map[string]string{"orders": "write"}) },
		"one-phase-lost":             (*world).onePhaseLost,
		"read-only-one":              func(w *world) error { return w.work(map[string]string{"orders": "write", "stock": "read"}) },
		"read-only-all":              func(w *world) error { return w.work(map[string]string{"orders": "read", "stock": "read"}) },
		"swallowed-error":            (*world).swallowed,
		"rollback":                   func(w *world) error { return w.fail(errors.New("not enough money")) },
		"timeout":                    (*world).timeout,
		"recovery-committed":         func(w *world) error { return w.recover(txlog.Committed) },
		"recovery-undecided":         func(w *world) error { return w.recover(txlog.Undecided) },
		"recovery-aborted":           func(w *world) error { return w.recover(txlog.Aborted) },
		"recovery-session-holds":     (*world).recoverHeld,
		"recovery-resource-down":     (*world).recoverDown,
		"heuristic-rollback-by-hand": (*world).byHand,
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(w *world) {
				for range 100 {
					w.stock.Fail(memdb.OpList, memdb.Fault{Hook: func() { time.Sleep(time.Millisecond) }})
					w.stock.Fail(memdb.OpConnect, memdb.Fault{Hook: func() { time.Sleep(time.Millisecond) }})
				}
				if !strings.HasPrefix(name, "recovery-") && name != "heuristic-rollback-by-hand" && name != "one-phase-lost" {
					w.open()
				}
				err := scenario(w)
				synctest.Wait()
				time.Sleep(time.Minute) // fake: the background's pauses
				synctest.Wait()
				w.golden(name, err)
			})
		})
	}
}

func failingLog(f logtest.DecideFault) func(w *world) error {
	return func(w *world) error {
		w.log.FailDecide(f)
		err := w.transfer()
		synctest.Wait()
		w.tell("--- the log is opened again")
		w.log.Reopen()
		return err
	}
}

// work reads or writes in the given databases.
func (w *world) work(what map[string]string) error {
	w.oneSided = true
	return w.m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
		for _, r := range w.cfg.Resources {
			switch what[r.Name] {
			case "write":
				w.put(tx, r.Name, "only-"+r.Name, "v")
			case "read":
				b, err := tx.Branch(ctx, r.Name)
				if err != nil {
					return err
				}
				var n int
				if err := b.QueryRowContext(ctx, "COUNT").Scan(&n); err != nil {
					return err
				}
			}
		}
		return nil
	})
}

func (w *world) fail(cause error) error {
	return w.m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
		w.put(tx, "orders", "k", "v")
		w.put(tx, "stock", "k", "v")
		return cause
	})
}

func (w *world) onePhaseLost() error {
	w.open()
	w.orders.Fail(memdb.OpCommitOnePhase, memdb.Fault{Lost: true})
	return w.work(map[string]string{"orders": "write"})
}

func (w *world) swallowed() error {
	return w.m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
		w.put(tx, "orders", "k", "v")
		w.put(tx, "stock", "k", "v")
		b, err := tx.Branch(ctx, "stock")
		if err != nil {
			return err
		}
		b.ExecContext(ctx, "POISON") // its error is ignored
		return nil
	})
}

func (w *world) timeout() error {
	tx, err := w.m.Begin(w.Context(), &xa.TxOptions{Timeout: time.Second})
	if err != nil {
		return err
	}
	w.put(tx, "orders", "k", "v")
	w.put(tx, "stock", "k", "v")
	time.Sleep(2 * time.Second)
	w.tell("--- two seconds later")
	return tx.Commit(w.Context())
}

func (w *world) recover(decided txlog.Outcome) error {
	id := w.crashed()
	if decided != txlog.Undecided {
		w.log.Decide(w.Context(), txlog.Decision{ID: id, Outcome: decided, Resources: []string{"orders", "stock"}})
	}
	w.restart()
	return nil
}

// restart opens a manager on what a crash has left, and tells what it does.
func (w *world) restart() {
	w.tell("--- the coordinator is killed and started again")
	m, err := xa.Open(w.Context(), w.cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.m = m
}

func (w *world) recoverHeld() error {
	w.stock.Style.SessionBound = true
	r := w.cfg.Resources[1]
	r.Driver = w.stock.Driver()
	w.cfg.Resources[1] = r
	id := newID(w)
	conn := w.held(r, id)
	defer discard(conn)
	w.log.Decide(w.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"stock"}})
	w.orders.OnEvent(nil)
	w.oneSided = true
	w.restart()
	return nil
}

func (w *world) recoverDown() error {
	id := w.crashed()
	w.log.Decide(w.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"orders", "stock"}})
	w.stock.Down(true)
	w.restart()
	w.tell("--- stock comes back")
	w.stock.Down(false)
	return nil
}

// byHand has a person roll back a prepared branch after the decision to commit.
func (w *world) byHand() error {
	w.cfg.Trace = &xa.Trace{DecideDone: func(e xa.TxEvent) {
		for _, xid := range w.stock.Prepared() {
			w.tell("--- a person rolls the branch in stock back")
			w.stock.Finish(xid, false)
		}
	}}
	w.open()
	w.oneSided = true
	return w.transfer()
}

var ids = regexp.MustCompile(`[a-z0-9]{12}\.[0-9A-Z]{26}`)
var identities = regexp.MustCompile(`memdb:\S+`)

// golden compares the events with the scenario's file.
func (w *world) golden(name string, err error) {
	w.Helper()
	result := "nil"
	if err != nil {
		result = err.Error()
	}
	w.mu.Lock()
	lines := append(atOnce(w.events), "=> "+result)
	w.mu.Unlock()
	got := identities.ReplaceAllString(ids.ReplaceAllString(strings.Join(lines, "\n")+"\n", "T"), "IDENTITY")
	file := filepath.Join("testdata", "trace", name+".txt")
	if *update {
		os.MkdirAll(filepath.Dir(file), 0o755)
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			w.Fatal(err)
		}
	}
	want, readErr := os.ReadFile(file)
	if readErr != nil {
		w.Fatalf("%v: run the test with -update", readErr)
	}
	if got != string(want) {
		w.Errorf("the trace of %s has changed; got:\n%s\nwant:\n%s", name, got, want)
	}
}

// atOnce sorts each run of lines that tell the same step of several databases.
func atOnce(events []string) []string {
	lines := slices.Compact(slices.Clone(events))
	step := func(s string) string {
		words := strings.Fields(s)
		if len(words) < 2 || words[0] == "log" || words[0] == "---" {
			return ""
		}
		return strings.TrimSuffix(words[1], ":")
	}
	for i := 0; i < len(lines); {
		j := i + 1
		for j < len(lines) && step(lines[i]) != "" && step(lines[j]) == step(lines[i]) {
			j++
		}
		slices.Sort(lines[i:j])
		i = j
	}
	return lines
}

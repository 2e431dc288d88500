package integration

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/xa"
)

// faultWork is what a transfer does beside its entries: with the first database's branch, before or after its entry is written.
type faultWork struct {
	opts   *xa.TxOptions
	only   bool // in the first database alone
	before func(ctx context.Context, b *xa.Branch) error
	after  func(ctx context.Context, b *xa.Branch) error
}

// fail is work that is given up at its end.
func (work faultWork) fail() faultWork {
	after := work.after
	work.after = func(ctx context.Context, b *xa.Branch) error {
		if after != nil {
			return errors.Join(after(ctx, b), errFaultOwn)
		}
		return errFaultOwn
	}
	return work
}

// errFaultOwn is why an application gives up.
var errFaultOwn = errors.New("the application's own error")

// during has f called in the course of a transfer that is to be made: at a point of the protocol, or when its first branch has begun, or all have worked.
func (w *faultWorld) during(point string, work *faultWork, f func()) {
	hook := func(context.Context, *xa.Branch) error {
		f()
		return nil
	}
	switch point {
	case "begun":
		work.before = hook
	case "worked":
		work.after = hook
	default:
		w.at(point, func(string) { f() })
	}
}

// rollingBack is the work of a transfer that prepares, and is rolled back then.
func (w *faultWorld) rollingBack() faultWork {
	var tx *xa.Tx
	w.at("prepare-done", func(string) { tx.SetRollbackOnly(errFaultOwn) })
	return faultWork{after: func(ctx context.Context, _ *xa.Branch) error {
		tx, _ = xa.FromContext(ctx)
		return nil
	}}
}

// faultTransfer is one transfer, and what its maker was told.
type faultTransfer struct {
	id      string // of the books
	tx      string // of the global transaction
	parties int
	account int // its own: transfers that stand still must not be in each other's way
	err     error
}

// entry is the transfer's in a database.
func (x faultTransfer) entry(i int) ledger.Entry {
	e := ledger.Entry{ID: x.id, Parties: x.parties, Account: x.account}
	if x.parties > 1 {
		e.Delta = [...]int64{5, -5}[i]
	}
	return e
}

// outcome is what the error tells.
func (x faultTransfer) outcome() ledger.Outcome {
	switch err := x.err; {
	case err == nil:
		return ledger.Committed
	case errors.Is(err, xa.ErrHeuristic):
		return ledger.Heuristic
	case errors.Is(err, xa.ErrOutcomeUnknown):
		return ledger.Unknown
	case errors.Is(err, xa.ErrRolledBack):
		return ledger.RolledBack
	}
	return "an error without an outcome"
}

// transfer makes a transfer over all databases, and tells how it ended.
func (w *faultWorld) transfer(work faultWork) faultTransfer {
	w.t.Helper()
	parties := w.databases
	if work.only {
		parties = parties[:1]
	}
	w.mu.Lock()
	w.n++
	x := faultTransfer{id: fmt.Sprintf("t-%d", w.n), parties: len(parties), account: w.account()}
	w.mu.Unlock()
	w.tell(x.id, ledger.Begun)
	x.err = w.m.Do(w.t.Context(), work.opts, func(ctx context.Context, tx *xa.Tx) error {
		x.tx = tx.ID()
		for i, d := range slices.Backward(parties) { // what is harmed comes last: the others have written by then
			b, err := tx.Branch(ctx, d.name)
			if err != nil {
				return err
			}
			if i > 0 {
				err = ledger.Post(ctx, b, x.entry(i))
			} else {
				err = w.work(ctx, b, x.entry(i), work)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	w.tell(x.id, x.outcome())
	return x
}

// begin is transfer, and returns at once; the transfer comes when it has ended.
func (w *faultWorld) begin(work faultWork) <-chan faultTransfer {
	done := make(chan faultTransfer, 1)
	go func() { done <- w.transfer(work) }()
	return done
}

// account is that of the transfer that was begun last.
func (w *faultWorld) account() int { return w.n % ledger.Accounts }

// work is what is done in the first database.
func (w *faultWorld) work(ctx context.Context, b *xa.Branch, e ledger.Entry, work faultWork) error {
	session := map[string]string{engines.Postgres: "select pg_backend_pid()"}[w.databases[0].server.Engine.Kind]
	var id int
	if err := b.QueryRowContext(ctx, cmp.Or(session, "select connection_id()")).Scan(&id); err != nil {
		return err
	}
	w.mu.Lock()
	w.session = id
	w.mu.Unlock()
	if work.before != nil {
		if err := work.before(ctx, b); err != nil {
			return err
		}
	}
	if err := ledger.Post(ctx, b, e); err != nil || work.after == nil {
		return err
	}
	return work.after(ctx, b)
}

func (w *faultWorld) tell(id string, o ledger.Outcome) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := ledger.Tell(w.told, id, o); err != nil {
		w.t.Error(err)
	}
}

// faultFate is what the maker of a transfer is told, and what has become of it.
type faultFate struct {
	told  ledger.Outcome
	there bool
}

var (
	fateCommitted  = faultFate{ledger.Committed, true}
	fateRolledBack = faultFate{ledger.RolledBack, false}
)

// want is wantFate, and another transfer must work.
func (w *faultWorld) want(what string, x faultTransfer, want faultFate) {
	w.t.Helper()
	w.wantFate(what, x, want)
	w.works()
}

// wantFate settles and fails the test unless this has become of the transfer, and its hooks were called.
func (w *faultWorld) wantFate(what string, x faultTransfer, want faultFate) {
	w.t.Helper()
	w.reached(what)
	w.settle()
	there := w.there(x)
	if x.outcome() != want.told || want.there != (there == x.parties) || !want.there && there > 0 {
		w.t.Errorf("%s: told %s (%v), and is in %d of %d databases; want %s, there: %v", what, x.outcome(), x.err, there, x.parties, want.told, want.there)
	}
}

// wantTold fails the test unless this is what the transfer's maker was told.
func (w *faultWorld) wantTold(what string, x faultTransfer, want ledger.Outcome) {
	w.t.Helper()
	if got := x.outcome(); got != want {
		w.t.Errorf("%s: told %s (%v), want %s", what, got, x.err, want)
	}
}

// works fails the test unless a transfer that nothing harms commits.
func (w *faultWorld) works() {
	w.t.Helper()
	if x := w.transfer(faultWork{}); x.err != nil {
		w.t.Errorf("a transfer afterwards: %v", x.err)
	}
}

// settle recovers until nothing of the log is in doubt.
func (w *faultWorld) settle() {
	w.t.Helper()
	w.eventually("recovery settles everything", func() bool {
		report, err := w.m.Recover(w.t.Context())
		if err != nil {
			w.t.Errorf("recover: %v", err)
		}
		return err == nil && report.Clean()
	})
}

// noted returns what the log keeps of the transaction for a person.
func (w *faultWorld) noted(x faultTransfer) []txlog.Note {
	w.t.Helper()
	var notes []txlog.Note
	for n, err := range w.log.Noted(w.t.Context(), x.tx) {
		if err != nil {
			w.t.Error(err)
		}
		notes = append(notes, n)
	}
	return notes
}

// there tells in how many of the databases the transfer's entry is.
func (w *faultWorld) there(x faultTransfer) (n int) {
	w.t.Helper()
	for i := range w.databases {
		n += w.in(i, x)
	}
	return n
}

// in tells whether the transfer's entry is in that database, as a number.
func (w *faultWorld) in(i int, x faultTransfer) (n int) {
	w.t.Helper()
	db := w.databases[i].open(w.t)
	defer db.Close()
	if err := db.QueryRowContext(w.t.Context(), "select count(*) from entries where id = '"+x.id+"'").Scan(&n); err != nil {
		w.t.Fatalf("%s: %v", w.databases[i].name, err)
	}
	return n
}

// eventually waits until done reports true.
func (w *faultWorld) eventually(what string, done func() bool) {
	w.t.Helper()
	if !eventually(w.t, what, done) {
		w.t.Log(w.lines)
	}
}

// eventually waits until done reports true. Hooks call it as well, which is why it does not end the test.
func eventually(t *testing.T, what string, done func() bool) bool {
	t.Helper()
	limit := time.After(time.Minute)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-limit:
			t.Errorf("%s: not within a minute", what)
			return false
		case <-tick.C:
		}
	}
	return true
}

// exec runs statements as the administrator of the first database.
func (w *faultWorld) exec(statements ...string) {
	w.t.Helper()
	for _, s := range statements {
		if _, err := w.admin.ExecContext(w.t.Context(), s); err != nil {
			w.t.Errorf("%s: %v", s, err)
		}
	}
}

// ask runs a query of one value as the administrator of the first database.
func (w *faultWorld) ask(to any, query string, args ...any) {
	w.t.Helper()
	if err := w.admin.QueryRowContext(w.t.Context(), query, args...).Scan(to); err != nil {
		w.t.Errorf("%s: %v", query, err)
	}
}

// recover runs xa-recover on log and databases, and returns its exit status and what it printed.
func (b *bank) recover(t *testing.T, args ...string) (status int, out string) {
	t.Helper()
	p := b.startRecover(t, args...)
	status = p.wait(t)
	return status, p.stderr.String()
}

// faultLines keeps what was logged.
type faultLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *faultLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *faultLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// onEveryServer runs a test on every version of these servers, side by side.
func onEveryServer(t *testing.T, test func(t *testing.T, s *engines.Server), kinds ...string) {
	t.Helper()
	es := engines.Of(kinds...)
	engines.Start(es...)
	for _, e := range es {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			test(t, e.Server(t))
		})
	}
}

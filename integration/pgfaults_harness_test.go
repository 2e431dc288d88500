package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// pgfWorld is a manager in this process over the databases of a bank, the first of which is PostgreSQL's and is harmed at the steps of
// the protocol.
type pgfWorld struct {
	*bank
	t       *testing.T
	log     txlog.Log
	options *filelog.Options
	m       *xa.Manager
	pools   map[string]*sql.DB // the manager's, by resource
	admin   *sql.DB            // of the first database, by a connection that nothing harms
	told    *os.File
	lines   *pgfLines

	mu         sync.Mutex // guards what follows
	n          int
	hooks      map[string]func(string) // by point and resource
	unverified map[string][]string     // resources, by transaction, as recoveries reported
}

// newPgfWorld returns the world of a PostgreSQL database on that server and a file of SQLite.
func newPgfWorld(t *testing.T, s *engines.Server) *pgfWorld {
	t.Helper()
	return newPgfWorldOf(t, newPgfBank(t, s))
}

func newPgfBank(t *testing.T, s *engines.Server) *bank {
	t.Helper()
	dir := t.TempDir()
	return pgfBank(t, "file:"+filepath.Join(dir, "log"),
		database{"a-postgres", s.NewDatabase(t), s}, database{"b-sqlite", "sqlite:" + filepath.Join(dir, "b.db"), nil})
}

// pgfBank makes a bank of these databases, and the books in them.
func pgfBank(t *testing.T, log string, databases ...database) *bank {
	t.Helper()
	for _, d := range databases {
		db := d.open(t)
		err := ledger.Create(t.Context(), db)
		db.Close()
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
	}
	return &bank{log: log, told: t.TempDir(), databases: databases}
}

func newPgfWorldOf(t *testing.T, b *bank) *pgfWorld {
	t.Helper()
	return newPgfWorldWith(t, b, nil)
}

func newPgfWorldWith(t *testing.T, b *bank, options *filelog.Options) *pgfWorld {
	t.Helper()
	w := &pgfWorld{bank: b, t: t, options: options, pools: map[string]*sql.DB{}, hooks: map[string]func(string){}, lines: &pgfLines{}, unverified: map[string][]string{}}
	w.admin = b.databases[0].open(t)
	t.Cleanup(func() { w.admin.Close() })
	w.told = b.teller(t)
	t.Cleanup(func() { w.told.Close() })
	w.open()
	return w
}

// open opens the log and a manager over it.
func (w *pgfWorld) open() {
	w.t.Helper()
	if err := w.tryOpen(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *pgfWorld) tryOpen() error {
	dir, _ := strings.CutPrefix(w.bank.log, "file:")
	log, err := filelog.Open(dir, w.options)
	if err != nil {
		return err
	}
	w.log = log
	// Hooks do much at the points of the protocol, and a server's checkpoint that they wait for may take its time: no limit of the manager's may be over then.
	cfg := xa.Config{Log: log, Timeout: 10 * time.Minute, CompletionTimeout: 5 * time.Minute, RecoveryInterval: time.Second, Trace: w.trace(),
		Logger: slog.New(slog.NewTextHandler(w.lines, nil))}
	for _, d := range w.databases {
		res, err := connect.Resource(d.name, d.url)
		if err != nil {
			return errors.Join(err, log.Close())
		}
		w.pools[d.name] = res.DB
		cfg.Resources = append(cfg.Resources, res)
	}
	if w.m, err = xa.Open(w.t.Context(), cfg); err != nil {
		return errors.Join(err, w.closePools(), log.Close())
	}
	w.t.Cleanup(func() { w.m.Close(); w.closePools(); log.Close() }) // where the test has ended early
	return nil
}

func (w *pgfWorld) closePools() error {
	var errs []error
	for _, db := range w.pools {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}

// crash ends manager and log as the end of their process would, but for what is being committed. What is in doubt stays so.
func (w *pgfWorld) crash() {
	w.t.Helper()
	if err := errors.Join(w.m.Close(), w.closePools(), w.log.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// end shuts the manager down, which leaves nothing in doubt, and checks what is left. It returns the books.
func (w *pgfWorld) end() map[string]ledger.Book {
	w.t.Helper()
	w.shutdown()
	books, told := w.books()
	for _, wrong := range ledger.Check(books, told) {
		w.t.Error(wrong)
	}
	return books
}

// books reads the books and what was told, and fails the test for what is prepared or not settled.
func (w *pgfWorld) books() (map[string]ledger.Book, ledger.Told) {
	w.t.Helper()
	id := w.checkLog(w.t)
	books := map[string]ledger.Book{}
	for _, d := range w.databases {
		books[d.name] = d.check(w.t, id)
	}
	return books, w.readTold(w.t)
}

// shutdown shuts the manager down, and fails the test for a connection that did not come back.
func (w *pgfWorld) shutdown() {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.m.Shutdown(ctx); err != nil {
		w.t.Fatalf("shutdown: %v\n%s", err, w.lines)
	}
	for name, db := range w.pools {
		if n := db.Stats().InUse; n != 0 {
			w.t.Errorf("%s: %d connections have not come back", name, n)
		}
	}
	w.crash()
}

// trace calls the hooks.
func (w *pgfWorld) trace() *xa.Trace {
	branch := func(point string) func(xa.BranchEvent) {
		return func(e xa.BranchEvent) { w.reach(point+" "+e.XID.BQual, e.XID.GTRID) }
	}
	tx := func(point string) func(xa.TxEvent) {
		return func(e xa.TxEvent) { w.reach(point, e.ID) }
	}
	return &xa.Trace{
		PrepareStart: branch("prepare-start"), PrepareDone: branch("prepare-done"),
		CommitStart: branch("commit-start"), CommitDone: branch("commit-done"),
		RollbackStart: branch("rollback-start"), RollbackDone: branch("rollback-done"),
		DecideStart: tx("decide-start"), DecideDone: tx("decide-done"),
		Recovered: func(e xa.RecoveryEvent) {
			w.mu.Lock()
			defer w.mu.Unlock()
			for _, d := range e.Report.Decisions {
				if d.Settled && len(d.Unverified) > 0 {
					w.unverified[d.ID] = d.Unverified
				}
			}
		},
	}
}

// at calls f with the transaction's ID the next time that the first database's branch, or the transaction, is at this point.
func (w *pgfWorld) at(point string, f func(id string)) {
	if !strings.HasPrefix(point, "decide-") {
		point += " " + w.databases[0].name
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hooks[point] = f
}

func (w *pgfWorld) reach(point, id string) {
	w.mu.Lock()
	f := w.hooks[point]
	delete(w.hooks, point)
	w.mu.Unlock()
	if f != nil {
		f(id)
	}
}

// reached fails the test if a hook was not called.
func (w *pgfWorld) reached() {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for point := range w.hooks {
		w.t.Errorf("the point %q was not reached", point)
	}
	clear(w.hooks)
}

// pgfTransfer is one transfer: what its maker has told, and what it was told.
type pgfTransfer struct {
	id  string // of the books
	tx  string // of the global transaction
	err error
}

// outcome is what the error tells.
func (x pgfTransfer) outcome() ledger.Outcome {
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

// pgfWork is what a transfer does beside its entries: with the first database's branch, before or after its entry is written.
type pgfWork struct {
	opts   *xa.TxOptions
	only   bool // in the first database alone
	before func(ctx context.Context, b *xa.Branch) error
	after  func(ctx context.Context, b *xa.Branch) error
}

// transfer makes a transfer over all databases, and tells how it ended.
func (w *pgfWorld) transfer(work pgfWork) pgfTransfer {
	w.t.Helper()
	w.mu.Lock()
	w.n++
	x := pgfTransfer{id: fmt.Sprintf("t-%d", w.n)}
	account := w.n % ledger.Accounts // of its own: transfers that stand still must not be in each other's way
	w.mu.Unlock()
	parties := w.databases
	if work.only {
		parties = parties[:1]
	}
	w.tell(x.id, ledger.Begun)
	x.err = w.m.Do(w.t.Context(), work.opts, func(ctx context.Context, tx *xa.Tx) error {
		x.tx = tx.ID()
		for i := range parties {
			i = len(parties) - 1 - i // what is harmed comes last: the others have written by then
			b, err := tx.Branch(ctx, parties[i].name)
			if err != nil {
				return err
			}
			if i == 0 && work.before != nil {
				if err := work.before(ctx, b); err != nil {
					return err
				}
			}
			e := ledger.Entry{ID: x.id, Parties: len(parties), Account: account}
			if len(parties) > 1 {
				e.Delta = [...]int64{5, -5}[i]
			}
			if err := ledger.Post(ctx, b, e); err != nil {
				return err
			}
			if i == 0 && work.after != nil {
				return work.after(ctx, b)
			}
		}
		return nil
	})
	w.tell(x.id, x.outcome())
	return x
}

func (w *pgfWorld) tell(id string, o ledger.Outcome) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := ledger.Tell(w.told, id, o); err != nil {
		w.t.Error(err)
	}
}

// works fails the test unless a transfer that nothing harms commits.
func (w *pgfWorld) works() {
	w.t.Helper()
	if x := w.transfer(pgfWork{}); x.err != nil {
		w.t.Errorf("a transfer afterwards: %v", x.err)
	}
}

// settle recovers until nothing of the log is in doubt.
func (w *pgfWorld) settle() {
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
func (w *pgfWorld) noted(x pgfTransfer) []txlog.Note {
	w.t.Helper()
	var notes []txlog.Note
	for n, err := range w.log.(txlog.Notes).Noted(w.t.Context(), x.tx) {
		if err != nil {
			w.t.Error(err)
		}
		notes = append(notes, n)
	}
	return notes
}

// there tells in how many of the databases the transfer's entry is.
func (w *pgfWorld) there(x pgfTransfer) int {
	w.t.Helper()
	n := 0
	for _, d := range w.databases {
		db := d.open(w.t)
		var here int
		err := db.QueryRowContext(w.t.Context(), "select count(*) from entries where id = '"+x.id+"'").Scan(&here)
		db.Close()
		if err != nil {
			w.t.Fatalf("%s: %v", d.name, err)
		}
		n += here
	}
	return n
}

// eventually waits until done reports true.
func (w *pgfWorld) eventually(what string, done func() bool) {
	w.t.Helper()
	if !pgfEventually(w.t, what, done) {
		w.t.Log(w.lines)
	}
}

// pgfEventually waits until done reports true. Hooks call it as well, which is why it does not end the test.
func pgfEventually(t *testing.T, what string, done func() bool) bool {
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
func (w *pgfWorld) exec(statements ...string) {
	w.t.Helper()
	for _, s := range statements {
		if _, err := w.admin.ExecContext(w.t.Context(), s); err != nil {
			w.t.Errorf("%s: %v", s, err)
		}
	}
}

// ask runs a query of one value as the administrator of the first database.
func (w *pgfWorld) ask(to any, query string, args ...any) {
	w.t.Helper()
	if err := w.admin.QueryRowContext(w.t.Context(), query, args...).Scan(to); err != nil {
		w.t.Errorf("%s: %v", query, err)
	}
}

// recover runs xa-recover on log and databases, and returns its exit status and what it printed.
func (w *pgfWorld) recover(args ...string) (status int, out string) {
	w.t.Helper()
	p := w.startRecover(w.t, args...)
	status = p.wait(w.t)
	return status, p.stderr.String()
}

// pgfLines keeps what was logged.
type pgfLines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *pgfLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *pgfLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

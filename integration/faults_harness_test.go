package integration

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// faultWorld is a manager in this process over the databases of a bank, the first of which is a server's and is harmed at the steps of
// the protocol.
type faultWorld struct {
	*bank
	faultSetUp
	t     *testing.T
	url   string // by which the manager reaches the first database
	log   *filelog.Log
	m     *xa.Manager
	pools map[string]*sql.DB // the manager's, by resource
	admin *sql.DB            // of the first database, by a connection that nothing harms
	told  *os.File
	lines *faultLines

	mu         sync.Mutex // guards what follows
	n          int
	session    int                     // of the first database's branch in the transfer that was begun last
	hooks      map[string]func(string) // by point and resource
	unverified map[string][]string     // resources, by transaction, as recoveries reported
	early      []drivers.XID           // branches that recovery committed although their decision had been settled before
}

// faultSetUp is what a test wants to be different.
type faultSetUp struct {
	plain   bool             // the manager works on the first database as a user of MySQL or MariaDB without privileges but those that recovery wants
	params  string           // of the manager's connections to it: "wait_timeout=5"
	options *filelog.Options // of the log
}

// newFaultBank returns a bank of a database on that server and one of SQLite.
func newFaultBank(t *testing.T, s *engines.Server) *bank {
	t.Helper()
	dir := t.TempDir()
	return newFaultBankOf(t, database{"a-" + s.Engine.Kind, s.NewDatabase(t), s}, database{"b-sqlite", "sqlite:" + filepath.Join(dir, "b.db"), nil})
}

// newFaultBankOf returns a bank of these databases, with the books in them.
func newFaultBankOf(t *testing.T, databases ...database) *bank {
	t.Helper()
	for _, d := range databases {
		db := d.open(t)
		err := ledger.Create(t.Context(), db)
		db.Close()
		if err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
	}
	return &bank{log: "file:" + filepath.Join(t.TempDir(), "log"), told: t.TempDir(), databases: databases}
}

func newFaultWorld(t *testing.T, b *bank, o faultSetUp) *faultWorld {
	t.Helper()
	w := &faultWorld{bank: b, faultSetUp: o, t: t, pools: map[string]*sql.DB{}, hooks: map[string]func(string){}, lines: &faultLines{}, unverified: map[string][]string{}}
	w.admin = b.databases[0].open(t)
	t.Cleanup(func() { w.admin.Close() })
	w.url = w.urlOf(b.databases[0])
	w.told = b.teller(t)
	t.Cleanup(func() { w.told.Close() })
	w.open()
	return w
}

// urlOf returns the URL by which the manager reaches that database.
func (w *faultWorld) urlOf(d database) string {
	w.t.Helper()
	url := d.url
	if w.plain {
		url = d.server.NewUser(w.t, url)
		privileges := []string{"process"} // without it recovery waits for each branch of a session's
		if d.server.Engine.Kind == engines.MySQL {
			privileges = append(privileges, "xa_recover_admin")
		}
		grantTo(w.t, w.admin, url, privileges...)
	}
	if w.params != "" {
		url += "?" + w.params
	}
	return url
}

// open opens the log and a manager over it.
func (w *faultWorld) open() {
	w.t.Helper()
	if err := w.tryOpen(); err != nil {
		w.t.Fatal(err)
	}
}

func (w *faultWorld) tryOpen() error {
	log, err := filelog.Open(strings.TrimPrefix(w.bank.log, "file:"), w.options)
	if err != nil {
		return err
	}
	w.log = log
	// Hooks do much at the points of the protocol, and a server's checkpoint that they wait for may take its time: no limit of the manager's may be over then.
	cfg := xa.Config{Log: log, Timeout: 10 * time.Minute, CompletionTimeout: 5 * time.Minute, Trace: w.trace(),
		Logger: slog.New(slog.NewTextHandler(w.lines, nil))}
	for i, d := range w.databases {
		url := d.url
		if i == 0 {
			url = w.url
		}
		res, err := connect.Resource(d.name, url)
		if err != nil {
			return errors.Join(err, w.closePools(), log.Close())
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

func (w *faultWorld) closePools() error {
	var errs []error
	for _, db := range w.pools {
		errs = append(errs, db.Close())
	}
	return errors.Join(errs...)
}

// crash ends manager and log as the end of their process would, but for what is being committed. What is in doubt stays so.
func (w *faultWorld) crash() {
	w.t.Helper()
	if err := errors.Join(w.m.Close(), w.closePools(), w.log.Close()); err != nil {
		w.t.Fatal(err)
	}
}

// end shuts the manager down, which leaves nothing in doubt, and checks what is left.
func (w *faultWorld) end() {
	w.t.Helper()
	w.shutdown()
	if len(w.early) > 0 { // rule P6
		w.t.Errorf("settled before they were committed: %v", w.early)
	}
	w.check(w.t)
}

// books reads the books, and fails the test for what is prepared or not settled.
func (b *bank) books(t *testing.T) map[string]ledger.Book {
	t.Helper()
	id := b.checkLog(t)
	books := map[string]ledger.Book{}
	for _, d := range b.databases {
		books[d.name] = d.check(t, id)
	}
	return books
}

// shutdown shuts the manager down, and fails the test for a connection that did not come back.
func (w *faultWorld) shutdown() {
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
func (w *faultWorld) trace() *xa.Trace {
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
		Recovered: func(e xa.RecoveryEvent) { w.recovered(e.Report) },
	}
}

func (w *faultWorld) recovered(report recovery.Report) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range report.Decisions {
		if d.Settled && len(d.Unverified) > 0 {
			w.unverified[d.ID] = d.Unverified
		}
	}
	for _, b := range report.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Committed }) {
		if !slices.ContainsFunc(report.Decisions, func(d recovery.Decision) bool { return d.ID == b.XID.GTRID }) {
			w.early = append(w.early, b.XID)
		}
	}
}

// at calls f with the transaction's ID the next time that the first database's branch, or the transaction, is at this point.
func (w *faultWorld) at(point string, f func(id string)) {
	if !strings.HasPrefix(point, "decide-") {
		point += " " + w.databases[0].name
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hooks[point] = f
}

func (w *faultWorld) reach(point, id string) {
	w.mu.Lock()
	f := w.hooks[point]
	delete(w.hooks, point)
	w.mu.Unlock()
	if f != nil {
		f(id)
	}
}

// reached fails the test if a hook was not called.
func (w *faultWorld) reached(what string) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	for point := range w.hooks {
		w.t.Errorf("%s: the point %q was not reached", what, point)
	}
	clear(w.hooks)
}

// disarm forgets the hooks that were not called.
func (w *faultWorld) disarm() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.hooks)
}

package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	litedriver "github.com/xasql/xasql/drivers/sqlite"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// myPatience is how long a test waits for what must come: reaching it fails the test.
const myPatience = time.Minute

// myFaults makes transfers between a database of MySQL or MariaDB and one of SQLite through a manager of its own, lets a test
// interfere at every step, and keeps book of what it was told.
type myFaults struct {
	t       *testing.T
	bank    *bank
	server  *engines.Server
	admin   *sql.DB // an administrator's pool
	db      *sql.DB // the manager's
	lite    *sql.DB // the manager's
	log     *filelog.Log
	manager *xa.Manager
	told    *os.File
	made    int

	mu      sync.Mutex // guards what follows
	running myTransfer
	session int64               // of the running transfer's branch on the server
	tx      *xa.Tx              // the running transfer's
	settled []recovery.Decision // by recovery, also in the background

	xid atomic.Pointer[drivers.XID] // of the last branch on the server that a step was reached with
}

// mySetUp is what a test wants to be different.
type mySetUp struct {
	plain  bool   // the manager works as a user without privileges but those that it needs
	params string // of the manager's connections: "wait_timeout=5"
	config xa.Config
}

// forMyServers runs a test on every version of MySQL and MariaDB, side by side.
func forMyServers(t *testing.T, test func(t *testing.T, s *engines.Server)) {
	for _, e := range engines.Of(engines.MySQL, engines.MariaDB) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			test(t, e.Server(t))
		})
	}
}

// forMyFaults is forMyServers for a test of transfers, at whose end nothing may be wrong.
func forMyFaults(t *testing.T, o mySetUp, test func(t *testing.T, f *myFaults)) {
	forMyServers(t, func(t *testing.T, s *engines.Server) {
		f := newMyFaults(t, s, o)
		test(t, f)
		f.end()
	})
}

// forMyOwn runs a test on every version of MySQL and MariaDB, each a server of the test's own.
func forMyOwn(t *testing.T, args []string, test func(t *testing.T, s *engines.Server)) {
	for _, e := range engines.Of(engines.MySQL, engines.MariaDB) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			test(t, e.Own(t, engines.Own{Args: args}))
		})
	}
}

func newMyFaults(t *testing.T, s *engines.Server, o mySetUp) *myFaults {
	t.Helper()
	f := &myFaults{t: t, server: s}
	f.bank = newMyBank(t, s)
	url := f.bank.databases[0].url
	f.admin = s.Open(t, url)
	if o.plain {
		url = s.NewUser(t, url)
		if s.Engine.Kind == engines.MySQL {
			grantTo(t, f.admin, url, "xa_recover_admin")
		}
	}
	if o.params != "" {
		url += "?" + o.params
	}
	f.db = s.Open(t, url)
	f.lite = f.bank.databases[1].open(t)
	t.Cleanup(func() { f.lite.Close() })
	f.told = f.bank.teller(t)
	t.Cleanup(func() { f.told.Close() })
	f.open(o.config)
	return f
}

// newMyBank makes a bank of a database on that server and one of SQLite.
func newMyBank(t *testing.T, s *engines.Server) *bank {
	t.Helper()
	b := newBank(t, sqlite)
	d := database{name: "z-" + s.Engine.Kind, url: s.NewDatabase(t), server: s}
	db := d.open(t)
	defer db.Close()
	if err := ledger.Create(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	b.databases = []database{d, b.databases[0]}
	return b
}

// open opens log and manager; a manager that was open before must have been closed.
func (f *myFaults) open(cfg xa.Config) {
	f.t.Helper()
	var err error
	if f.log, err = filelog.Open(strings.TrimPrefix(f.bank.log, "file:"), nil); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { f.log.Close() })
	cfg.Log, cfg.Trace = f.log, f.steps()
	cfg.Logger = slog.New(slog.NewTextHandler(io.Discard, nil))
	cfg.Resources = []xa.Resource{
		{Name: f.bank.databases[0].name, DB: f.db, Driver: mysql.New()},
		{Name: f.bank.databases[1].name, DB: f.lite, Driver: litedriver.New()},
	}
	if f.manager, err = xa.Open(f.t.Context(), cfg); err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { f.manager.Close() })
}

// end shuts the manager down, which takes that nothing is in doubt, and checks the books, what was told, what is still
// prepared, and that no connection of the pool is lost.
func (f *myFaults) end() {
	f.t.Helper()
	f.shutdown()
	f.bank.check(f.t)
}

// shutdown is end without a look at the books.
func (f *myFaults) shutdown() {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), myPatience)
	defer cancel()
	if err := f.manager.Shutdown(ctx); err != nil {
		f.t.Fatal(err)
	}
	for name, db := range map[string]*sql.DB{"server": f.db, "SQLite": f.lite} {
		if n := db.Stats().InUse; n > 0 {
			f.t.Errorf("%d connections of the pool to the %s are not given back", n, name)
		}
	}
	if err := f.log.Close(); err != nil {
		f.t.Error(err)
	}
}

// settle recovers until nothing is in doubt.
func (f *myFaults) settle() recovery.Report {
	f.t.Helper()
	for limit := time.Now().Add(myPatience); ; time.Sleep(20 * time.Millisecond) {
		report, err := f.manager.Recover(f.t.Context())
		if err != nil {
			f.t.Fatal(err)
		}
		unsettled := 0
		for _, d := range report.Decisions {
			if !d.Settled {
				unsettled++
			}
		}
		if report.InDoubt() == 0 && unsettled == 0 && len(report.Unreached()) == 0 {
			return report
		}
		if time.Now().After(limit) {
			f.t.Fatalf("still in doubt after %v: %+v", myPatience, report)
		}
	}
}

// myTransfer is one transfer, and what a test does to it.
type myTransfer struct {
	alone bool // only the server's database takes part: it commits in one phase
	fail  bool // the application gives up after its work
	opts  *xa.TxOptions
	// more is further work in the server's branch, after its entry was posted.
	more func(ctx context.Context, b *xa.Branch) error
	// at is called at each step of the server's branch (see the my… steps) with the id of its session. An error is the application's
	// own at mySteps begun and worked, and else ignored.
	at func(step string, session int64) error
}

// The steps of a branch at which a test may interfere.
const (
	myBegun    = "begun"    // the branch has begun, nothing was done
	myWorked   = "worked"   // all databases have done their work
	myPrepare  = "prepare"  // XA END and XA PREPARE are about to be sent
	myPrepared = "prepared" // it is prepared
	myDecide   = "decide"   // all are prepared, the decision is about to be written
	myDecided  = "decided"  // it is written
	myCommit   = "commit"   // XA COMMIT is about to be sent, in two phases or one
	myRollback = "rollback" // the rollback is about to be sent
)

// errMyOwn is why an application gives up.
var errMyOwn = errors.New("the application's own error")

// transfer makes a transfer, tells the books of its outcome, and returns its id and what Do returned.
func (f *myFaults) transfer(tr myTransfer) (string, error) {
	f.t.Helper()
	f.made++
	id := fmt.Sprintf("t-%d", f.made)
	f.tell(id, ledger.Begun)
	ctx, cancel := context.WithTimeout(f.t.Context(), myPatience)
	defer cancel()
	f.run(tr)
	err := f.manager.Do(ctx, tr.opts, func(ctx context.Context, tx *xa.Tx) error { return f.work(ctx, tx, id, tr) })
	f.run(myTransfer{})
	f.tell(id, myOutcome(f.t, err))
	return id, err
}

func (f *myFaults) tell(id string, o ledger.Outcome) {
	f.t.Helper()
	if err := ledger.Tell(f.told, id, o); err != nil {
		f.t.Fatal(err)
	}
}

// work is what the application does.
func (f *myFaults) work(ctx context.Context, tx *xa.Tx, id string, tr myTransfer) error {
	e := ledger.Entry{ID: id, Parties: 2, Account: f.made % ledger.Accounts, Delta: 5}
	if tr.alone {
		e.Parties, e.Delta = 1, 0
	}
	b, err := tx.Branch(ctx, f.bank.databases[0].name)
	if err != nil {
		return err
	}
	var session int64
	if err := b.QueryRowContext(ctx, "select connection_id()").Scan(&session); err != nil {
		return err
	}
	f.mu.Lock()
	f.session, f.tx = session, tx
	f.mu.Unlock()
	if err := f.step(myBegun); err != nil {
		return err
	}
	if err := ledger.Post(ctx, b, e); err != nil {
		return err
	}
	if tr.more != nil {
		if err := tr.more(ctx, b); err != nil {
			return err
		}
	}
	if !tr.alone {
		other, err := tx.Branch(ctx, f.bank.databases[1].name)
		if err != nil {
			return err
		}
		e.Delta = -e.Delta
		if err := ledger.Post(ctx, other, e); err != nil {
			return err
		}
	}
	if err := f.step(myWorked); err != nil {
		return err
	}
	if tr.fail {
		return errMyOwn
	}
	return nil
}

// steps returns the hooks by which a test interferes with the server's branch.
func (f *myFaults) steps() *xa.Trace {
	branch := func(step string) func(xa.BranchEvent) {
		return func(e xa.BranchEvent) {
			if e.XID.BQual == f.bank.databases[0].name && e.Err == nil {
				f.xid.Store(&e.XID)
				f.step(step)
			}
		}
	}
	tx := func(step string) func(xa.TxEvent) { return func(xa.TxEvent) { f.step(step) } }
	return &xa.Trace{PrepareStart: branch(myPrepare), PrepareDone: branch(myPrepared), DecideStart: tx(myDecide), DecideDone: tx(myDecided),
		CommitStart: branch(myCommit), RollbackStart: branch(myRollback), Recovered: func(e xa.RecoveryEvent) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.settled = append(f.settled, e.Report.Decisions...)
		}}
}

// step calls the running transfer's at.
func (f *myFaults) step(name string) error {
	f.mu.Lock()
	at, session := f.running.at, f.session
	f.mu.Unlock()
	if at == nil {
		return nil
	}
	return at(name, session)
}

// run makes this the running transfer.
func (f *myFaults) run(tr myTransfer) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.running, f.session = tr, 0
}

// myOutcome is what Do's answer says.
func myOutcome(t *testing.T, err error) ledger.Outcome {
	t.Helper()
	switch {
	case err == nil:
		return ledger.Committed
	case errors.Is(err, xa.ErrHeuristic):
		return ledger.Heuristic
	case errors.Is(err, xa.ErrOutcomeUnknown):
		return ledger.Unknown
	case errors.Is(err, xa.ErrRolledBack):
		return ledger.RolledBack
	}
	t.Fatalf("an error without an outcome: %v", err)
	return ""
}

// wantOutcome fails the test unless that is what was told.
func wantMyOutcome(t *testing.T, what string, err error, want ledger.Outcome) {
	t.Helper()
	if got := myOutcome(t, err); got != want {
		t.Errorf("%s: told %s (%v), want %s", what, got, err, want)
	}
}

// kill ends a session, and returns when it is gone.
func (f *myFaults) kill(session int64) {
	mustExecMy(f, "kill %d", session)
	f.awaitGone(session)
}

// awaitGone returns when the session has ended.
func (f *myFaults) awaitGone(session int64) {
	f.await("the session's end", "select count(*) = 0 from information_schema.processlist where id = ?", session)
}

// mustExecMy runs a statement as the administrator.
func mustExecMy(f *myFaults, format string, args ...any) {
	if _, err := f.admin.ExecContext(f.t.Context(), fmt.Sprintf(format, args...)); err != nil {
		f.t.Errorf(format+": %v", append(args, err)...)
	}
}

// await returns when the query is true.
func (f *myFaults) await(what, query string, args ...any) {
	for limit := time.Now().Add(myPatience); ; time.Sleep(5 * time.Millisecond) {
		var ok bool
		if err := f.admin.QueryRowContext(f.t.Context(), query, args...).Scan(&ok); err != nil {
			f.t.Errorf("wait for %s: %v", what, err)
			return
		}
		if ok {
			return
		}
		if time.Now().After(limit) {
			f.t.Errorf("no sign of %s within %v", what, myPatience)
			return
		}
	}
}

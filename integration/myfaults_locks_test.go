package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// A lock that is not had in time costs the statement, and the branch goes on: the application may try again, or commit the rest.
func TestMySQLLockTimeoutCostsTheStatementAlone(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *engines.Server) { testLockTimeout(t, s, ledger.Committed) }, engines.MySQL, engines.MariaDB)
}

// testLockTimeout makes transfers whose last statement does not get its lock, side by side, each in a world of its own. ignored is what must become of one whose
// application ignores that.
func testLockTimeout(t *testing.T, s *engines.Server, ignored ledger.Outcome) {
	cases := []*lockTimeout{
		{what: "returned", attempts: 1, want: ledger.RolledBack},
		{what: "ignored", ignore: true, attempts: 1, want: ignored},
		{what: "tried again", attempts: 2, want: ledger.Committed},
	}
	for _, c := range cases {
		c.faultWorld = newFaultWorld(t, newFaultBank(t, s), faultSetUp{params: "innodb_lock_wait_timeout=1"})
		c.lock = c.lockAccount(63)
		defer c.lock.Rollback()
	}
	for _, c := range cases {
		c.ended = c.begin(faultWork{opts: &xa.TxOptions{Retry: xa.Retry{Attempts: c.attempts}}, after: c.work})
	}
	for _, c := range cases {
		c.wantTold(c.what, <-c.ended, c.want)
		if c.tries != c.attempts {
			t.Errorf("%s: the function was called %d times, want %d", c.what, c.tries, c.attempts)
		}
		c.end()
	}
}

// lockTimeout is one such transfer.
type lockTimeout struct {
	*faultWorld
	what     string
	ignore   bool
	attempts int // that are needed, and allowed; the last of two gets the lock
	want     ledger.Outcome
	lock     *sql.Tx // another's
	tries    int
	ended    <-chan faultTransfer
}

func (c *lockTimeout) work(ctx context.Context, b *xa.Branch) error {
	c.tries++
	_, err := b.ExecContext(ctx, "update accounts set balance = balance + 0 where id = 63")
	if c.tries == 1 {
		wantMyError(c.t, c.what, err, 1205)
	}
	if c.attempts > 1 {
		c.lock.Rollback()
	}
	if c.ignore {
		return nil
	}
	return err
}

// lockAccount locks an account's row in a transaction of another's.
func (w *faultWorld) lockAccount(account int) *sql.Tx {
	w.t.Helper()
	tx, err := w.admin.BeginTx(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	mustExec(w.t, tx, fmt.Sprintf("update accounts set balance = balance + 1 where id = %d", account))
	return tx
}

// The victim of a deadlock is rolled back as a whole: nothing of it is applied whatever the application does, and Do may try again.
func TestMySQLDeadlockRollsTheBranchBack(t *testing.T) {
	forMyFaults(t, faultSetUp{}, func(t *testing.T, w *faultWorld) {
		for _, alone := range []bool{false, true} {
			x := w.transfer(faultWork{only: alone, after: w.deadlock})
			w.wantTold("returned", x, ledger.RolledBack)
			wantMyError(w.t, "returned", x.err, 1213, 1614)

			for _, then := range []string{"select 1", "update accounts set balance = balance + 0 where id = 63"} {
				x = w.transfer(faultWork{only: alone, after: func(ctx context.Context, b *xa.Branch) error {
					wantMyError(w.t, "statement", w.deadlock(ctx, b), 1213, 1614)
					_, _ = b.ExecContext(ctx, then)
					return nil
				}})
				w.wantTold(fmt.Sprintf("ignored, alone %t, then %s", alone, then), x, ledger.RolledBack)
			}

			tries := 0
			x = w.transfer(faultWork{only: alone, opts: &xa.TxOptions{Retry: xa.Retry{Attempts: 2}}, after: func(ctx context.Context, b *xa.Branch) error {
				if tries++; tries > 1 {
					return nil
				}
				return w.deadlock(ctx, b)
			}})
			w.wantTold("tried again", x, ledger.Committed)
			if tries != 2 {
				t.Errorf("the function was called %d times, want 2", tries)
			}
		}
	})
}

// deadlock makes the branch, which has changed one account, a deadlock's victim, and returns its error: the servers choose the
// transaction that changed less.
func (w *faultWorld) deadlock(ctx context.Context, b *xa.Branch) error {
	conn, err := w.admin.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	var id int64
	if err := conn.QueryRowContext(ctx, "select connection_id()").Scan(&id); err != nil {
		return err
	}
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	account := w.account()
	const change = "update accounts set balance = balance + 1 where id = %d"
	for i := range 20 {
		if _, err := tx.ExecContext(ctx, fmt.Sprintf(change, (account+1+i)%ledger.Accounts)); err != nil {
			return err
		}
	}
	won := make(chan error, 1)
	go func() {
		_, err := tx.ExecContext(ctx, fmt.Sprintf(change, account))
		won <- err
	}()
	if err := awaitLockWait(ctx, w.admin, id); err != nil {
		return err
	}
	_, err = b.ExecContext(ctx, fmt.Sprintf("update accounts set balance = balance + 0 where id = %d", (account+1)%ledger.Accounts))
	return errors.Join(err, <-won)
}

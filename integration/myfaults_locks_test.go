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
	forMyFaults(t, faultSetUp{params: "innodb_lock_wait_timeout=1"}, func(t *testing.T, w *faultWorld) { w.checkLockTimeout(ledger.Committed) })
}

// With innodb_rollback_on_timeout the server undoes the whole branch: whoever ignores the error must not commit what came later.
func TestMySQLLockTimeoutThatRollsBackIsNoHalfCommit(t *testing.T) {
	for _, e := range engines.Of(engines.MySQL, engines.MariaDB) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			s := e.Own(t, engines.Own{Args: []string{"--innodb-rollback-on-timeout=1"}})
			w := newFaultWorld(t, newFaultBank(t, s), faultSetUp{params: "innodb_lock_wait_timeout=1"})
			w.checkLockTimeout(ledger.RolledBack)
			w.end()
		})
	}
}

// checkLockTimeout makes transfers whose last statement does not get its lock. swallowed is what must become of one whose application
// ignores that.
func (w *faultWorld) checkLockTimeout(swallowed ledger.Outcome) {
	w.t.Helper()
	const wanted = "update accounts set balance = balance + 0 where id = 63"
	update := func(ctx context.Context, b *xa.Branch) error { _, err := b.ExecContext(ctx, wanted); return err }

	tx := w.lock(63)
	defer tx.Rollback()
	x := w.transfer(faultWork{after: update})
	w.wantTold("returned", x, ledger.RolledBack)
	wantMyError(w.t, "returned", x.err, 1205)

	x = w.transfer(faultWork{after: func(ctx context.Context, b *xa.Branch) error {
		wantMyError(w.t, "statement", update(ctx, b), 1205)
		return nil
	}})
	w.wantTold("ignored", x, swallowed)

	tries := 0
	x = w.transfer(faultWork{opts: &xa.TxOptions{Retry: xa.Retry{Attempts: 2}}, after: func(ctx context.Context, b *xa.Branch) error {
		tries++
		err := update(ctx, b)
		tx.Rollback()
		return err
	}})
	w.wantTold("tried again", x, ledger.Committed)
	if tries != 2 {
		w.t.Errorf("the function was called %d times, want 2", tries)
	}
}

// lock locks an account's row in a transaction of another's.
func (w *faultWorld) lock(account int) *sql.Tx {
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

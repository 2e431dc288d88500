package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// A lock that is not had in time costs the statement, and the branch goes on: the application may try again, or commit the rest.
func TestMySQLLockTimeoutCostsTheStatementAlone(t *testing.T) {
	forMyFaults(t, mySetUp{params: "innodb_lock_wait_timeout=1"}, func(t *testing.T, f *myFaults) { f.checkLockTimeout(ledger.Committed) })
}

// With innodb_rollback_on_timeout the server undoes the whole branch: whoever ignores the error must not commit what came later.
func TestMySQLLockTimeoutThatRollsBackIsNoHalfCommit(t *testing.T) {
	forMyOwn(t, []string{"--innodb-rollback-on-timeout=1"}, func(t *testing.T, s *engines.Server) {
		f := newMyFaults(t, s, mySetUp{params: "innodb_lock_wait_timeout=1"})
		f.checkLockTimeout(ledger.RolledBack)
		f.end()
	})
}

// checkLockTimeout makes transfers whose last statement does not get its lock. swallowed is what must become of one whose application
// ignores that.
func (f *myFaults) checkLockTimeout(swallowed ledger.Outcome) {
	f.t.Helper()
	const wanted = "update accounts set balance = balance + 0 where id = 63"
	update := func(ctx context.Context, b *xa.Branch) error { _, err := b.ExecContext(ctx, wanted); return err }

	tx := f.lock(63)
	defer tx.Rollback()
	_, err := f.transfer(myTransfer{more: update})
	wantMyOutcome(f.t, "returned", err, ledger.RolledBack)
	f.wantMyError("returned", err, 1205)

	_, err = f.transfer(myTransfer{more: func(ctx context.Context, b *xa.Branch) error {
		f.wantMyError("statement", update(ctx, b), 1205)
		return nil
	}})
	wantMyOutcome(f.t, "ignored", err, swallowed)

	tries := 0
	_, err = f.transfer(myTransfer{opts: &xa.TxOptions{Retry: xa.Retry{Attempts: 2}}, more: func(ctx context.Context, b *xa.Branch) error {
		tries++
		err := update(ctx, b)
		tx.Rollback()
		return err
	}})
	wantMyOutcome(f.t, "tried again", err, ledger.Committed)
	if tries != 2 {
		f.t.Errorf("the function was called %d times, want 2", tries)
	}
}

// lock locks an account's row in a transaction of another's.
func (f *myFaults) lock(account int) *sql.Tx {
	f.t.Helper()
	tx, err := f.admin.BeginTx(f.t.Context(), nil)
	if err != nil {
		f.t.Fatal(err)
	}
	mustExec(f.t, tx, fmt.Sprintf("update accounts set balance = balance + 1 where id = %d", account))
	return tx
}

// The victim of a deadlock is rolled back as a whole: nothing of it is applied whatever the application does, and Do may try again.
func TestMySQLDeadlockRollsTheBranchBack(t *testing.T) {
	forMyFaults(t, mySetUp{}, func(t *testing.T, f *myFaults) {
		for _, alone := range []bool{false, true} {
			_, err := f.transfer(myTransfer{alone: alone, more: f.deadlock})
			wantMyOutcome(t, "returned", err, ledger.RolledBack)
			f.wantMyError("returned", err, 1213, 1614)

			for _, then := range []string{"select 1", "update accounts set balance = balance + 0 where id = 63"} {
				_, err = f.transfer(myTransfer{alone: alone, more: func(ctx context.Context, b *xa.Branch) error {
					f.wantMyError("statement", f.deadlock(ctx, b), 1213, 1614)
					_, _ = b.ExecContext(ctx, then)
					return nil
				}})
				wantMyOutcome(t, fmt.Sprintf("ignored, alone %t, then %s", alone, then), err, ledger.RolledBack)
			}

			tries := 0
			_, err = f.transfer(myTransfer{alone: alone, opts: &xa.TxOptions{Retry: xa.Retry{Attempts: 2}}, more: func(ctx context.Context, b *xa.Branch) error {
				if tries++; tries > 1 {
					return nil
				}
				return f.deadlock(ctx, b)
			}})
			wantMyOutcome(t, "tried again", err, ledger.Committed)
			if tries != 2 {
				t.Errorf("the function was called %d times, want 2", tries)
			}
		}
	})
}

// deadlock makes the branch, which has changed one account, a deadlock's victim, and returns its error: the servers choose the
// transaction that changed less.
func (f *myFaults) deadlock(ctx context.Context, b *xa.Branch) error {
	conn, err := f.admin.Conn(ctx)
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
	account := f.made % ledger.Accounts
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
	if err := awaitLockWait(ctx, f.admin, id); err != nil {
		return err
	}
	_, err = b.ExecContext(ctx, fmt.Sprintf("update accounts set balance = balance + 0 where id = %d", (account+1)%ledger.Accounts))
	return errors.Join(err, <-won)
}

// wantMyError fails the test unless err is the server's, with one of these numbers.
func (f *myFaults) wantMyError(what string, err error, numbers ...uint16) {
	f.t.Helper()
	if e, ok := errors.AsType[*mysql.MySQLError](err); ok {
		for _, n := range numbers {
			if e.Number == n {
				return
			}
		}
	}
	f.t.Errorf("%s: %v, want one of the server's errors %d", what, err, numbers)
}

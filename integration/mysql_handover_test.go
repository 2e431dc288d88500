package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/integration/engines"
)

// While a session that prepared a branch is ending, MariaDB lets others finish the branch, answers OK, and does nothing: the change is not there, and
// its locks stay until the server starts again. Recovery comes at just that moment, as the sessions of a killed application end.
func TestMariaDBBranchIsFinishedOnlyAfterItsSessionHasEnded(t *testing.T) {
	const workers, each = 16, 8
	forMySQL(t, engines.MariaDB, func(t *testing.T, s *engines.Server, db *sql.DB) {
		var wg sync.WaitGroup
		for w := range workers {
			mustExec(t, db, fmt.Sprintf("insert into kv values ('%d', '0')", w))
			wg.Go(func() {
				finisher := connMySQL(t, db)
				mustExec(t, finisher, "set innodb_lock_wait_timeout = 1")
				for i, want := 0, 0; i < each && !t.Failed(); i++ {
					commit := i%4 != 3
					if err := endAndFinish(t.Context(), db, finisher, w, commit, i%2 == 0); err != nil {
						t.Errorf("branch %d of worker %d: %v", i, w, err)
						return
					}
					if commit {
						want++
					}
					if n := scanMySQL(t, finisher, fmt.Sprintf("select v from kv where k = '%d'", w)); n != int64(want) {
						t.Errorf("branch %d of worker %d was finished, and %d changes are there, want %d", i, w, n, want)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

// endAndFinish prepares a branch, ends its session, and finishes it from another one at the same time, again and again until the server takes it.
func endAndFinish(ctx context.Context, db *sql.DB, finisher *sql.Conn, worker int, commit, listed bool) error {
	conn, err := db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	xid := newMySQLXID()
	b, err := mysql.New().Begin(ctx, conn, xid, nil)
	if err != nil {
		return err
	}
	if _, err := conn.ExecContext(ctx, fmt.Sprintf("update kv set v = v + 1 where k = '%d'", worker)); err != nil {
		return fmt.Errorf("work: %w", err)
	}
	if _, err := b.Prepare(ctx); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = conn.Raw(func(any) error { return driver.ErrBadConn }) // the pool closes it
	}()
	defer func() { <-ended }()
	for {
		switch {
		case listed:
			err = finishAsListed(ctx, db, finisher, xid, commit)
		case commit:
			err = mysql.New().CommitPrepared(ctx, db, xid)
		default:
			err = mysql.New().RollbackPrepared(ctx, db, xid)
		}
		if !errors.Is(err, drivers.ErrHeld) {
			return err
		}
	}
}

// finishAsListed finishes the branch as recovery does that of a backlog.
func finishAsListed(ctx context.Context, db *sql.DB, conn *sql.Conn, xid drivers.XID, commit bool) error {
	list, err := mysql.New().Prepared(ctx, db)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(list, func(p drivers.Prepared) bool { return p.XID == xid })
	if i < 0 {
		return errors.New("it is not listed any more")
	}
	if list[i].Held {
		return drivers.ErrHeld
	}
	err = mysql.New().(drivers.Finisher).FinishListed(ctx, conn, xid, commit)
	if errors.Is(err, drivers.ErrUnknownXID) { // of the other sessions that are ending, one may be ours for all that it knows
		return drivers.ErrHeld
	}
	return err
}

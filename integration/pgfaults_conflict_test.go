package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/xa"
)

// pgfConflict is why PostgreSQL alone can't commit a transfer.
type pgfConflict struct {
	name      string
	code      string // of the server's error
	class     drivers.Class
	isolation sql.IsolationLevel
	repeat    bool // another attempt may succeed
	// arrange makes the conflict, as the last work of the transfer. undo takes away what stands in the way of another attempt.
	arrange func(ctx context.Context, w *faultWorld, b *xa.Branch, other *sql.Conn) (undo func(), err error)
}

func pgfConflicts() []pgfConflict {
	return []pgfConflict{
		{"serialization failure at PREPARE", "40001", drivers.ClassSerialization, sql.LevelSerializable, true, pgfWriteSkew},
		{"deadlock", "40P01", drivers.ClassDeadlock, sql.LevelDefault, true, pgfDeadlock},
		{"lock timeout in a statement", "55P03", drivers.ClassLockTimeout, sql.LevelDefault, true, pgfLockTimeout(false)},
		{"lock timeout at PREPARE", "55P03", drivers.ClassLockTimeout, sql.LevelDefault, true, pgfLockTimeout(true)},
		{"deferred constraint at PREPARE", "23503", drivers.ClassConstraint, sql.LevelDefault, false, pgfDeferred},
		{"statement timeout", "57014", drivers.ClassOther, sql.LevelDefault, false, pgfSlow},
		{"read-only database", "25006", drivers.ClassOther, sql.LevelDefault, false, pgfReadOnly},
	}
}

// Where PostgreSQL says no, at work or at PREPARE, the transfer is rolled back in both databases, the error tells why, by code, and Do tries
// again by itself exactly where another attempt may succeed.
func TestPostgresConflictRollsBackEverywhereAndIsRepeatedWhereItMay(t *testing.T) {
	forEachPgfSession(t, func(t *testing.T, w *faultWorld) {
		w.exec("insert into item values ('a', ''), ('b', '')", "create table line (item text references item deferrable initially deferred)")
		for _, c := range pgfConflicts() {
			attempts, undone := 0, func() {}
			work := faultWork{after: func(ctx context.Context, b *xa.Branch) error {
				if attempts++; attempts > 1 {
					undone()
					undone = func() {}
					return nil
				}
				other, err := w.admin.Conn(ctx)
				if err != nil {
					return err
				}
				undo, err := c.arrange(ctx, w, b, other)
				undone = func() {
					undo()
					other.Close()
				}
				return err
			}}
			work.opts = &xa.TxOptions{Isolation: c.isolation}
			x := w.transfer(work)
			undone()
			w.want(c.name, x, fateRolledBack)
			var pg *pgconn.PgError
			if !errors.As(x.err, &pg) || pg.Code != c.code || postgres.New().Classify(x.err) != c.class {
				t.Errorf("%s: %v; want code %s and class %d", c.name, x.err, c.code, c.class)
			}

			attempts, undone = 0, func() {}
			work.opts.Retry.Attempts = 3
			x = w.transfer(work)
			undone()
			if c.repeat {
				w.want(c.name+", repeated", x, fateCommitted)
			} else {
				w.want(c.name+", not repeated", x, fateRolledBack)
			}
			if want := map[bool]int{true: 2, false: 1}[c.repeat]; attempts != want {
				t.Errorf("%s: %d attempts, want %d", c.name, attempts, want)
			}
		}
	})
}

// pgfExecAll executes statements one after the other.
func pgfExecAll(ctx context.Context, x pgExecer, statements ...string) error {
	for _, s := range statements {
		if _, err := x.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// pgfWriteSkew has both read what the other writes; the other commits first.
func pgfWriteSkew(ctx context.Context, _ *faultWorld, b *xa.Branch, other *sql.Conn) (func(), error) {
	undo := func() {}
	if err := pgfExecAll(ctx, b, "select count(*) from item"); err != nil {
		return undo, err
	}
	if err := pgfExecAll(ctx, other, "begin isolation level serializable", "select count(*) from item"); err != nil {
		return undo, err
	}
	if err := pgfExecAll(ctx, b, "insert into item values ('ours', '')"); err != nil {
		return undo, err
	}
	return undo, pgfExecAll(ctx, other, "insert into item values (gen_random_uuid()::text, '')", "commit")
}

// pgfDeadlock makes the branch the one that finds the deadlock.
func pgfDeadlock(ctx context.Context, w *faultWorld, b *xa.Branch, other *sql.Conn) (func(), error) {
	done := make(chan error, 1)
	undo := func() {
		if err := <-done; err != nil {
			w.t.Errorf("the other side of the deadlock: %v", err)
		}
		if err := pgfExecAll(w.t.Context(), other, "rollback"); err != nil {
			w.t.Error(err)
		}
	}
	var pid int
	err := other.QueryRowContext(ctx, "select pg_backend_pid()").Scan(&pid)
	err = errors.Join(err,
		pgfExecAll(ctx, b, "set local deadlock_timeout = '1ms'", "update item set v = 'ours' where k = 'a'"),
		pgfExecAll(ctx, other, "begin", "set local deadlock_timeout = '1h'", "update item set v = 'theirs' where k = 'b'"))
	if err != nil {
		done <- nil
		return undo, err
	}
	go func() {
		_, err := other.ExecContext(w.t.Context(), "update item set v = 'theirs' where k = 'a'")
		done <- err
	}()
	w.eventually("the other session waits", func() bool {
		var waits bool
		w.ask(&waits, "select exists (select from pg_stat_activity where pid = $1 and wait_event_type = 'Lock')", pid)
		return waits
	})
	return undo, pgfExecAll(ctx, b, "update item set v = 'ours' where k = 'b'")
}

// pgfLockTimeout has the branch wait, now or at PREPARE, for a lock that it does not get.
func pgfLockTimeout(atPrepare bool) func(context.Context, *faultWorld, *xa.Branch, *sql.Conn) (func(), error) {
	return func(ctx context.Context, w *faultWorld, b *xa.Branch, other *sql.Conn) (func(), error) {
		undo := func() {
			if err := pgfExecAll(w.t.Context(), other, fmt.Sprintf("select pg_advisory_unlock(%d)", pgfGate)); err != nil {
				w.t.Error(err)
			}
		}
		if err := pgfExecAll(ctx, other, fmt.Sprintf("select pg_advisory_lock(%d)", pgfGate)); err != nil {
			return undo, err
		}
		if err := pgfExecAll(ctx, b, "set local lock_timeout = '1ms'"); err != nil {
			return undo, err
		}
		wait := fmt.Sprintf("select pg_advisory_xact_lock(%d)", pgfGate)
		if atPrepare {
			return undo, w.late(ctx, b, wait)
		}
		return undo, pgfExecAll(ctx, b, wait)
	}
}

func pgfDeferred(ctx context.Context, _ *faultWorld, b *xa.Branch, _ *sql.Conn) (func(), error) {
	return func() {}, pgfExecAll(ctx, b, "insert into line values ('missing')")
}

func pgfSlow(ctx context.Context, _ *faultWorld, b *xa.Branch, _ *sql.Conn) (func(), error) {
	return func() {}, pgfExecAll(ctx, b, "set local statement_timeout = '1ms'", "select pg_sleep(3600)")
}

func pgfReadOnly(ctx context.Context, _ *faultWorld, b *xa.Branch, _ *sql.Conn) (func(), error) {
	return func() {}, pgfExecAll(ctx, b, "set transaction read only", "insert into item values ('ours', '')")
}

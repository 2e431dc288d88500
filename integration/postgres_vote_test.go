package integration

import (
	"context"
	"database/sql"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/stdlib"

	"github.com/xasql/xasql/drivers"
)

// pgEnds are the ways to end an active branch for good.
func pgEnds() map[string]func(context.Context, drivers.Branch) error {
	return map[string]func(context.Context, drivers.Branch) error{
		"Prepare": func(ctx context.Context, b drivers.Branch) error {
			_, err := b.Prepare(ctx)
			return err
		},
		"CommitOnePhase": func(ctx context.Context, b drivers.Branch) error { return b.CommitOnePhase(ctx) },
		"ReadOnly": func(ctx context.Context, b drivers.Branch) error {
			_, err := b.(drivers.ReadOnlyBranch).ReadOnly(ctx)
			return err
		},
	}
}

func TestPostgresSwallowedErrorVotesNo(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		for name, end := range pgEnds() {
			b := f.begin(nil)
			b.write()
			if _, err := b.conn.ExecContext(f.Context(), "insert into item values (null)"); err == nil {
				f.Fatal("a null key: no error")
			}
			f.is(name, end(f.Context(), b.Branch), drivers.ErrRolledBack)
			b.wantNothingLeft()
			b.wantClean()
			if err := b.Rollback(f.Context()); err != nil {
				f.Errorf("Rollback after %s: %v", name, err)
			}
		}
	})
}

// An application that commits its branch by SQL has applied half of the global transaction. Nobody may be told that
// it was rolled back.
func TestPostgresApplicationsOwnCommitIsTold(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		ends := pgEnds()
		ends["Rollback"] = func(ctx context.Context, b drivers.Branch) error { return b.Rollback(ctx) }
		for name, end := range ends {
			for _, statements := range []string{"commit", "commit; begin; insert into item values ('later')",
				"commit; begin; insert into item values (null)"} {
				if name == "CommitOnePhase" && strings.Contains(statements, "later") {
					continue // it commits what came later, too: then everything is committed
				}
				b := f.begin(nil)
				b.write()
				_, _ = b.conn.ExecContext(f.Context(), statements) // the last one is meant to fail
				f.is(name+" after "+statements, end(f.Context(), b.Branch), drivers.ErrCommitted)
				f.is("Rollback after "+name, b.Rollback(f.Context()), drivers.ErrCommitted)
				if !b.applied() || b.listed() {
					f.Errorf("%s: visible: %v, prepared: %v", name, b.applied(), b.listed())
				}
			}
		}
	})
}

// What the application sent after its own ROLLBACK has taken effect: that must not be called rolled back.
func TestPostgresApplicationsOwnRollbackVotesNo(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		for name, end := range pgEnds() {
			for _, statements := range []string{"rollback", "rollback; begin; insert into item values ('later')"} {
				if name == "CommitOnePhase" && statements != "rollback" {
					continue // what came later is a transaction, too, and can be committed
				}
				b := f.begin(nil)
				b.write()
				f.exec(b.conn, statements)
				f.is(name, end(f.Context(), b.Branch))
				if err := b.Rollback(f.Context()); err != nil {
					f.Errorf("Rollback: %v", err)
				}
				b.wantNothingLeft()
				b.wantClean()
			}
		}
	})
}

func TestPostgresDeferredConstraintVotesNo(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		f.exec(f.admin, "create table line (item text references item deferrable initially deferred)")
		for _, name := range []string{"Prepare", "CommitOnePhase"} {
			b := f.begin(nil)
			b.write()
			f.exec(b.conn, "insert into line values ('missing')")
			err := pgEnds()[name](f.Context(), b.Branch)
			f.is(name, err, drivers.ErrRolledBack)
			if got := f.driver.Classify(err); got != drivers.ClassConstraint {
				f.Errorf("%s: %v is of class %d", name, err, got)
			}
			b.wantNothingLeft()
			b.wantClean()
		}
	})
}

func TestPostgresSerializationFailureVotesNo(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		f.exec(f.admin, "insert into item values ('a', ''), ('b', '')")
		serializable := &sql.TxOptions{Isolation: sql.LevelSerializable}
		first, second := f.begin(serializable), f.begin(serializable)
		for _, b := range []*pgTestBranch{first, second} {
			var n int
			if err := b.conn.QueryRowContext(f.Context(), "select count(*) from item").Scan(&n); err != nil {
				f.Fatal(err)
			}
		}
		first.write()
		second.write()
		first.want(drivers.VotePrepared)
		_, err := second.Prepare(f.Context())
		f.is("Prepare", err, drivers.ErrRolledBack)
		if got := f.driver.Classify(err); got != drivers.ClassSerialization {
			f.Errorf("%v is of class %d", err, got)
		}
		second.wantNothingLeft()
		second.wantClean()
		if err := first.Commit(f.Context()); err != nil {
			f.Error(err)
		}
	})
}

// A branch that reads under serializable isolation, or that holds what the application locked, must not leave before the decision.
func TestPostgresBranchWithLocksIsNotReadOnly(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		f.exec(f.admin, "insert into item values ('a', '')")
		for _, c := range []struct {
			statement string
			opts      *sql.TxOptions
			want      drivers.Vote
		}{
			{"select * from item", nil, drivers.VoteReadOnly},
			{"update item set v = '' where k = 'none'", &sql.TxOptions{ReadOnly: false}, drivers.VotePrepared},
			{"select * from item", &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true}, drivers.VoteReadOnly},
			{"select * from item", &sql.TxOptions{Isolation: sql.LevelSerializable}, drivers.VotePrepared},
			{"set transaction isolation level serializable", nil, drivers.VotePrepared},
			{"lock table item in share mode", nil, drivers.VotePrepared},
			{"select pg_advisory_xact_lock(1)", nil, drivers.VotePrepared},
			{"select * from item for share", nil, drivers.VotePrepared},
		} {
			b := f.begin(c.opts)
			f.exec(b.conn, c.statement)
			readOnly, err := b.Branch.(drivers.ReadOnlyBranch).ReadOnly(f.Context())
			if err != nil || readOnly != (c.want == drivers.VoteReadOnly) {
				f.Errorf("%s: ReadOnly: %v, %v", c.statement, readOnly, err)
			}
			b.want(c.want)
			if err := b.Rollback(f.Context()); err != nil {
				f.Errorf("%s: Rollback: %v", c.statement, err)
			}
			b.wantClean()
		}
	})
}

// A write through a foreign table gets no transaction ID here, and takes effect there at our COMMIT: taken for
// reading, it would be applied before the decision.
func TestPostgresWriteThroughForeignTableIsRefused(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		f.exec(f.admin, "create extension postgres_fdw")
		f.exec(f.admin, fmt.Sprintf("create server here foreign data wrapper postgres_fdw options (dbname '%s')", pgName(f.url)))
		f.exec(f.admin, "create user mapping for current_user server here options (user 'postgres', password_required 'false')")
		f.exec(f.admin, "create foreign table far (k text, v text) server here options (table_name 'item')")
		b := f.begin(nil)
		f.exec(b.conn, "insert into far values ('far', '')")
		_, err := b.Prepare(f.Context())
		f.is("Prepare", err, drivers.ErrRolledBack, drivers.ErrNotSupported)
		var n int
		if err := f.admin.QueryRowContext(f.Context(), "select count(*) from item").Scan(&n); err != nil || n != 0 {
			f.Errorf("%d rows were written, %v", n, err)
		}
	})
}

func TestPostgresNotifyOfAReadOnlyBranchIsDelivered(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		listener, err := f.admin.Conn(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		defer listener.Close()
		f.exec(listener, "listen news")
		b := f.begin(nil)
		f.exec(b.conn, "notify news, 'told'")
		b.want(drivers.VoteReadOnly)
		ctx, cancel := context.WithTimeout(f.Context(), time.Minute)
		defer cancel()
		err = listener.Raw(func(c any) error {
			n, err := c.(*stdlib.Conn).Conn().WaitForNotification(ctx)
			if err == nil && n.Payload != "told" {
				err = fmt.Errorf("notified of %q", n.Payload)
			}
			return err
		})
		if err != nil {
			f.Error(err)
		}
	})
}

func TestPostgresFullSlotsVoteNo(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		var free int
		err := f.admin.QueryRowContext(f.Context(),
			"select current_setting('max_prepared_transactions')::int - (select count(*) from pg_prepared_xacts)").Scan(&free)
		if err != nil {
			f.Fatal(err)
		}
		defer func() {
			for i := range free {
				f.exec(f.admin, fmt.Sprintf("rollback prepared 'filler %d'", i))
			}
		}()
		filler, err := f.admin.Conn(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		defer filler.Close()
		f.exec(filler, "set synchronous_commit = off")
		for i := range free {
			f.exec(filler, fmt.Sprintf("begin; prepare transaction 'filler %d'", i))
		}
		b := f.begin(nil)
		b.write()
		_, err = b.Prepare(f.Context())
		f.is("Prepare", err, drivers.ErrRolledBack)
		if !strings.Contains(fmt.Sprint(err), "max_prepared_transactions") {
			f.Errorf("%v does not say what to do", err)
		}
		b.wantNothingLeft()
		b.wantClean()
		findings, err := f.driver.Check(f.Context(), f.db)
		if err != nil || len(findings) != 1 || findings[0].Severity != drivers.Warning {
			f.Errorf("Check: %+v, %v; want one warning", findings, err)
		}
	})
}

// nil from CommitOnePhase means durable, whatever the session's synchronous_commit.
func TestPostgresOnePhaseCommitIsFlushed(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		f.exec(f.admin, `create function note() returns trigger language plpgsql as
			$$ begin update item set v = current_setting('synchronous_commit') where k = new.k and v = 'written'; return null; end $$`)
		f.exec(f.admin, "create constraint trigger note after insert on item deferrable initially deferred for each row execute function note()")
		b := f.begin(nil)
		f.exec(b.conn, "set synchronous_commit = off")
		b.write()
		if err := b.CommitOnePhase(f.Context()); err != nil {
			f.Fatal(err)
		}
		for query, want := range map[string]string{"select v from item": "local", "select current_setting('synchronous_commit')": "off"} {
			var got string
			if err := b.conn.QueryRowContext(f.Context(), query).Scan(&got); err != nil || got != want {
				f.Errorf("%s: %q, %v; want %q", query, got, err, want)
			}
		}
	})
}

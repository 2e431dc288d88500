package integration

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
)

func pgName(databaseURL string) string {
	u, err := url.Parse(databaseURL)
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(u.Path, "/")
}

// terminate ends the branch's session from outside.
func (b *pgTestBranch) terminate() {
	b.f.Helper()
	if err := pgTerminate(b.f.Context(), b.f.admin, b.pid); err != nil {
		b.f.Fatal(err)
	}
}

func TestPostgresBeginRefusesAConnectionInATransaction(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		for _, statements := range []string{"begin; select 1", "begin; insert into item values ('a')", "begin; savepoint s"} {
			conn, err := f.db.Conn(f.Context())
			if err != nil {
				f.Fatal(err)
			}
			defer pgDiscard(conn)
			f.exec(conn, statements)
			_, err = f.driver.Begin(f.Context(), conn, pgXID(), nil)
			f.is("Begin after "+statements, err)
		}
		conn, err := f.db.Conn(f.Context())
		if err != nil {
			f.Fatal(err)
		}
		defer pgDiscard(conn)
		f.exec(conn, "begin")
		_, _ = conn.ExecContext(f.Context(), "select 1 / 0")
		_, err = f.driver.Begin(f.Context(), conn, pgXID(), nil)
		f.is("Begin in a failed transaction", err)
	})
}

func TestPostgresSessionLostBeforePrepareClaimsNothing(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		for name, end := range pgEnds() {
			b := f.begin(nil)
			b.write()
			b.terminate()
			err := end(f.Context(), b.Branch)
			f.is(name, err)
			if got := f.driver.Classify(err); got != drivers.ClassConnection {
				f.Errorf("%s: %v is of class %d", name, err, got)
			}
			if err := b.Rollback(f.Context()); err == nil || errors.Is(err, driver.ErrBadConn) {
				f.Errorf("Rollback over a dead connection: %v", err)
			}
			b.wantNothingLeft()
		}
	})
}

func TestPostgresSessionLostAfterPrepareLeavesTheBranch(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		b := f.begin(nil)
		b.write()
		b.want(drivers.VotePrepared)
		b.terminate()
		f.is("Commit", b.Commit(f.Context()))
		if !b.listed() || b.applied() {
			f.Errorf("listed: %v, applied: %v", b.listed(), b.applied())
		}
		if err := f.driver.CommitPrepared(f.Context(), f.db, b.xid); err != nil {
			f.Errorf("CommitPrepared: %v", err)
		}
		if !b.applied() {
			f.Errorf("not applied")
		}
	})
}

// A pool whose connections have all died must not make recovery wait for its next round.
func TestPostgresRecoveryGoesPastDeadPooledConnections(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		b := f.begin(nil)
		b.write()
		b.want(drivers.VotePrepared)
		b.terminate()
		f.db.SetMaxIdleConns(4)
		var idle []*pgTestBranch
		for range 4 {
			idle = append(idle, f.begin(nil))
		}
		for _, b := range idle {
			if err := b.Rollback(f.Context()); err != nil {
				f.Fatal(err)
			}
			b.conn.Close()
		}
		f.exec(f.admin, "select pg_terminate_backend(pid, 30000) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()")
		if err := f.driver.CommitPrepared(f.Context(), f.db, b.xid); err != nil {
			f.Errorf("CommitPrepared: %v", err)
		}
	})
}

func TestPostgresBranchFinishedByAnotherTellsItsOutcome(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		prepared := func() *pgTestBranch {
			b := f.begin(nil)
			b.write()
			b.want(drivers.VotePrepared)
			return b
		}
		commit := func(b *pgTestBranch) {
			if err := f.driver.CommitPrepared(f.Context(), f.admin, b.xid); err != nil {
				f.Fatal(err)
			}
		}
		b := prepared()
		commit(b)
		if err := b.Commit(f.Context()); err != nil {
			f.Errorf("Commit after another's commit: %v", err)
		}
		b.wantClean()

		b = prepared()
		commit(b)
		f.is("Rollback after another's commit", b.Rollback(f.Context()), drivers.ErrCommitted)

		b = prepared()
		f.finish(b)
		f.is("Commit after another's rollback", b.Commit(f.Context()), drivers.ErrRolledBack)
		if err := b.Rollback(f.Context()); err != nil {
			f.Errorf("Rollback after that: %v", err)
		}

		b = prepared()
		f.finish(b)
		if err := b.Rollback(f.Context()); err != nil {
			f.Errorf("Rollback after another's rollback: %v", err)
		}
		b.wantClean()
	})
}

// The server keeps PREPARE waiting after its record is on disk, and the client gives up: the branch is prepared, whatever the
// client was told.
func TestPostgresPrepareThatIsGivenUpClaimsNothing(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		b := f.begin(nil)
		b.write()
		release, err := pgWithholdCommits(f.Context(), f.admin)
		if err != nil {
			f.Fatal(err)
		}
		released := false
		defer func() {
			if !released {
				_ = release()
			}
		}()
		ctx, cancel := context.WithCancel(f.Context())
		given := make(chan struct{})
		go func() {
			defer close(given)
			f.eventuallyTrue("PREPARE waits", b.waitsForStandby)
			cancel()
		}()
		vote, err := b.Prepare(ctx)
		<-given
		if err == nil && vote != drivers.VotePrepared {
			f.Errorf("Prepare: %s", vote)
		}
		if err != nil {
			f.is("Prepare", err)
		}
		if !b.listed() {
			f.Errorf("not listed: this test has not reached the point that it is about")
		}
		released = true
		if err := release(); err != nil {
			f.Fatal(err)
		}
		f.eventually("the branch can be rolled back", func() bool {
			return !errors.Is(f.driver.RollbackPrepared(f.Context(), f.admin, b.xid), drivers.ErrHeld)
		})
		// Its session, which nobody listens to, may be just at the end of PREPARE.
		f.eventually("the branch is not listed any more", func() bool { return !b.listed() })
		b.wantNothingLeft()
	})
}

func TestPostgresBranchThatAnotherIsFinishingIsHeld(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		b := f.begin(nil)
		b.write()
		b.want(drivers.VotePrepared)
		release, err := pgWithholdCommits(f.Context(), f.admin)
		if err != nil {
			f.Fatal(err)
		}
		committed := make(chan error, 1)
		go func() { committed <- b.Commit(f.Context()) }()
		f.eventually("COMMIT PREPARED waits", b.waitsForStandby)
		f.is("CommitPrepared", f.driver.CommitPrepared(f.Context(), f.db, b.xid), drivers.ErrHeld)
		f.is("RollbackPrepared", f.driver.RollbackPrepared(f.Context(), f.db, b.xid), drivers.ErrHeld)
		if err := release(); err != nil {
			f.Error(err)
		}
		if err := <-committed; err != nil {
			f.Errorf("Commit: %v", err)
		}
		if !b.applied() {
			f.Error("not applied")
		}
	})
}

func TestPostgresAnotherRolesBranchIsRefusedByName(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		plain := f.open(f.server.NewUser(f.T, f.url))
		b := f.begin(nil)
		b.write()
		b.want(drivers.VotePrepared)
		for name, finish := range map[string]func() error{
			"CommitPrepared":   func() error { return f.driver.CommitPrepared(f.Context(), plain, b.xid) },
			"RollbackPrepared": func() error { return f.driver.RollbackPrepared(f.Context(), plain, b.xid) },
		} {
			err := finish()
			f.is(name, err)
			if !strings.Contains(fmt.Sprint(err), "only the role that prepared it, or a superuser, may finish it, and that was postgres") {
				f.Errorf("%s: %v does not say who may", name, err)
			}
		}
		list, err := f.driver.Prepared(f.Context(), plain)
		if err != nil || len(list) != 1 || list[0].XID != b.xid || list[0].Owner != "postgres" || time.Since(list[0].At).Abs() > time.Hour {
			f.Errorf("a plain role sees %+v, %v", list, err)
		}
		findings, err := f.driver.Check(f.Context(), plain)
		if err != nil || len(findings) != 1 || !strings.Contains(findings[0].Problem, `prepared by "postgres"`) {
			f.Errorf("Check: %+v, %v; want one finding about another's branch", findings, err)
		}
		if err := b.Rollback(f.Context()); err != nil {
			f.Error(err)
		}
		if findings, err := f.driver.Check(f.Context(), plain); err != nil || len(findings) != 0 {
			f.Errorf("Check of a fit server by a plain role: %+v, %v", findings, err)
		}
	})
}

func TestPostgresBranchOfAnotherDatabaseIsUnknown(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		other := f.open(f.server.NewDatabase(f.T))
		b := f.begin(nil)
		b.write()
		b.want(drivers.VotePrepared)
		list, err := f.driver.Prepared(f.Context(), other)
		if err != nil || len(list) != 0 {
			f.Errorf("the other database lists %+v, %v", list, err)
		}
		f.is("CommitPrepared", f.driver.CommitPrepared(f.Context(), other, b.xid), drivers.ErrUnknownXID)
		if !b.listed() {
			f.Error("the branch is gone")
		}
		if err := b.Commit(f.Context()); err != nil {
			f.Error(err)
		}
	})
}

func TestPostgresIdentityIsTheDatabases(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		plain := f.open(f.server.NewUser(f.T, f.url))
		mine, err := f.driver.Identify(f.Context(), f.db)
		if err != nil || !strings.HasPrefix(mine, "postgres/") {
			f.Fatalf("Identify: %q, %v", mine, err)
		}
		if got, err := f.driver.Identify(f.Context(), plain); got != mine || err != nil {
			f.Errorf("a plain role is told %q, %v; want %q", got, err, mine)
		}
	})
}

// What ends a branch cleans up under a context that has ended, and says that nothing was applied.
func TestPostgresEndedContextRollsBack(t *testing.T) {
	forEachPostgres(t, func(f *pgFixture) {
		ended, cancel := context.WithCancel(f.Context())
		cancel()
		for name, end := range pgEnds() {
			if name == "ReadOnly" {
				continue
			}
			b := f.begin(nil)
			b.write()
			err := end(ended, b.Branch)
			f.is(name, err, drivers.ErrRolledBack)
			if !errors.Is(err, context.Canceled) {
				f.Errorf("%s: %v is not the context's error", name, err)
			}
			if err := b.Rollback(ended); err != nil {
				f.Errorf("Rollback: %v", err)
			}
			b.wantNothingLeft()
			b.wantClean()
		}
		b := f.begin(nil)
		b.write()
		b.want(drivers.VotePrepared)
		f.is("Commit", b.Commit(ended))
		if err := b.Commit(f.Context()); err != nil {
			f.Errorf("Commit, again: %v", err)
		}
		b.wantClean()
	})
}

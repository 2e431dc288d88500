package integration

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// pgfSession is a world whose transfers are harmed by what becomes of the branch's session.
type pgfSession struct {
	*pgfWorld
	pid int // of the session of the transfer that is being harmed
}

const pgfGate = 4711 // the advisory lock that stops who writes into slow, when the transaction ends

// forEachPgfSession runs a test on every version of the server.
func forEachPgfSession(t *testing.T, test func(t *testing.T, w *pgfSession)) {
	t.Helper()
	engines.Start(engines.Of(engines.Postgres)...)
	for _, e := range engines.Of(engines.Postgres) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			w := &pgfSession{pgfWorld: newPgfWorld(t, e.Server(t))}
			w.exec("create table item (k text primary key, v text)", "create table slow (sql text)",
				// What is written there is executed when the transaction is about to be prepared or committed.
				`create function slow() returns trigger language plpgsql as 'begin execute new.sql; return null; end'`,
				"create constraint trigger slow after insert on slow deferrable initially deferred for each row execute function slow()")
			test(t, w)
			w.end()
		})
	}
}

// note learns the session of the branch.
func (w *pgfSession) note(ctx context.Context, b *xa.Branch) error {
	return b.QueryRowContext(ctx, "select pg_backend_pid()").Scan(&w.pid)
}

// late makes a statement run when the branch's transaction is about to end.
func (w *pgfSession) late(ctx context.Context, b *xa.Branch, statement string) error {
	_, err := b.ExecContext(ctx, "insert into slow values ($1)", statement)
	return err
}

// gone tells whether the session has ended.
func (w *pgfSession) gone() bool {
	var here bool
	w.ask(&here, "select exists (select from pg_stat_activity where pid = $1)", w.pid)
	return !here
}

// waits tells whether the session waits for this.
func (w *pgfSession) waits(event string) bool {
	var waits bool
	w.ask(&waits, "select exists (select from pg_stat_activity where pid = $1 and wait_event = $2)", w.pid, event)
	return waits
}

// pgfHarm is what an administrator does to a session.
type pgfHarm struct {
	name string
	do   func(w *pgfSession)
}

func pgfHarms() []pgfHarm {
	return []pgfHarm{
		{"terminate", func(w *pgfSession) {
			if err := pgTerminate(w.t.Context(), w.admin, w.pid); err != nil {
				w.t.Error(err)
			}
		}},
		{"cancel", func(w *pgfSession) { w.exec(fmt.Sprintf("select pg_cancel_backend(%d)", w.pid)) }},
	}
}

// pgfStep is a moment in the life of a transfer at which its session is harmed, and what is to come of that.
type pgfStep struct {
	name string
	// arm makes harm happen at the moment.
	arm func(w *pgfSession, work *pgfWork, harm func())
	// terminated and cancelled are what becomes of the transfer whose session is ended, or whose statement is cancelled. A server ignores
	// the cancelling of a session that executes nothing.
	terminated, cancelled pgfFate
}

// pgfFate is what the maker of a transfer is told, and what has become of it.
type pgfFate struct {
	told  ledger.Outcome
	there bool
}

var (
	pgfCommitted  = pgfFate{ledger.Committed, true}
	pgfRolledBack = pgfFate{ledger.RolledBack, false}
)

// An administrator ends the session of a branch, or cancels its statement, at every step: what the application is told is true, both
// databases agree, and what is in doubt meanwhile is settled without anybody's help.
func TestPostgresSessionHarmedAtEveryStep(t *testing.T) {
	forEachPgfSession(t, func(t *testing.T, w *pgfSession) {
		for _, step := range pgfSteps() {
			for _, harm := range pgfHarms() {
				want := step.terminated
				if harm.name == "cancel" {
					want = step.cancelled
				}
				work := pgfWork{before: w.note}
				step.arm(w, &work, func() { harm.do(w) })
				w.want(step.name+", "+harm.name, w.transfer(work), work, want)
			}
		}
	})
}

// want settles and fails the test unless this has become of the transfer.
func (w *pgfSession) want(what string, x pgfTransfer, work pgfWork, want pgfFate) {
	w.t.Helper()
	w.reached()
	w.settle()
	parties := len(w.databases)
	if work.only {
		parties = 1
	}
	there := w.there(x)
	if x.outcome() != want.told || want.there != (there == parties) || !want.there && there > 0 {
		w.t.Errorf("%s: told %s (%v), and is in %d of %d databases; want %s, there: %v", what, x.outcome(), x.err, there, parties, want.told, want.there)
	}
	w.works()
}

func pgfSteps() []pgfStep {
	at := func(point string) func(*pgfSession, *pgfWork, func()) {
		return func(w *pgfSession, _ *pgfWork, harm func()) { w.at(point, func(string) { harm() }) }
	}
	alone := func(arm func(*pgfSession, *pgfWork, func())) func(*pgfSession, *pgfWork, func()) {
		return func(w *pgfSession, work *pgfWork, harm func()) {
			work.only = true
			arm(w, work, harm)
		}
	}
	unknown, made := pgfFate{ledger.Unknown, false}, pgfFate{ledger.Unknown, true}
	return []pgfStep{
		{"after begin", pgfAfterBegin, pgfRolledBack, pgfCommitted},
		{"after the work", pgfAfterWork, pgfRolledBack, pgfCommitted},
		{"in a statement", pgfInStatement(false), pgfRolledBack, pgfRolledBack},
		{"in a statement whose error is ignored", pgfInStatement(true), pgfRolledBack, pgfRolledBack},
		{"before PREPARE", at("prepare-start"), pgfRolledBack, pgfCommitted},
		{"in PREPARE, before its record", pgfAtGate("prepare-start"), pgfRolledBack, pgfRolledBack},
		{"in PREPARE, after its record", pgfInSyncRep("prepare-start"), pgfRolledBack, pgfCommitted},
		{"prepared", at("prepare-done"), pgfCommitted, pgfCommitted},
		{"prepared, before the decision", at("decide-start"), pgfCommitted, pgfCommitted},
		{"before COMMIT PREPARED", at("commit-start"), pgfCommitted, pgfCommitted},
		{"in COMMIT PREPARED, after its record", pgfInSyncRep("commit-start"), pgfCommitted, pgfCommitted},
		{"committed", at("commit-done"), pgfCommitted, pgfCommitted},
		{"before ROLLBACK", pgfAtRollback(false), pgfRolledBack, pgfRolledBack},
		{"before ROLLBACK PREPARED", pgfAtRollback(true), pgfRolledBack, pgfRolledBack},
		{"alone, before COMMIT", alone(at("commit-start")), unknown, pgfCommitted},
		{"alone, in COMMIT, before its record", alone(pgfAtGate("commit-start")), unknown, pgfRolledBack},
		{"alone, in COMMIT, after its record", alone(pgfInSyncRep("commit-start")), made, pgfCommitted},
	}
}

func pgfAfterBegin(w *pgfSession, work *pgfWork, harm func()) {
	work.before = func(ctx context.Context, b *xa.Branch) error {
		err := w.note(ctx, b)
		harm()
		return err
	}
}

func pgfAfterWork(_ *pgfSession, work *pgfWork, harm func()) {
	work.after = func(context.Context, *xa.Branch) error {
		harm()
		return nil
	}
}

// pgfInStatement harms the session while it executes a statement of the application's.
func pgfInStatement(ignored bool) func(*pgfSession, *pgfWork, func()) {
	return func(w *pgfSession, work *pgfWork, harm func()) {
		work.after = func(ctx context.Context, b *xa.Branch) error {
			harmed := w.behindGate(harm)
			_, err := b.ExecContext(ctx, fmt.Sprintf("select pg_advisory_xact_lock(%d)", pgfGate))
			harmed()
			if err == nil {
				w.t.Error("the statement was not harmed")
			}
			if ignored {
				return nil
			}
			return err
		}
	}
}

// pgfAtGate harms the session while it ends its transaction, which waits for what a deferred trigger does.
func pgfAtGate(point string) func(*pgfSession, *pgfWork, func()) {
	return func(w *pgfSession, work *pgfWork, harm func()) {
		harmed := func() {}
		work.after = func(ctx context.Context, b *xa.Branch) error {
			return w.late(ctx, b, fmt.Sprintf("select pg_advisory_lock(%[1]d), pg_advisory_unlock(%[1]d)", pgfGate))
		}
		done := map[string]string{"prepare-start": "prepare-done", "commit-start": "commit-done"}[point]
		w.at(point, func(string) { harmed = w.behindGate(harm) })
		w.at(done, func(string) { harmed() })
	}
}

// behindGate shuts the gate, and calls harm when the session waits there. The function that it returns waits for that, and opens the gate.
func (w *pgfSession) behindGate(harm func()) (harmed func()) {
	gate, err := w.admin.Conn(w.t.Context())
	if err == nil {
		_, err = gate.ExecContext(w.t.Context(), fmt.Sprintf("select pg_advisory_lock(%d)", pgfGate))
	}
	if err != nil {
		w.t.Errorf("shut the gate: %v", err)
		return func() {}
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.eventually("the session waits at the gate", func() bool { return w.waits("advisory") })
		harm()
	}()
	return func() {
		<-done
		if _, err := gate.ExecContext(w.t.Context(), fmt.Sprintf("select pg_advisory_unlock(%d)", pgfGate)); err != nil {
			w.t.Errorf("open the gate: %v", err)
		}
		gate.Close()
	}
}

// pgfInSyncRep harms the session while it waits, after its record is on disk, for a standby that there is not.
func pgfInSyncRep(point string) func(*pgfSession, *pgfWork, func()) {
	return func(w *pgfSession, _ *pgfWork, harm func()) {
		var release func() error
		done := make(chan struct{})
		w.at(point, func(string) {
			w.exec("truncate item") // where pgWithholdCommits writes something new
			var err error
			if release, err = pgWithholdCommits(w.t.Context(), w.admin); err != nil {
				w.t.Error(err)
				release = func() error { return nil }
			}
			go func() {
				defer close(done)
				w.eventually("the session waits for a standby", func() bool { return w.waits("SyncRep") })
				harm()
			}()
		})
		ended := map[string]string{"prepare-start": "prepare-done", "commit-start": "commit-done"}[point]
		w.at(ended, func(string) {
			<-done
			if err := release(); err != nil {
				w.t.Error(err)
			}
		})
	}
}

// pgfAtRollback harms the session before the transaction is rolled back, because the application wants that: before or after it was prepared.
func pgfAtRollback(prepared bool) func(*pgfSession, *pgfWork, func()) {
	return func(w *pgfSession, work *pgfWork, harm func()) {
		var tx *xa.Tx
		work.after = func(ctx context.Context, _ *xa.Branch) error {
			if prepared {
				tx, _ = xa.FromContext(ctx)
				return nil
			}
			return sql.ErrNoRows
		}
		if prepared {
			w.at("prepare-done", func(string) { tx.SetRollbackOnly(nil) })
		}
		w.at("rollback-start", func(string) { harm() })
	}
}

package integration

import (
	"context"
	"fmt"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

const pgfGate = 4711 // the advisory lock that stops who writes into slow, when the transaction ends

// forEachPgfSession runs a test on every version of the server.
func forEachPgfSession(t *testing.T, test func(t *testing.T, w *faultWorld)) {
	t.Helper()
	onEveryServer(t, func(t *testing.T, s *engines.Server) {
		w := newFaultWorld(t, newFaultBank(t, s), faultSetUp{})
		w.exec("create table item (k text primary key, v text)", "create table slow (sql text)",
			// What is written there is executed when the transaction is about to be prepared or committed.
			`create function slow() returns trigger language plpgsql as 'begin execute new.sql; return null; end'`,
			"create constraint trigger slow after insert on slow deferrable initially deferred for each row execute function slow()")
		test(t, w)
		w.end()
	}, engines.Postgres)
}

// late makes a statement run when the branch's transaction is about to end.
func (w *faultWorld) late(ctx context.Context, b *xa.Branch, statement string) error {
	_, err := b.ExecContext(ctx, "insert into slow values ($1)", statement)
	return err
}

// gone tells whether the session has ended.
func (w *faultWorld) gone() bool {
	var here bool
	w.ask(&here, "select exists (select from pg_stat_activity where pid = $1)", w.session)
	return !here
}

// waits tells whether the session waits for this.
func (w *faultWorld) waits(event string) bool {
	var waits bool
	w.ask(&waits, "select exists (select from pg_stat_activity where pid = $1 and wait_event = $2)", w.session, event)
	return waits
}

// pgfHarm is what an administrator does to a session.
type pgfHarm struct {
	name string
	do   func(w *faultWorld)
}

func pgfHarms() []pgfHarm {
	return []pgfHarm{
		{"terminate", func(w *faultWorld) {
			if err := pgTerminate(w.t.Context(), w.admin, w.session); err != nil {
				w.t.Error(err)
			}
		}},
		{"cancel", func(w *faultWorld) { w.exec(fmt.Sprintf("select pg_cancel_backend(%d)", w.session)) }},
	}
}

// pgfStep is a moment in the life of a transfer at which its session is harmed, and what is to come of that.
type pgfStep struct {
	name string
	// arm makes harm happen at the moment.
	arm func(w *faultWorld, work *faultWork, harm func())
	// terminated and cancelled are what becomes of the transfer whose session is ended, or whose statement is cancelled. A server ignores
	// the cancelling of a session that executes nothing.
	terminated, cancelled faultFate
}

// An administrator ends the session of a branch, or cancels its statement, at every step: what the application is told is true, both
// databases agree, and what is in doubt meanwhile is settled without anybody's help.
func TestPostgresSessionHarmedAtEveryStep(t *testing.T) {
	forEachPgfSession(t, func(t *testing.T, w *faultWorld) {
		for _, step := range pgfSteps() {
			for _, harm := range pgfHarms() {
				want := step.terminated
				if harm.name == "cancel" {
					want = step.cancelled
				}
				var work faultWork
				step.arm(w, &work, func() { harm.do(w) })
				w.want(step.name+", "+harm.name, w.transfer(work), want)
			}
		}
	})
}

func pgfSteps() []pgfStep {
	at := func(point string) func(*faultWorld, *faultWork, func()) {
		return func(w *faultWorld, work *faultWork, harm func()) { w.during(point, work, harm) }
	}
	alone := func(arm func(*faultWorld, *faultWork, func())) func(*faultWorld, *faultWork, func()) {
		return func(w *faultWorld, work *faultWork, harm func()) {
			work.only = true
			arm(w, work, harm)
		}
	}
	unknown, made := faultFate{ledger.Unknown, false}, faultFate{ledger.Unknown, true}
	return []pgfStep{
		{"after begin", at("begun"), fateRolledBack, fateCommitted},
		{"after the work", at("worked"), fateRolledBack, fateCommitted},
		{"in a statement", pgfInStatement(false), fateRolledBack, fateRolledBack},
		{"in a statement whose error is ignored", pgfInStatement(true), fateRolledBack, fateRolledBack},
		{"before PREPARE", at("prepare-start"), fateRolledBack, fateCommitted},
		{"in PREPARE, before its record", pgfAtGate("prepare-start"), fateRolledBack, fateRolledBack},
		{"in PREPARE, after its record", pgfInSyncRep("prepare-start"), fateRolledBack, fateCommitted},
		{"prepared", at("prepare-done"), fateCommitted, fateCommitted},
		{"prepared, before the decision", at("decide-start"), fateCommitted, fateCommitted},
		{"before COMMIT PREPARED", at("commit-start"), fateCommitted, fateCommitted},
		{"in COMMIT PREPARED, after its record", pgfInSyncRep("commit-start"), fateCommitted, fateCommitted},
		{"committed", at("commit-done"), fateCommitted, fateCommitted},
		{"before ROLLBACK", pgfAtRollback(false), fateRolledBack, fateRolledBack},
		{"before ROLLBACK PREPARED", pgfAtRollback(true), fateRolledBack, fateRolledBack},
		{"alone, before COMMIT", alone(at("commit-start")), unknown, fateCommitted},
		{"alone, in COMMIT, before its record", alone(pgfAtGate("commit-start")), unknown, fateRolledBack},
		{"alone, in COMMIT, after its record", alone(pgfInSyncRep("commit-start")), made, fateCommitted},
	}
}

// pgfInStatement harms the session while it executes a statement of the application's.
func pgfInStatement(ignored bool) func(*faultWorld, *faultWork, func()) {
	return func(w *faultWorld, work *faultWork, harm func()) {
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
func pgfAtGate(point string) func(*faultWorld, *faultWork, func()) {
	return func(w *faultWorld, work *faultWork, harm func()) {
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
func (w *faultWorld) behindGate(harm func()) (harmed func()) {
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
func pgfInSyncRep(point string) func(*faultWorld, *faultWork, func()) {
	return func(w *faultWorld, _ *faultWork, harm func()) {
		var release func() error
		done := make(chan struct{})
		w.at(point, func(string) {
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
func pgfAtRollback(prepared bool) func(*faultWorld, *faultWork, func()) {
	return func(w *faultWorld, work *faultWork, harm func()) {
		if prepared {
			*work = w.rollingBack()
		} else {
			*work = work.fail()
		}
		w.at("rollback-start", func(string) { harm() })
	}
}

package integration

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// pgfByHand is a branch that a person finishes by SQL.
type pgfByHand struct {
	point    string // where its transaction stands then
	verb     string // what the person says: commit or rollback
	prepared bool   // the application has the transaction rolled back, once it is prepared
	want     ledger.Outcome
	there    int // in how many databases of two it is in the end
}

// A person who finishes a branch by SQL behind a living application's back, at any moment after it was prepared: where that agrees with the
// decision nobody notices; where it does not, the application is told, and it stays noted until it is forgotten.
func TestPostgresBranchFinishedByHandBehindALivingApplication(t *testing.T) {
	engines.Start(engines.Of(engines.Postgres)...)
	for _, e := range engines.Of(engines.Postgres) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			w := newPgfWorld(t, e.Server(t))
			var heuristic []pgfTransfer
			for _, c := range []pgfByHand{
				{"decide-start", "commit", false, ledger.Committed, 2},
				{"decide-start", "rollback", false, ledger.Heuristic, 1},
				{"commit-start", "commit", false, ledger.Committed, 2},
				{"commit-start", "rollback", false, ledger.Heuristic, 1},
				{"rollback-start", "rollback", true, ledger.RolledBack, 0},
				{"rollback-start", "commit", true, ledger.Heuristic, 1},
			} {
				w.at(c.point, func(id string) { w.exec(w.byHand(c.verb, id)) })
				var work pgfWork
				if c.prepared {
					work = w.rollingBack()
				}
				x := w.transfer(work)
				w.reached()
				w.settle()
				if there := w.there(x); x.outcome() != c.want || there != c.there {
					t.Errorf("%s by hand at %s: told %s (%v), and in %d databases; want %s, %d", c.verb, c.point, x.outcome(), x.err, there, c.want, c.there)
				}
				if noted := len(w.noted(x)); noted != 0 != (c.want == ledger.Heuristic) {
					t.Errorf("%s by hand at %s: %d notes", c.verb, c.point, noted)
				}
				if c.want == ledger.Heuristic {
					heuristic = append(heuristic, x)
				}
			}
			w.works()
			w.shutdown()
			w.wantHeuristic(heuristic)
		})
	}
}

// rollingBack is the work of a transfer that prepares, and is rolled back then.
func (w *pgfWorld) rollingBack() pgfWork {
	var tx *xa.Tx
	w.at("prepare-done", func(string) { tx.SetRollbackOnly(nil) })
	return pgfWork{after: func(ctx context.Context, _ *xa.Branch) error {
		tx, _ = xa.FromContext(ctx)
		return nil
	}}
}

// byHand is the statement that finishes the first database's branch.
func (b *bank) byHand(verb, id string) string {
	return fmt.Sprintf("%s prepared 'xasql.%s.%s'", verb, id, b.databases[0].name)
}

// wantHeuristic fails the test unless the books say that these transfers, and no others, are half there, and xa-recover lists them until they are
// forgotten.
func (w *pgfWorld) wantHeuristic(list []pgfTransfer) {
	w.t.Helper()
	books, told := w.books()
	var want []string
	for _, x := range list {
		want = append(want, x.id+": half there: 1 of 2 entries", x.id+": reported as a heuristic outcome")
	}
	got := ledger.Check(books, told)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("the books say %q, want %q", got, want)
	}
	for _, x := range list {
		status, out := w.recover("list")
		if status != 4 || !strings.Contains(out, x.tx) {
			w.t.Errorf("xa-recover list: status %d, want 4 and %s in:\n%s", status, x.tx, out)
		}
		if status, out := w.recover("forget", x.tx); status != 0 && status != 4 {
			w.t.Errorf("xa-recover forget %s: status %d\n%s", x.tx, status, out)
		}
	}
	if status, out := w.recover("list"); status != 0 {
		w.t.Errorf("xa-recover list when all is forgotten: status %d\n%s", status, out)
	}
}

// A person who finishes a branch by SQL while the application is dead: where that contradicts a decision recovery finds out, and notes it. Before
// the decision there is nothing that it could contradict: the other branch is rolled back as presumed, and a COMMIT PREPARED by
// hand is half a transaction that nobody tells of. xa-recover commit is the way to do that.
func TestPostgresBranchFinishedByHandWhileTheApplicationIsDead(t *testing.T) {
	engines.Start(engines.Of(engines.Postgres)...)
	for _, e := range engines.Of(engines.Postgres) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			for _, c := range []struct {
				killed, verb string
				noted        bool
				there        int
			}{
				{"decide-done", "commit", false, 2},
				{"decide-done", "rollback", true, 1},
				{"decide-start", "rollback", false, 0},
				{"decide-start", "commit", false, 1},
			} {
				t.Run(c.verb+" at "+c.killed, func(t *testing.T) { pgfDeadAndByHand(t, e.Server(t), c.killed, c.verb, c.noted, c.there) })
			}
		})
	}
}

func pgfDeadAndByHand(t *testing.T, s *engines.Server, killed, verb string, noted bool, there int) {
	w := &pgfWorld{t: t, bank: newPgfBank(t, s)}
	w.start(t, "-count", "1", "-kill", killed).want(t, -1)
	w.awaitQuiet(t) // a session that is going away still holds the branch
	id := w.bank.branchID(t)
	db := w.databases[0].open(t)
	pgExec(t, db, w.byHand(verb, id))
	db.Close()
	status := map[bool]int{false: 0, true: 4}[noted]
	for _, command := range []string{"resolve", "list", "resolve"} {
		if got, out := w.recover(command); got != status || noted && !strings.Contains(out, id) {
			t.Errorf("xa-recover %s: status %d, want %d\n%s", command, got, status, out)
		}
	}
	books, _ := w.books()
	n := 0
	for _, book := range books {
		n += len(book.Entries)
	}
	if n != there {
		t.Errorf("in %d databases, want %d", n, there)
	}
	if got, out := w.recover("forget", id); noted && got != 0 {
		t.Errorf("xa-recover forget: status %d\n%s", got, out)
	}
	w.startRecover(t, "list").want(t, 0)
}

// branchID returns the ID of the only transaction of which the first database holds a branch.
func (b *bank) branchID(t *testing.T) string {
	t.Helper()
	db := b.databases[0].open(t)
	defer db.Close()
	var gid string
	err := db.QueryRowContext(t.Context(), "select gid from pg_prepared_xacts where database = current_database()").Scan(&gid)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSuffix(strings.TrimPrefix(gid, "xasql."), "."+b.databases[0].name)
}

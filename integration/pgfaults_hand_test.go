package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
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
	onEveryServer(t, func(t *testing.T, s *engines.Server) {
		w := newFaultWorld(t, newFaultBank(t, s), faultSetUp{})
		var heuristic []faultTransfer
		for _, c := range []pgfByHand{
			{"decide-start", "commit", false, ledger.Committed, 2},
			{"decide-start", "rollback", false, ledger.Heuristic, 1},
			{"commit-start", "commit", false, ledger.Committed, 2},
			{"commit-start", "rollback", false, ledger.Heuristic, 1},
			{"rollback-start", "rollback", true, ledger.RolledBack, 0},
			{"rollback-start", "commit", true, ledger.Heuristic, 1},
		} {
			w.at(c.point, func(id string) { w.exec(w.pgByHand(c.verb, id)) })
			var work faultWork
			if c.prepared {
				work = w.rollingBack()
			}
			x := w.transfer(work)
			what := fmt.Sprintf("%s by hand at %s", c.verb, c.point)
			w.reached(what)
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
	}, engines.Postgres)
}

// pgByHand is the statement that finishes the first database's branch.
func (b *bank) pgByHand(verb, id string) string {
	return fmt.Sprintf("%s prepared 'xasql.%s.%s'", verb, id, b.databases[0].name)
}

// wantHeuristic fails the test unless the books say that these transfers, and no others, are half there, and xa-recover lists them until they are
// forgotten.
func (w *faultWorld) wantHeuristic(list []faultTransfer) {
	w.t.Helper()
	var want []string
	for _, x := range list {
		want = append(want, x.id+": half there: 1 of 2 entries", x.id+": reported as a heuristic outcome")
	}
	got := ledger.Check(w.books(w.t), w.readTold(w.t))
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		w.t.Errorf("the books say %q, want %q", got, want)
	}
	for _, x := range list {
		status, out := w.recover(w.t, "list")
		if status != 4 || !strings.Contains(out, x.tx) {
			w.t.Errorf("xa-recover list: status %d, want 4 and %s in:\n%s", status, x.tx, out)
		}
		if status, out := w.recover(w.t, "forget", x.tx); status != 0 && status != 4 {
			w.t.Errorf("xa-recover forget %s: status %d\n%s", x.tx, status, out)
		}
	}
	if status, out := w.recover(w.t, "list"); status != 0 {
		w.t.Errorf("xa-recover list when all is forgotten: status %d\n%s", status, out)
	}
}

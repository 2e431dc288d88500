package integration

import (
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/sqllog"
)

// Another's commit may be seen before it is on the disk: who acts on it must have made it durable first, by a write of his own. Decide writes to the
// row that it finds; where the engine shows commits early (InnoDB), Lookup and Unsettled write too.
func TestSQLLogMakesDurableWhatItReads(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			databaseURL := s.NewDatabase(t)
			l := openServerLog(t, logConnector(t, databaseURL), dialectOf(e), sqllog.Options{})
			other := openLogs(t, databaseURL, 1)[0]
			for range 3 {
				if o, err := other.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err != nil || o != txlog.Committed {
					t.Fatalf("Decide = %s, %v", o, err)
				}
			}
			var asked int
			if err := s.Open(t, databaseURL).QueryRowContext(t.Context(), "select asked from xasql_decision where id = 't'").Scan(&asked); err != nil || asked != 2 {
				t.Errorf("asked again is %d, %v; want 2", asked, err)
			}
			if e.Kind == engines.Postgres {
				return
			}
			l.faults.set("barrier = barrier + 1", true)
			if o, err := l.Lookup(t.Context(), "t"); err == nil {
				t.Errorf("Lookup tells %s, which it could not make durable", o)
			}
			for d, err := range l.Unsettled(t.Context()) {
				if err == nil {
					t.Errorf("Unsettled tells %+v, which it could not make durable", d)
				}
			}
			l.faults.set("barrier = barrier + 1", false)
			if o, err := l.Lookup(t.Context(), "t"); err != nil || o != txlog.Committed {
				t.Errorf("Lookup = %s, %v", o, err)
			}
		})
	}
}

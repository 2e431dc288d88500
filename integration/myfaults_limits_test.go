package integration

import (
	"fmt"
	"testing"

	"github.com/xasql/xasql/integration/engines"
)

// MariaDB's max_statement_time cuts off a two-phase statement that waits, and its cleaning up too: whatever the server made of it, both databases agree in the end,
// and what the application was told is true. Recovery works under the same limit. (MySQL's max_execution_time is about SELECT alone.)
func TestMariaDBStatementTimeLimitLeavesAllOrNothing(t *testing.T) {
	onEveryServer(t, func(t *testing.T, s *engines.Server) {
		w := newFaultWorld(t, newFaultBank(t, s), faultSetUp{params: "max_statement_time=1"})
		for _, c := range []struct {
			point string
			only  bool
		}{{"prepare-start", false}, {"commit-start", false}, {"commit-start", true}} {
			done := make(chan struct{})
			w.at(c.point, func(string) { w.blockUntilCutOff(done) })
			w.transfer(faultWork{only: c.only})
			w.reached(c.point)
			<-done
			w.settle()
		}
		w.end()
	}, engines.MariaDB)
}

// blockUntilCutOff keeps what commits and prepares waiting until the server has given a statement up for its time. It returns at once, and closes done then.
func (w *faultWorld) blockUntilCutOff(done chan struct{}) {
	const counter = "select variable_value from information_schema.global_status where variable_name = 'max_statement_time_exceeded'"
	var before int64
	w.ask(&before, counter)
	release, err := blockCommits(w.t.Context(), w.admin)
	if err != nil {
		w.t.Error(err)
		close(done)
		return
	}
	go func() {
		defer close(done)
		w.await("a statement's being cut off", fmt.Sprintf("select (%s) > %d", counter, before))
		if err := release(); err != nil {
			w.t.Error(err)
		}
	}()
}

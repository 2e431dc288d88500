package integration

import (
	"fmt"
	"testing"

	"github.com/xasql/xasql/integration/engines"
)

// MariaDB's max_statement_time cuts off a two-phase statement that waits, and its cleaning up too: whatever the server made of it, both databases agree in the end,
// and what the application was told is true. Recovery works under the same limit. (MySQL's max_execution_time is about SELECT alone.)
func TestMariaDBStatementTimeLimitLeavesAllOrNothing(t *testing.T) {
	for _, e := range engines.Of(engines.MariaDB) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			f := newMyFaults(t, e.Server(t), mySetUp{params: "max_statement_time=1"})
			for _, c := range []struct {
				step  string
				alone bool
			}{{myPrepare, false}, {myCommit, false}, {myCommit, true}} {
				var done chan struct{}
				_, err := f.transfer(myTransfer{alone: c.alone, at: func(step string, session int64) error {
					if step == c.step && done == nil {
						done = f.blockUntilCutOff()
					}
					return nil
				}})
				if done == nil {
					t.Fatalf("%s was not reached: %v", c.step, err)
				}
				<-done
				f.settle()
			}
			f.end()
		})
	}
}

// blockUntilCutOff keeps what commits and prepares waiting until the server has given a statement up for its time. It returns at once, and closes the channel then.
func (f *myFaults) blockUntilCutOff() chan struct{} {
	const counter = "select variable_value from information_schema.global_status where variable_name = 'max_statement_time_exceeded'"
	done := make(chan struct{})
	var before int64
	if err := f.admin.QueryRowContext(f.t.Context(), counter).Scan(&before); err != nil {
		f.t.Error(err)
	}
	release, err := blockCommits(f.t.Context(), f.admin)
	if err != nil {
		f.t.Error(err)
		close(done)
		return done
	}
	go func() {
		defer close(done)
		f.await("a statement's being cut off", fmt.Sprintf("select (%s) > %d", counter, before))
		if err := release(); err != nil {
			f.t.Error(err)
		}
	}()
	return done
}

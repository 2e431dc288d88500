package integration

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/go-sql-driver/mysql"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/integration/engines"
)

// forMyFaults runs a test of transfers on every version of MySQL and MariaDB, at whose end nothing may be wrong.
func forMyFaults(t *testing.T, o faultSetUp, test func(t *testing.T, w *faultWorld)) {
	t.Helper()
	onEveryServer(t, func(t *testing.T, s *engines.Server) {
		w := newFaultWorld(t, newFaultBank(t, s), o)
		test(t, w)
		w.end()
	}, engines.MySQL, engines.MariaDB)
}

// maria tells whether the first database is MariaDB's.
func (w *faultWorld) maria() bool { return w.databases[0].server.Engine.Kind == engines.MariaDB }

// kill ends the session of the branch, and returns when it is gone.
func (w *faultWorld) kill() {
	w.t.Helper()
	w.exec(fmt.Sprintf("kill %d", w.session))
	w.awaitGone()
}

// awaitGone returns when the session of the branch has ended.
func (w *faultWorld) awaitGone() {
	w.t.Helper()
	w.await("the session's end", "select count(*) = 0 from information_schema.processlist where id = ?", w.session)
}

// await returns when the query is true.
func (w *faultWorld) await(what, query string, args ...any) {
	w.t.Helper()
	w.eventually(what, func() (ok bool) {
		w.ask(&ok, query, args...)
		return ok
	})
}

// myByHand is the statement by which an operator commits a branch, or rolls it back.
func myByHand(verb string, xid drivers.XID) string {
	return fmt.Sprintf("xa %s x'%x',x'%x',%d", verb, xid.GTRID, xid.BQual, xid.FormatID)
}

// wantMyError fails the test unless err is the server's, with one of these numbers.
func wantMyError(t *testing.T, what string, err error, numbers ...uint16) {
	t.Helper()
	if e, ok := errors.AsType[*mysql.MySQLError](err); !ok || !slices.Contains(numbers, e.Number) {
		t.Errorf("%s: %v, want one of the server's errors %d", what, err, numbers)
	}
}

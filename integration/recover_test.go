package integration

import (
	"net/url"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// An application needs no administrator's rights, nor does recovery, as README and doctor tell: on MySQL the grant of
// XA_RECOVER_ADMIN, elsewhere nothing.
func TestPlainUserRecovers(t *testing.T) {
	es := []engines.Engine{named(t, "postgres:17"), named(t, "mysql:9.7"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	for i, a := range es {
		for _, other := range es[i+1:] {
			t.Run(a.Name+"+"+other.Name, func(t *testing.T) {
				b := newBankOf(t, func(s *engines.Server) string { return plain(t, s) }, a, other)
				for _, k := range []kill{{"decide-start", false}, {"decide-done", true}} {
					b.killAndRecover(t, k, "s-"+k.point, b.restart)
					b.killAndRecover(t, k, "x-"+k.point, b.resolve)
				}
			})
		}
	}
}

// plain returns the URL of a new database as a user who may do no more than an application must.
func plain(t *testing.T, s *engines.Server) string {
	t.Helper()
	user := s.NewUser(t, s.NewDatabase(t))
	if s.Engine.Kind == engines.MySQL {
		u, err := url.Parse(user)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Open(t, s.URL("")).ExecContext(t.Context(), "grant xa_recover_admin on *.* to "+u.User.Username()); err != nil {
			t.Fatal(err)
		}
	}
	return user
}

// kill is a point of the protocol at which the application kills itself, and what must come of the transaction.
type kill struct {
	point     string
	committed bool
}

// killAndRecover kills the application in its second transfer, recovers, and checks.
func (b *bank) killAndRecover(t *testing.T, k kill, prefix string, way func(t *testing.T, prefix string)) {
	t.Helper()
	b.start(t, "-prefix", prefix, "-count", "2", "-kill", k.point, "-after", "1").want(t, -1)
	way(t, prefix)
	books, told := b.check(t)
	id := prefix + "-2"
	if told[prefix+"-1"] != ledger.Committed || told[id] != ledger.Begun {
		t.Fatalf("%s: told %q of the first transfer and %q of the killed one", k.point, told[prefix+"-1"], told[id])
	}
	for name, book := range books {
		if _, there := book.Entries[id]; there != k.committed {
			t.Fatalf("%s: killed at %s: in the books: %v, want %v", name, k.point, there, k.committed)
		}
	}
	if t.Failed() {
		t.FailNow() // what follows would fail for the same reason
	}
}

// restart recovers by the application's next start, which makes another transfer to show that nothing is in its way.
func (b *bank) restart(t *testing.T, prefix string) {
	t.Helper()
	b.start(t, "-prefix", prefix+"-again", "-count", "1").want(t, 0)
}

// resolve recovers by xa-recover, again where a session of the killed program took its time to end.
func (b *bank) resolve(t *testing.T, _ string) {
	t.Helper()
	b.resolveUntilClean(t)
	b.startRecover(t, "list").want(t, 0)
}

package integration

import (
	"net/url"
	"syscall"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// An operator, or a cron job, that runs xa-recover while the application works does no harm: it says that
// something may be in doubt, and leaves it to the application.
func TestRecoverBesideALivingApplicationTouchesNothing(t *testing.T) {
	es := []engines.Engine{named(t, "postgres:17"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	b := newBank(t, append(es, sqlite)...)
	p := b.start(t, "-workers", "4", "-jitter", "50ms")
	b.awaitTold(t, ledger.Committed)
	inHand := false
	for range 10 {
		switch recovery := b.startRecover(t, "resolve"); recovery.wait(t) {
		case 0:
		case 3:
			inHand = true
		default:
			t.Fatalf("xa-recover resolve beside a living application:\n%s", recovery.stderr.String())
		}
	}
	if !inHand {
		t.Error("nothing was proved: xa-recover never saw a branch of the living application")
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.want(t, 0)
	_, told := b.check(t)
	if n := counted(t, told)[ledger.RolledBack]; n > 4 {
		t.Errorf("%d transfers were rolled back: more than SIGTERM can have interrupted", n)
	}
}

// An application needs no administrator's rights, nor does recovery, as README and doctor tell: on MySQL the grant of
// XA_RECOVER_ADMIN, elsewhere nothing.
func TestPlainUserRecovers(t *testing.T) {
	es := []engines.Engine{named(t, "postgres:17"), named(t, "mysql:9.7"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	for i, a := range es {
		for _, other := range es[i+1:] {
			t.Run(a.Name+"+"+other.Name, func(t *testing.T) {
				b := newBankOf(t, func(s *engines.Server) string { return plain(t, s) }, a, other)
				for _, c := range []crash{{"decide-start", false}, {"decide-done", true}} {
					b.crashAndRecover(t, c, "s-"+c.point, b.restart)
					b.crashAndRecover(t, c, "x-"+c.point, b.resolve)
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

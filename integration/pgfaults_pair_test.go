package integration

import (
	"database/sql"
	"fmt"
	"net/url"
	"testing"

	"github.com/xasql/xasql/integration/engines"
)

// pgfPair is a primary and its streaming standby.
type pgfPair struct {
	t                *testing.T
	primary, standby *engines.Server
	admin, db        *sql.DB // of the administrators of the two
}

// newPgfPair starts a primary, and a standby that has all that the primary has.
func newPgfPair(t *testing.T, e engines.Engine) *pgfPair {
	t.Helper()
	p := &pgfPair{t: t}
	p.primary = e.Own(t, engines.Own{Args: []string{"-c", "max_prepared_transactions=20"}})
	p.admin = p.primary.Open(t, p.primary.URL("postgres"))
	pgExec(t, p.admin, "copy (select 'host replication all all scram-sha-256') to program 'cat >> \"$PGDATA\"/pg_hba.conf'", "select pg_reload_conf()")
	u, err := url.Parse(p.primary.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.Host, u.Path = p.primary.Peer(t), ""
	p.standby = e.Own(t, engines.Own{Args: []string{"bash", "-ec", fmt.Sprintf(`export HOME=/tmp
		install -d -o 999 -g 999 -m 700 "$PGDATA"
		install -d -o 999 -g 999 /run/postgresql
		as() { setpriv --reuid=999 --regid=999 --clear-groups "$@"; }
		[ -s "$PGDATA"/PG_VERSION ] || as pg_basebackup -d '%s' -D "$PGDATA" -R -X stream -c fast
		as() { exec setpriv --reuid=999 --regid=999 --clear-groups "$@"; }
		as postgres -c max_prepared_transactions=20`, u)}})
	p.db = p.standby.Open(t, p.standby.URL("postgres"))
	return p
}

// url reaches whichever of the two is the primary.
func (p *pgfPair) url() string {
	p.t.Helper()
	first, err := url.Parse(p.primary.URL("postgres"))
	if err != nil {
		p.t.Fatal(err)
	}
	second, err := url.Parse(p.standby.URL("postgres"))
	if err != nil {
		p.t.Fatal(err)
	}
	first.Host += "," + second.Host
	first.RawQuery += "&target_session_attrs=read-write"
	return first.String()
}

// ask runs a query of one value on the standby.
func (p *pgfPair) ask(to any, query string, args ...any) {
	p.t.Helper()
	if err := p.db.QueryRowContext(p.t.Context(), query, args...).Scan(to); err != nil {
		p.t.Errorf("standby: %s: %v", query, err)
	}
}

// caughtUp waits until the standby has applied all that the primary has written by now.
func (p *pgfPair) caughtUp() {
	p.t.Helper()
	var written string
	if err := p.admin.QueryRowContext(p.t.Context(), "select pg_current_wal_insert_lsn()::text").Scan(&written); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, "the standby catches up", func() bool {
		var done bool
		p.ask(&done, "select coalesce(pg_last_wal_replay_lsn() >= $1::pg_lsn, false)", written)
		return done
	})
}

// cut ends the stream to the standby.
func (p *pgfPair) cut() {
	p.t.Helper()
	pgExec(p.t, p.db, "alter system set primary_conninfo = ''", "select pg_reload_conf()")
	eventually(p.t, "the standby receives nothing more", func() bool {
		var n int
		p.ask(&n, "select count(*) from pg_stat_wal_receiver")
		return n == 0
	})
}

// failOver kills the primary and makes the standby one.
func (p *pgfPair) failOver() {
	p.t.Helper()
	p.primary.Kill(p.t)
	var done bool
	if p.ask(&done, "select pg_promote(true, 60)"); !done {
		p.t.Fatal("the standby was not promoted")
	}
}

package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// evidenceBranch returns a prepared branch's XID and evidence. Its session has ended.
func evidenceBranch(t *testing.T, db *sql.DB, write string) (drivers.XID, string) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pgDiscard(conn)
	xid := pgXID()
	b, err := postgres.New().Begin(t.Context(), conn, xid, nil)
	if err == nil {
		_, err = conn.ExecContext(t.Context(), write)
	}
	if err == nil {
		_, err = b.Prepare(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return xid, b.(drivers.EvidentBranch).Evidence()
}

// evidenceProves fails the test unless the server proves this of the evidence: "committed", "rolled back", or "" for nothing.
func evidenceProves(t *testing.T, db *sql.DB, evidence, want string) {
	t.Helper()
	committed, proven, err := postgres.New().Outcome(t.Context(), db, drivers.XID{}, evidence)
	got := ""
	switch {
	case proven && committed:
		got = "committed"
	case proven:
		got = "rolled back"
	}
	if got != want || err != nil || committed && !proven {
		t.Errorf("evidence %q proves %q, want %q: %v", evidence, got, want, err)
	}
}

// What one role's branch became is proven to any role, from another session, and only in the cluster, the timeline and the time of the branch.
func TestPostgresProvesWhatBecameOfABranch(t *testing.T) {
	engines.Start(engines.Of(engines.Postgres)...)
	for _, e := range engines.Of(engines.Postgres) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			databaseURL := s.NewDatabase(t)
			user := s.NewUser(t, databaseURL)
			plain, admin := s.Open(t, user), s.Open(t, databaseURL)
			pgExec(t, plain, "create table item (k text)")
			for want, finish := range map[string]func(context.Context, *sql.DB, drivers.XID) error{
				"committed": postgres.New().CommitPrepared, "rolled back": postgres.New().RollbackPrepared,
			} {
				xid, evidence := evidenceBranch(t, plain, "insert into item values ('k')")
				evidenceProves(t, plain, evidence, "") // it is prepared
				if err := finish(t.Context(), admin, xid); err != nil {
					t.Fatal(err)
				}
				evidenceProves(t, plain, evidence, want)
				evidenceProves(t, admin, evidence, want)

				cluster, rest, _ := strings.Cut(evidence, ".")
				timeline, id, _ := strings.Cut(rest, "/")
				evidenceProves(t, plain, cluster+"1."+rest, "")
				evidenceProves(t, plain, cluster+".F"+timeline+"/"+id, "")
				// initdb's own transactions are frozen, and forgotten.
				evidenceProves(t, plain, cluster+"."+timeline+"/100", "")
				// A server that has not come so far has lost it, in this timeline or a later one; another cluster knows nothing of it.
				evidenceProves(t, plain, cluster+"."+timeline+"/"+id+"0000000", "rolled back")
				evidenceProves(t, plain, cluster+".0/"+id+"0000000", "rolled back")
				evidenceProves(t, plain, cluster+".F"+timeline+"/"+id+"0000000", "") // it may be this server that stayed behind
				evidenceProves(t, plain, cluster+"1."+timeline+"/"+id+"0000000", "")

				var start string
				if err := plain.QueryRowContext(t.Context(), "select (extract(epoch from pg_postmaster_start_time()) * 1000000)::bigint::text").Scan(&start); err != nil {
					t.Fatal(err)
				}
				evidenceProves(t, plain, "@"+start+"/"+id, want)
				evidenceProves(t, plain, "@"+start+"1/"+id, "")
			}
			if xid, evidence := evidenceBranch(t, plain, "lock table item in share mode"); evidence != "" {
				t.Errorf("a branch that has changed nothing has the evidence %q", evidence)
			} else if err := postgres.New().RollbackPrepared(t.Context(), plain, xid); err != nil {
				t.Error(err)
			}
		})
	}
}

// A function of this name is there on Aurora, which does not tell where it writes.
func TestPostgresThatCannotTellItsTimelineProvesWithinItsRun(t *testing.T) {
	s := named(t, "postgres:17").Server(t)
	databaseURL := s.NewDatabase(t)
	db := s.Open(t, databaseURL)
	pgExec(t, db, "create table item (k text)", "create function aurora_version() returns text language sql as 'select ''16.1''::text'")
	xid, evidence := evidenceBranch(t, db, "insert into item values ('k')")
	if !strings.HasPrefix(evidence, "@") {
		t.Errorf("the evidence is %q", evidence)
	}
	if err := postgres.New().CommitPrepared(t.Context(), db, xid); err != nil {
		t.Fatal(err)
	}
	evidenceProves(t, db, evidence, "committed")
	pgExec(t, db, "drop function aurora_version()")
	evidenceProves(t, db, evidence, "committed")
}

// evidenceByHand is what a person did to the branches of two databases after the decision to commit: 'c' committed it, 'r' rolled it back, '-' left it.
var evidenceByHand = map[string][]string{"postgres:15": {"cc", "rc"}, "postgres:17": {"c-", "r-"}, "postgres:18": {"cr", "cc"}}

// A committed decision whose branches a person finished is told as what it is, after the application and the server have been killed.
func TestBranchesFinishedByHandAreVerifiedAfterCrashes(t *testing.T) {
	engines.Start(engines.Of(engines.Postgres)...)
	for _, e := range engines.Of(engines.Postgres) {
		t.Run(e.Name, func(t *testing.T) {
			var banks []*bank
			for _, hands := range evidenceByHand[e.Name] {
				b := newBank(t, e, e)
				b.start(t, "-count", "2", "-kill", "decide-done", "-after", "1").want(t, -1)
				for i, d := range b.databases {
					d.evidenceFinish(t, hands[i])
				}
				banks = append(banks, b)
			}
			s := e.Server(t)
			s.Kill(t)
			s.Start(t)
			for i, b := range banks {
				b.evidenceCheck(t, evidenceByHand[e.Name][i])
			}
		})
	}
}

// evidenceFinish does what a person does to the database's only branch.
func (d database) evidenceFinish(t *testing.T, how byte) {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	var gid string
	if err := db.QueryRowContext(t.Context(), "select gid from pg_prepared_xacts where database = current_database()").Scan(&gid); err != nil {
		t.Fatalf("%s: its branch: %v", d.name, err)
	}
	switch how {
	case 'c':
		pgExec(t, db, "commit prepared '"+gid+"'")
	case 'r':
		pgExec(t, db, "rollback prepared '"+gid+"'")
	}
}

// evidenceCheck lets xa-recover settle everything, and compares what it tells with what was done by hand.
func (b *bank) evidenceCheck(t *testing.T, hands string) {
	t.Helper()
	var got struct {
		Decisions []struct {
			Settled    bool
			Unverified []string
		}
		Notes []struct{ Kind, Resource string }
	}
	path := filepath.Join(t.TempDir(), "report")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	status := 0
	if strings.Contains(hands, "r") {
		status = 4
	}
	startProgram(t, b.env(), out, "xa-recover", "resolve", "--output", "json").want(t, status)
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	// The first transfer's decision is unsettled too, unless the second one's took its settling along.
	for _, d := range got.Decisions {
		if !d.Settled || len(d.Unverified) > 0 {
			t.Errorf("%s: %s", hands, text)
		}
	}
	var noted, want []string
	for _, n := range got.Notes {
		noted = append(noted, n.Kind+" "+n.Resource)
	}
	for i, d := range b.databases {
		if hands[i] == 'r' {
			want = append(want, "heuristic "+d.name)
		}
	}
	if len(got.Decisions) == 0 || !slices.Equal(noted, want) {
		t.Errorf("%s: want the notes %q: %s", hands, want, text)
	}
}

// A person's COMMIT PREPARED between the decision and the application's own is no heuristic outcome; a ROLLBACK PREPARED is.
func TestBranchFinishedByHandUnderALivingApplication(t *testing.T) {
	s := named(t, "postgres:18").Server(t)
	for statement, want := range map[string]error{"commit prepared": nil, "rollback prepared": xa.ErrHeuristic} {
		log, err := filelog.Open(t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer log.Close()
		var resources []xa.Resource
		for _, name := range []string{"orders", "stock"} {
			db := s.Open(t, s.NewDatabase(t))
			pgExec(t, db, "create table item (k text)")
			resources = append(resources, xa.Resource{Name: name, DB: db, Driver: postgres.New()})
		}
		byHand := func(e xa.TxEvent) {
			pgExec(t, resources[0].DB, fmt.Sprintf("%s 'xasql.%s.orders'", statement, e.ID))
			for d, err := range log.Unsettled(t.Context()) {
				if err != nil || len(d.Evidence) != 2 || d.Evidence[0] == "" || d.Evidence[0] == d.Evidence[1] {
					t.Errorf("the decision is kept as %+v, %v", d, err)
				}
			}
		}
		m, err := xa.Open(t.Context(), xa.Config{Log: log, Resources: resources, Logger: quietLogger(), Trace: &xa.Trace{DecideDone: byHand}})
		if err != nil {
			t.Fatal(err)
		}
		err = m.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
			for _, r := range resources {
				if _, err := m.DB(r.Name).ExecContext(ctx, "insert into item values ('k')"); err != nil {
					return err
				}
			}
			return nil
		})
		if !errors.Is(err, want) || (err == nil) != (want == nil) {
			t.Errorf("%s: %v, want %v", statement, err, want)
		}
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		notes := 0
		for n, err := range log.Noted(t.Context(), "") {
			if err != nil || n.Kind != txlog.Heuristic || n.Resource != "orders" {
				t.Errorf("noted %+v, %v", n, err)
			}
			notes++
		}
		if (notes > 0) != (want != nil) {
			t.Errorf("%s: %d notes", statement, notes)
		}
	}
}

// evidenceReplica makes a replica of a server as it is now: it follows nobody, and is a standby until it is promoted.
const evidenceReplica = `set -eu
export HOME=/var/lib/postgresql
mkdir -p "$PGDATA" /run/postgresql
chown 999:999 "$PGDATA" /run/postgresql
chmod 700 "$PGDATA"
as="setpriv --reuid=999 --regid=999 --clear-groups"
until $as pg_basebackup -h %s -p %s -U postgres -D "$PGDATA" -X stream -c fast; do # the primary may not have read its pg_hba.conf yet
	find "$PGDATA" -mindepth 1 -delete
	sleep 0.1
done
$as touch "$PGDATA/standby.signal"
exec $as postgres -c max_prepared_transactions=10`

// A replica that took over without having got the PREPARE gives the transaction's ID to another: that one's fate proves nothing.
func TestPostgresProvesNothingByAnIDThatIsUsedAgainAfterAFailover(t *testing.T) {
	e := named(t, "postgres:17")
	primary := e.Own(t, engines.Own{Args: []string{"-c", "max_prepared_transactions=10"}})
	u := primary.URL("postgres")
	old := primary.Open(t, u)
	pgExec(t, old, "create table item (k text)",
		`copy (select 'host replication all all trust') to program 'cat >> "$PGDATA/pg_hba.conf"'`, "select pg_reload_conf()")
	host, port, err := net.SplitHostPort(primary.Peer(t))
	if err != nil {
		t.Fatal(err)
	}
	replica := e.Own(t, engines.Own{Args: []string{"bash", "-c", fmt.Sprintf(evidenceReplica, host, port)}})
	next := replica.Open(t, replica.URL("postgres"))

	first, committed := evidenceBranch(t, old, "insert into item values ('k')")
	_, prepared := evidenceBranch(t, old, "insert into item values ('k')")
	if err := postgres.New().CommitPrepared(t.Context(), old, first); err != nil {
		t.Fatal(err)
	}
	evidenceProves(t, old, committed, "committed")
	evidenceProves(t, next, committed, "") // a standby may only be late

	pgExec(t, next, "select pg_promote()")
	evidenceAwait(t, next, "select not pg_is_in_recovery()")
	// It has not come to those IDs: neither branch is, or will be, there.
	evidenceProves(t, next, committed, "rolled back")
	evidenceProves(t, next, prepared, "rolled back")

	_, id, _ := strings.Cut(prepared, "/")
	status := "select coalesce(pg_xact_status('" + id + "'::xid8), '') = 'committed'"
	for used := false; !used; {
		pgExec(t, next, "insert into item values ('another')")
		if err := next.QueryRowContext(t.Context(), "select coalesce((select max(xmin::text::bigint) from item), 0) >= "+id).Scan(&used); err != nil {
			t.Fatal(err)
		}
	}
	evidenceAwait(t, next, status)
	evidenceProves(t, next, committed, "")
	evidenceProves(t, next, prepared, "")

	// What is prepared since is proven as ever.
	xid, evidence := evidenceBranch(t, next, "insert into item values ('k')")
	if !strings.Contains(evidence, ".2/") {
		t.Errorf("the evidence in the second timeline is %q", evidence)
	}
	if err := postgres.New().RollbackPrepared(t.Context(), next, xid); err != nil {
		t.Fatal(err)
	}
	evidenceProves(t, next, evidence, "rolled back")
	evidenceProves(t, old, evidence, "")
}

// evidenceAwait returns when the query's answer is true.
func evidenceAwait(t *testing.T, db *sql.DB, query string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for is := false; !is; {
		if err := db.QueryRowContext(ctx, query).Scan(&is); err != nil {
			t.Fatalf("%s: %v", query, err)
		}
	}
}

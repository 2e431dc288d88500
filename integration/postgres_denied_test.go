package integration

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

// A role that may not ask for what proves outcomes commits as ever, and what became of its branches is told as unverified. The doctor says what to
// type, and that is enough.
func TestPostgresRoleWithoutThePrivilegeToProveCommitsUnverified(t *testing.T) {
	s := named(t, "postgres:17").Server(t)
	databaseURL := s.NewDatabase(t)
	db, admin := s.Open(t, s.NewUser(t, databaseURL)), s.Open(t, databaseURL)
	pgExec(t, db, "create table item (k text)")
	_, evidence := deniedBranch(t, postgres.New(), db)

	denied := []string{"pg_control_system()", "pg_current_wal_insert_lsn()", "pg_walfile_name(pg_lsn)", "pg_postmaster_start_time()", "pg_xact_status(xid8)"}
	for _, f := range denied { // of this database alone
		pgExec(t, admin, "revoke execute on function "+f+" from public")
	}
	evidenceProves(t, db, evidence, "")
	evidenceProves(t, admin, evidence, "committed")

	driver := postgres.New()
	f := deniedFinding(t, driver, db)
	for _, name := range denied {
		if !strings.Contains(f.Problem, name) || !strings.Contains(f.Hint, name) {
			t.Errorf("not told of %s: %+v", name, f)
		}
	}
	xid, none := deniedBranch(t, driver, db)
	if none != "" {
		t.Errorf("%s has the evidence %q", xid, none)
	}
	deniedCommits(t, db)
	deniedUnverified(t, db, xid)

	// Who has not been checked learns it from the first branch, which is surely undone.
	driver = postgres.New()
	if _, _, err := deniedPrepare(t, driver, db); !errors.Is(err, drivers.ErrRolledBack) {
		t.Errorf("the first branch: %v", err)
	}
	deniedBranch(t, driver, db)

	grant, _, _ := strings.Cut(f.Hint, ";")
	pgExec(t, admin, grant)
	if findings, err := driver.Check(t.Context(), db); err != nil || slices.ContainsFunc(findings, isDenied) {
		t.Errorf("after the GRANT: %+v, %v", findings, err)
	}
	if xid, evidence := deniedBranch(t, driver, db); evidence == "" {
		t.Errorf("%s has no evidence", xid)
	}
	evidenceProves(t, db, evidence, "committed")
}

// deniedCommits commits over two branches in one database, of which neither may have evidence.
func deniedCommits(t *testing.T, db *sql.DB) {
	t.Helper()
	log := logtest.NewMemory()
	var resources []xa.Resource
	for _, name := range []string{"a", "b"} {
		resources = append(resources, xa.Resource{Name: name, DB: db, Driver: postgres.New()})
	}
	m, err := xa.Open(t.Context(), xa.Config{Log: log, Resources: resources})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	err = m.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
		for _, r := range resources {
			if _, err := m.DB(r.Name).ExecContext(ctx, "insert into item values ('k')"); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Errorf("a commit without evidence: %v", err)
	}
}

// deniedUnverified recovers the decision on a branch that is gone and has no evidence, as after a crash before it was settled.
func deniedUnverified(t *testing.T, db *sql.DB, xid drivers.XID) {
	t.Helper()
	log := logtest.NewMemory()
	if _, err := log.Decide(t.Context(), txlog.Decision{ID: xid.GTRID, Outcome: txlog.Committed, Resources: []string{xid.BQual}}); err != nil {
		t.Fatal(err)
	}
	r := recovery.Resolver{Log: log, Resources: []drivers.Resource{{Name: xid.BQual, DB: db, Driver: postgres.New()}}}
	report, err := r.Resolve(t.Context())
	if err != nil || len(report.Decisions) != 1 || !report.Decisions[0].Settled || !slices.Equal(report.Decisions[0].Unverified, []string{xid.BQual}) {
		t.Errorf("recovery: %+v, %v; want the decision on %s settled as unverified", report.Decisions, err, xid)
	}
}

// deniedBranch commits a prepared branch.
func deniedBranch(t *testing.T, d *postgres.Driver, db *sql.DB) (xid drivers.XID, evidence string) {
	t.Helper()
	xid, evidence, err := deniedPrepare(t, d, db)
	if err == nil {
		err = d.CommitPrepared(t.Context(), db, xid)
	}
	if err != nil {
		t.Fatal(err)
	}
	return xid, evidence
}

func deniedPrepare(t *testing.T, d *postgres.Driver, db *sql.DB) (drivers.XID, string, error) {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer pgDiscard(conn)
	xid := pgXID()
	b, err := d.Begin(t.Context(), conn, xid, nil)
	if err == nil {
		_, err = conn.ExecContext(t.Context(), "insert into item values ('k')")
	}
	if err != nil {
		t.Fatal(err)
	}
	_, err = b.Prepare(t.Context())
	return xid, b.(drivers.EvidentBranch).Evidence(), err
}

func isDenied(f drivers.Finding) bool { return strings.Contains(f.Problem, "may not execute") }

func deniedFinding(t *testing.T, d *postgres.Driver, db *sql.DB) drivers.Finding {
	t.Helper()
	findings, err := d.Check(t.Context(), db)
	i := slices.IndexFunc(findings, isDenied)
	if err != nil || i < 0 || findings[i].Severity != drivers.Warning {
		t.Fatalf("%+v, %v", findings, err)
	}
	return findings[i]
}

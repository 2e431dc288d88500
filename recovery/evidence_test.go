package recovery_test

import (
	"slices"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// evidently makes both databases prove outcomes to who has the evidence, and leaves a prepared branch in each. No two pieces of evidence are equal.
func (b *bench) evidently(id string) (evidence []string) {
	b.Helper()
	for name, db := range b.dbs {
		db.Style = memdb.Style{Proof: true, Evidence: true}
		if name == "stock" {
			discard(b.prepared("stock", b.id(), "stock"))
			db.Finish(db.Prepared()[0], true)
		}
	}
	b.refresh()
	for _, r := range b.r.Resources {
		conn, err := r.DB.Conn(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		br, err := r.Driver.Begin(b.Context(), conn, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: r.Name}, nil)
		if err == nil {
			_, err = br.Prepare(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
		evidence = append(evidence, br.(drivers.EvidentBranch).Evidence())
		discard(conn)
	}
	return evidence
}

// What a database proves of a branch that is gone is told as it is; without proof it is unverified, and never committed.
func TestBranchThatIsGoneIsVerifiedByItsEvidence(t *testing.T) {
	both := []string{"orders", "stock"}
	same := func(e []string) []string { return e }
	for name, c := range map[string]struct {
		byHand     map[string]bool // by resource: committed, or rolled back
		kept       func(evidence []string) []string
		unverified []string
		noted      []string
	}{
		"committed in both":               {map[string]bool{"orders": true, "stock": true}, same, nil, nil},
		"committed in one, held by one":   {map[string]bool{"orders": true}, same, nil, nil},
		"rolled back in one":              {map[string]bool{"orders": true, "stock": false}, same, nil, []string{"stock"}},
		"rolled back in both":             {map[string]bool{"orders": false, "stock": false}, same, nil, both},
		"no evidence":                     {map[string]bool{"orders": true, "stock": false}, func([]string) []string { return nil }, both, nil},
		"evidence of one only":            {map[string]bool{"orders": true, "stock": true}, func(e []string) []string { return []string{"", e[1]} }, []string{"orders"}, nil},
		"evidence of each other's branch": {map[string]bool{"orders": true, "stock": true}, func(e []string) []string { return []string{e[1], e[0]} }, both, nil},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(b *bench) {
				id := b.id()
				d := txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: both, Evidence: c.kept(b.evidently(id))}
				if _, err := b.log.Decide(b.Context(), d); err != nil {
					b.Fatal(err)
				}
				for resource, commit := range c.byHand {
					b.dbs[resource].Finish(drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: resource}, commit)
				}
				look, err := b.r.Scan(b.Context())
				if err != nil || len(b.notes(id)) > 0 {
					b.Errorf("Scan: %v; noted: %v", err, b.notes(id))
				}
				report := b.resolve()
				for _, r := range []recovery.Report{look, report} {
					if len(r.Decisions) != 1 || !r.Acted && len(c.byHand) < len(both) {
						continue // what Scan leaves is listed, and not settled
					}
					if got := r.Decisions[0]; !got.Settled || !slices.Equal(got.Unverified, c.unverified) {
						b.Errorf("acted %v: got %+v, want unverified %q", r.Acted, got, c.unverified)
					}
				}
				var noted []string
				for _, n := range b.notes(id) {
					if n.Kind == txlog.Heuristic {
						noted = append(noted, n.Resource)
					}
				}
				if !slices.Equal(noted, c.noted) || len(b.unsettled()) != 0 {
					b.Errorf("noted are %q, want %q; unsettled: %q", noted, c.noted, b.unsettled())
				}
			})
		})
	}
}

// A branch that somebody finishes just before recovery's turn is verified as one that was gone before.
func TestBranchThatGoesBeforeItsTurnIsVerified(t *testing.T) {
	for _, commit := range []bool{true, false} {
		run(t, func(b *bench) {
			id := b.id()
			evidence := b.evidently(id)
			if _, err := b.log.Decide(b.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"orders", "stock"}, Evidence: evidence}); err != nil {
				b.Fatal(err)
			}
			orders := b.dbs["orders"]
			orders.Fail(memdb.OpCommitPrepared, memdb.Fault{Hook: func() { orders.Finish(orders.Prepared()[0], commit) }})
			report := b.resolve()
			if n := b.notes(id); (len(n) == 0) != commit || len(report.Decisions) != 1 || len(report.Decisions[0].Unverified) > 0 || count(report, recovery.FinishedElsewhere) != 1 {
				b.Errorf("committed by hand %v: noted %+v, got %+v", commit, n, report)
			}
		})
	}
}

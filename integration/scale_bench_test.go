package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/txlog/sqllog"
)

// BenchmarkBacklog measures how recovery settles what a crash left in doubt in one database: XA_BACKLOG branches (1000), as
// db=mariadb118/log=files/outcome=commit/parallel=8. PostgreSQL bears as many as its max_prepared_transactions: name a server that has
// enough in XA_POSTGRES_18_URL.
func BenchmarkBacklog(b *testing.B) {
	for _, e := range engines.All() {
		if slices.Contains([]string{"postgres:15", "postgres:17"}, e.Name) {
			continue
		}
		b.Run("db="+strings.NewReplacer(":", "", ".", "").Replace(e.Name), func(b *testing.B) {
			s := e.Server(b)
			for _, log := range []string{"files", "tables"} {
				for _, outcome := range []txlog.Outcome{txlog.Committed, txlog.Undecided} {
					for _, parallel := range []int{1, 4, 8, 16, 32, 64} {
						b.Run(fmt.Sprintf("log=%s/outcome=%s/parallel=%d", log, outcome, parallel), func(b *testing.B) {
							benchmarkBacklog(b, s, log, outcome, parallel)
						})
					}
				}
			}
		})
	}
}

func backlogSize(b *testing.B, s *engines.Server) int {
	n := 1000
	if v := os.Getenv("XA_BACKLOG"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			b.Fatal(err)
		}
	}
	if s.Engine.Kind == engines.Postgres {
		var most int
		if err := s.Open(b, s.URL("postgres")).QueryRow("select current_setting('max_prepared_transactions')::int").Scan(&most); err != nil {
			b.Fatal(err)
		}
		n = min(n, most)
	}
	return n
}

func benchmarkBacklog(b *testing.B, s *engines.Server, kind string, outcome txlog.Outcome, parallel int) {
	n := backlogSize(b, s)
	log := backlogLog(b, s, kind)
	back := newBacklog(b, s, parallel+1)
	var took, listing time.Duration
	for range b.N {
		b.StopTimer()
		back.prepare(b, log.ID(), n)
		if outcome == txlog.Committed {
			back.decide(b, log)
		}
		back.awaitFree(b)
		begun := time.Now()
		if _, err := back.resource.Driver.Prepared(b.Context(), back.resource.DB); err != nil {
			b.Fatal(err)
		}
		listing += time.Since(begun)
		r := recovery.Resolver{Log: log, Resources: []drivers.Resource{back.resource}, Parallel: parallel, Timeout: time.Hour, Logger: quietLogger()}
		b.StartTimer()
		begun = time.Now()
		report, err := r.Resolve(b.Context())
		took += time.Since(begun)
		if err != nil || !report.Clean() || len(report.Resources[0].Branches) != n {
			b.Fatalf("%v, %d branches in doubt of %d, unreached %v", err, report.InDoubt(), len(report.Resources[0].Branches), report.Resources[0].Err)
		}
	}
	b.ReportMetric(float64(n*b.N)/took.Seconds(), "branches/s")
	b.ReportMetric(listing.Seconds()*1e3/float64(b.N), "list-ms")
}

func backlogLog(b *testing.B, s *engines.Server, kind string) txlog.Log {
	b.Helper()
	var log txlog.Log
	var err error
	if kind == "files" {
		log, err = filelog.Open(b.TempDir(), nil)
	} else {
		log, err = sqllog.Open(b.Context(), s.Open(b, s.NewDatabase(b)), dialectOf(s.Engine), &sqllog.Options{Logger: quietLogger(), Lease: time.Minute})
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { log.Close() })
	return log
}

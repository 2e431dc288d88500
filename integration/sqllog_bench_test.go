package integration

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/txlog/sqllog"
)

// BenchmarkSQLLog measures the log on each kind of database, as log=postgres17/callers=32, and before it, as
// log=postgres17/bare, what the database can do for one caller: a plain INSERT of as many bytes into a table with one key, committed.
func BenchmarkSQLLog(b *testing.B) {
	for _, e := range engines.All() {
		if slices.Contains([]string{"postgres:15", "postgres:18", "mariadb:10.11"}, e.Name) {
			continue
		}
		b.Run("log="+strings.NewReplacer(":", "", ".", "").Replace(e.Name), func(b *testing.B) {
			s := e.Server(b)
			databaseURL := s.NewDatabase(b)
			benchmarkLog(b, s.Open(b, databaseURL), dialectOf(e))
		})
	}
	b.Run("log=sqlite", func(b *testing.B) {
		db, err := sql.Open("sqlite3", "file:"+filepath.Join(b.TempDir(), "log.db")+"?_journal_mode=WAL&_synchronous=FULL")
		if err != nil {
			b.Fatal(err)
		}
		defer db.Close()
		benchmarkLog(b, db, sqllog.SQLite)
	})
}

func benchmarkLog(b *testing.B, db *sql.DB, d sqllog.Dialect) {
	b.Run("bare", func(b *testing.B) { bareInserts(b, db, d) })
	log, err := sqllog.Open(b.Context(), db, d, &sqllog.Options{Logger: quietLogger(), Lease: time.Minute})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	logtest.Benchmark(b, log)
}

func bareInserts(b *testing.B, db *sql.DB, d sqllog.Dialect) {
	ctx := context.Background()
	conn, err := db.Conn(ctx)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	query := "insert into bare values (?, ?, ?, ?)"
	if d == sqllog.Postgres {
		query = "insert into bare values ($1, $2, $3, $4)"
	}
	for _, s := range []string{"drop table if exists bare", "create table bare (id varchar(255) primary key, outcome varchar(9), resources varchar(1000), at bigint)"} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			b.Fatal(err)
		}
	}
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if _, err := conn.ExecContext(ctx, query, fmt.Sprintf("k7f3q2mak7f3.01JD%022d", i), "committed", "orders ledger", begin.UnixMicro()); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(begin))
	}
	slices.Sort(took)
	b.ReportMetric(float64(len(took))/b.Elapsed().Seconds(), "decisions/s")
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
}

//go:build cgo && (linux || darwin)

package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
)

// BenchmarkTransaction compares branches with plain transactions that are as durable (synchronous=FULL).
func BenchmarkTransaction(b *testing.B) {
	for _, tables := range []int{1, 20} {
		for _, kind := range []string{"plain", "one-phase", "two-phase"} {
			b.Run(fmt.Sprintf("tables=%d/rows=1/kind=%s", tables, kind), func(b *testing.B) {
				benchmark(b, tables, kind, `UPDATE t0 SET v = v + 1 WHERE id = 7`)
			})
		}
	}
	for _, kind := range []string{"plain", "one-phase", "two-phase"} {
		b.Run("tables=1/rows=20000/kind="+kind, func(b *testing.B) {
			benchmark(b, 1, kind, `UPDATE t0 SET v = v + 1`)
		})
	}
}

func benchmark(b *testing.B, tables int, kind, statement string) {
	db := open(b, filepath.Join(b.TempDir(), "bench.db"), "&_synchronous=FULL")
	for i := range tables {
		run(b, db, fmt.Sprintf(`CREATE TABLE t%d(id INTEGER PRIMARY KEY, v INT, s TEXT)`, i))
	}
	run(b, db, `WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 20000) INSERT INTO t0 SELECT i, 0, 'row ' || i FROM s`)
	conn, err := db.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	n := 0
	for b.Loop() {
		n++
		if kind == "plain" {
			run(b, conn, "BEGIN IMMEDIATE", statement, "COMMIT")
			continue
		}
		br, err := New().Begin(b.Context(), conn, xid(fmt.Sprint(n)), nil)
		if err != nil {
			b.Fatal(err)
		}
		run(b, conn, statement)
		if kind == "one-phase" {
			err = br.CommitOnePhase(b.Context())
		} else {
			wantPrepared(b, br)
			err = br.Commit(b.Context())
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	if got := one(b, db, `SELECT v FROM t0 WHERE id = 7`); got != fmt.Sprint(n) {
		b.Errorf("%s after %d transactions", got, n)
	}
}

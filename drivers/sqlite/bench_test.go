//go:build cgo && (linux || darwin)

package sqlite

import (
	"fmt"
	"path/filepath"
	"testing"
)

// BenchmarkTransaction compares branches with plain transactions on a file without fences, which are as durable (synchronous=FULL).
// TMPDIR says on which disk: in memory, only the processor's time is left.
func BenchmarkTransaction(b *testing.B) {
	for _, op := range []struct {
		name       string
		statements []string
	}{
		{"update-1", []string{`UPDATE t0 SET v = v + 1 WHERE id = 7`}},
		{"insert-1", []string{`INSERT INTO t0(v, s) VALUES (1, 'one more')`}},
		{"update-1000", []string{`UPDATE t0 SET v = v + 1 WHERE id <= 1000`}},
		{"insert-1000x1", repeat(1000, `INSERT INTO t0(v, s) VALUES (1, 'one more')`)},
	} {
		for _, tables := range []int{1, 20} {
			for _, kind := range []string{"plain", "fenced", "one-phase", "two-phase"} {
				b.Run(fmt.Sprintf("op=%s/tables=%d/kind=%s", op.name, tables, kind), func(b *testing.B) {
					benchmark(b, tables, kind, op.statements)
				})
			}
		}
	}
}

func repeat(n int, statement string) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = statement
	}
	return all
}

func benchmark(b *testing.B, tables int, kind string, statements []string) {
	db := open(b, filepath.Join(b.TempDir(), "bench.db"), "&_synchronous=FULL")
	for i := range tables {
		run(b, db, fmt.Sprintf(`CREATE TABLE t%d(id INTEGER PRIMARY KEY, v INT, s TEXT)`, i))
	}
	run(b, db, `WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < 2000) INSERT INTO t0 SELECT i, 0, 'row ' || i FROM s`)
	conn, err := db.Conn(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	if kind != "plain" { // the first Begin makes the fence
		br, err := New().Begin(b.Context(), conn, xid("fence"), nil)
		wantIs(b, err)
		wantIs(b, br.Rollback(b.Context()))
	}
	n := 0
	for b.Loop() {
		n++
		if kind == "plain" || kind == "fenced" {
			run(b, conn, "BEGIN IMMEDIATE")
			run(b, conn, statements...)
			run(b, conn, "COMMIT")
			continue
		}
		br, err := New().Begin(b.Context(), conn, xid(fmt.Sprint(n)), nil)
		if err != nil {
			b.Fatal(err)
		}
		run(b, conn, statements...)
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
	b.StopTimer()
	want := fmt.Sprint(2000+n*len(statements), "|0")
	if statements[0][0] == 'U' {
		want = fmt.Sprint("2000|", n)
	}
	if got := one(b, db, `SELECT count(*), max(v * (id <= 2000)) FROM t0`); got != want {
		b.Errorf("rows and sum %s, want %s", got, want)
	}
}

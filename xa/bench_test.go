package xa_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"testing"

	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

// BenchmarkDo measures what the manager itself costs: databases and log are in memory.
func BenchmarkDo(b *testing.B) {
	for branches := 1; branches <= 3; branches++ {
		b.Run(fmt.Sprintf("branches=%d/rm=memory", branches), func(b *testing.B) {
			cfg := xa.Config{Log: logtest.NewMemory(), Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
			var names []string
			var dbs []*memdb.DB
			for i := range branches {
				db := memdb.New(fmt.Sprint("db", i))
				pool := db.Pool()
				defer pool.Close()
				names, dbs = append(names, fmt.Sprint("db", i)), append(dbs, db)
				cfg.Resources = append(cfg.Resources, xa.Resource{Name: names[i], DB: pool, Driver: db.Driver()})
			}
			m, err := xa.Open(b.Context(), cfg)
			if err != nil {
				b.Fatal(err)
			}
			defer m.Close()
			b.ReportAllocs()
			last := ""
			for n := 0; b.Loop(); n++ {
				last = fmt.Sprint(n)
				err := m.Do(b.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
					all, err := tx.Branches(ctx, names...)
					for i := 0; err == nil && i < len(all); i++ {
						_, err = all[i].ExecContext(ctx, "PUT k ?", last)
					}
					return err
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			for _, db := range dbs {
				if got, _ := db.Get("k"); got != last {
					b.Fatalf("k is %q, want %q", got, last)
				}
			}
		})
	}
}

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/txlog/sqllog"
	"github.com/xasql/xasql/xa"
)

// The log's database is a resource, and so is its very pool, which is smaller than the number of transactions at once: all its connections
// belong to branches that wait for Decide. Some of the log's sessions are ended meanwhile.
func TestTheLogsPoolMayBeAResourceToo(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			second := named(t, map[bool]string{true: "mariadb:11.8", false: "postgres:17"}[e.Kind == engines.Postgres])
			logURL := e.Server(t).NewDatabase(t)
			logDB := e.Server(t).Open(t, logURL)
			otherDB := second.Server(t).Open(t, second.Server(t).NewDatabase(t))
			logDB.SetMaxOpenConns(2 + 3)
			driver := map[bool]drivers.Driver{true: postgres.New(), false: mysql.New()}
			resources := []xa.Resource{
				{Name: "with-log", DB: logDB, Driver: driver[e.Kind == engines.Postgres]},
				{Name: "other", DB: otherDB, Driver: driver[second.Kind == engines.Postgres]},
			}
			for _, r := range resources {
				execAll(t, r.DB, "create table done (id int primary key)")
			}
			log, err := sqllog.Open(t.Context(), logDB, dialectOf(e), &sqllog.Options{Logger: quietLogger()})
			if err != nil {
				t.Fatal(err)
			}
			defer log.Close()
			m, err := xa.Open(t.Context(), xa.Config{Log: log, Resources: resources, Logger: quietLogger()})
			if err != nil {
				t.Fatal(err)
			}
			defer m.Close()

			const workers, each = 12, 10
			var mu sync.Mutex
			var told []int
			insert := func(id int) {
				err := m.Do(t.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
					for _, r := range resources {
						b, err := tx.Branch(ctx, r.Name)
						if err != nil {
							return err
						}
						if _, err := b.ExecContext(ctx, fmt.Sprintf("insert into done values (%d)", id)); err != nil {
							return err
						}
					}
					return nil
				})
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					told = append(told, id)
				case !errors.Is(err, xa.ErrRolledBack):
					t.Errorf("transaction %d: %v", id, err)
				}
			}
			admin := e.Server(t).Open(t, e.Server(t).URL(map[bool]string{true: "postgres", false: "mysql"}[e.Kind == engines.Postgres]))
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					for i := range each {
						insert(w*each + i)
						if w == 0 && i%4 == 2 {
							endSessions(t, admin, logURL)
						}
					}
				})
			}
			wg.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := m.Shutdown(ctx); err != nil {
				t.Errorf("Shutdown: %v", err)
			}
			slices.Sort(told)
			for _, r := range resources {
				if got := idsIn(t, r); !slices.Equal(got, told) {
					t.Errorf("%s holds %v, told were %v", r.Name, got, told)
				}
			}
			t.Logf("%d of %d transactions were committed", len(told), workers*each)
			if len(told) < each {
				t.Error("hardly any: nothing is shown")
			}
		})
	}
}

func idsIn(t *testing.T, r xa.Resource) []int {
	t.Helper()
	rows, err := r.DB.QueryContext(t.Context(), "select id from done order by id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	ids := []int{}
	for rows.Next() {
		var id int
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

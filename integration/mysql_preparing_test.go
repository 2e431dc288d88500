package integration

import (
	"database/sql"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
)

// A client that is killed while its XA PREPARE is executed leaves a branch that is in doubt only later: recovery must see that
// (rule P2).
func TestMySQLPrepareThatIsUnderWayIsListed(t *testing.T) {
	for _, kind := range []string{engines.MySQL, engines.MariaDB} {
		forMySQL(t, kind, func(t *testing.T, s *engines.Server, db *sql.DB) {
			b := beginMySQL(t, db, nil)
			mustExec(t, b.conn, "insert into kv values ('a', 'b')")
			release, err := blockCommits(t.Context(), db)
			if err != nil {
				t.Fatal(err)
			}
			prepared := make(chan error, 1)
			go func() {
				_, err := b.Prepare(t.Context())
				prepared <- err
			}()
			for limit := time.After(time.Minute); ; {
				if p := preparedMySQL(t, db, b.xid); p != nil && p.Held {
					break
				}
				select {
				case <-limit:
					t.Fatal("it is not listed while XA PREPARE is executed")
				case <-time.After(10 * time.Millisecond):
				}
			}
			if err := release(); err != nil {
				t.Fatal(err)
			}
			if err := <-prepared; err != nil {
				t.Fatal(err)
			}
			if preparedMySQL(t, db, b.xid) == nil {
				t.Error("it is not listed when it is prepared")
			}
			mustDo(t, b.Rollback)
			b.conn.Close()
		})
	}
}

package integration

import (
	"context"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// A disk that is full under a table of InnoDB's costs the transaction that finds no room all of its work, in both databases: MySQL refuses the statement, MariaDB's
// server may end, and starts again when there is room.
func TestMySQLFullDiskUnderTheData(t *testing.T) {
	for _, e := range engines.Of(engines.MySQL, engines.MariaDB) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			disk := newPgfDisk(t, "24m")
			own := engines.Own{Mounts: []string{disk.dir + ":/disk"}}
			if e.Kind == engines.MySQL {
				own.Args = []string{"--innodb-directories=/disk"}
			}
			s := e.Own(t, own)
			f := newMyFaults(t, s, mySetUp{})
			mustExecMy(f, "create table big (v longtext) engine = innodb data directory = '/disk'")
			_, err := f.transfer(myTransfer{more: func(ctx context.Context, b *xa.Branch) error {
				disk.fill()
				for range 64 {
					if _, err := b.ExecContext(ctx, "insert into big values (repeat('x', 1000000))"); err != nil {
						return err
					}
				}
				return nil
			}})
			disk.free()
			s.Revive(t)
			f.settle()
			wantMyOutcome(t, "no room", err, ledger.RolledBack)
			if e.Kind == engines.MySQL {
				f.wantMyError("no room", err, 1114)
			}
			if n := scanMySQL(t, f.admin, "select count(*) from big"); n != 0 {
				t.Errorf("%d rows are left of the transaction", n)
			}
			_, err = f.transfer(myTransfer{})
			wantMyOutcome(t, "with room", err, ledger.Committed)
			f.end()
		})
	}
}

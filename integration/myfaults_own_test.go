package integration

import (
	"context"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/xa"
)

// What takes a server that is set up for it.
func TestMySQLServerOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, e := range engines.Of(engines.MySQL, engines.MariaDB) {
		t.Run(e.Name, func(t *testing.T) {
			t.Parallel()
			disk := newFaultDisk(t, "24m")
			own := engines.Own{Args: []string{"--innodb-rollback-on-timeout=1"}, Mounts: []string{disk.dir + ":/disk"}}
			if e.Kind == engines.MySQL {
				own.Args = append(own.Args, "--innodb-directories=/disk")
			}
			s := e.Own(t, own)
			t.Run("a lock timeout that rolls back is no half commit", func(t *testing.T) { testRollbackOnLockTimeout(t, s) })
			t.Run("a full disk under the data costs the transaction all", func(t *testing.T) { testFullDisk(t, s, disk) })
		})
	}
}

// With innodb_rollback_on_timeout the server undoes the whole branch: whoever ignores the error must not commit what came later.
func testRollbackOnLockTimeout(t *testing.T, s *engines.Server) {
	testLockTimeout(t, s, ledger.RolledBack)
}

// A disk that is full under a table of InnoDB's costs the transaction that finds no room all of its work, in both databases: MySQL refuses the statement, MariaDB's
// server may end, and starts again when there is room.
func testFullDisk(t *testing.T, s *engines.Server, disk *faultDisk) {
	w := newFaultWorld(t, newFaultBank(t, s), faultSetUp{})
	w.exec("create table big (v longtext) engine = innodb data directory = '/disk'")
	x := w.transfer(faultWork{after: func(ctx context.Context, b *xa.Branch) error {
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
	if !w.maria() {
		wantMyError(t, "no room", x.err, 1114)
	}
	w.want("no room", x, fateRolledBack)
	if n := scanMySQL(t, w.admin, "select count(*) from big"); n != 0 {
		t.Errorf("%d rows are left of the transaction", n)
	}
	w.end()
}

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/integration/engines"
)

// A person who finishes a branch by SQL while the application is dead: neither server can prove what he did, so recovery calls the branch of a committed
// transaction unverified, also where he agreed with the decision, and never committed. Before the decision there is nothing that he could contradict: the other branch is
// rolled back as presumed, and an XA COMMIT by hand is half a transaction that nobody tells of. xa-recover commit is the way to do that.
func TestMySQLBranchFinishedByHandWhileTheApplicationIsDead(t *testing.T) {
	forMyServers(t, func(t *testing.T, s *engines.Server) {
		for _, c := range []struct {
			killed, verb string
			unverified   bool
			there        int
		}{
			{"decide-done", "XA COMMIT", true, 2},
			{"decide-done", "XA ROLLBACK", true, 1},
			{"decide-start", "XA ROLLBACK", false, 0},
			{"decide-start", "XA COMMIT", false, 1},
		} {
			t.Run(c.verb+" at "+c.killed, func(t *testing.T) { myDeadAndByHand(t, s, c.killed, c.verb, c.unverified, c.there) })
		}
	})
}

func myDeadAndByHand(t *testing.T, s *engines.Server, killed, verb string, unverified bool, there int) {
	b := newMyBank(t, s)
	b.start(t, "-count", "1", "-kill", killed).want(t, -1)
	admin := s.Open(t, b.databases[0].url)
	xid := b.awaitFree(t)
	mustExec(t, admin, fmt.Sprintf("%s x'%x',x'%x',%d", verb, xid.GTRID, xid.BQual, xid.FormatID))

	resolve := b.startRecover(t, "resolve")
	status, told := resolve.wait(t), resolve.stderr.String()
	if status != 0 || strings.Contains(told, "unverified") != unverified {
		t.Errorf("xa-recover resolve: status %d, want 0, unverified: %t\n%s", status, unverified, told)
	}
	b.startRecover(t, "resolve").want(t, 0)
	b.startRecover(t, "list").want(t, 0)
	n := 0
	for _, d := range b.databases {
		n += len(d.check(t, b.checkLog(t)).Entries)
	}
	if n != there {
		t.Errorf("in %d databases, want %d", n, there)
	}
}

// awaitFree returns the only branch that the first database's server has of this bank, when its session has handed it over.
func (b *bank) awaitFree(t *testing.T) drivers.XID {
	t.Helper()
	db := b.databases[0].open(t)
	defer db.Close()
	id, _ := matrixLog(t, strings.TrimPrefix(b.log, "file:"))
	for limit := time.Now().Add(myPatience); time.Now().Before(limit); {
		list, err := mysql.New().Prepared(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(p drivers.Prepared) bool { return strings.HasPrefix(p.XID.GTRID, id+".") })
		if i >= 0 && !list[i].Held {
			return list[i].XID
		}
	}
	t.Fatalf("no branch of %s is free after %v", id, myPatience)
	return drivers.XID{}
}

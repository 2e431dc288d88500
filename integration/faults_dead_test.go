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

// finishedWhileDead is a branch that a person finishes by SQL while its application is dead, and what recovery makes of that. Before the decision there is nothing that
// he could contradict: the other branch is rolled back as presumed, and a commit by hand is half a transaction that nobody tells of. xa-recover commit is the way to do
// that.
type finishedWhileDead struct {
	killed, verb      string
	unverified, noted bool // what recovery tells
	there             int  // in how many databases of two it is in the end
}

// Neither server can prove what he did, so recovery calls the branch of a committed transaction unverified, also where he agreed with the decision, and never committed.
func TestMySQLBranchFinishedByHandWhileTheApplicationIsDead(t *testing.T) {
	testFinishedWhileDead(t, (*bank).finishFree, []finishedWhileDead{
		{killed: "decide-done", verb: "commit", unverified: true, there: 2},
		{killed: "decide-done", verb: "rollback", unverified: true, there: 1},
		{killed: "decide-start", verb: "rollback", there: 0},
		{killed: "decide-start", verb: "commit", there: 1},
	}, engines.MySQL, engines.MariaDB)
}

// PostgreSQL proves it: where he contradicted the decision recovery finds out, and notes it.
func TestPostgresBranchFinishedByHandWhileTheApplicationIsDead(t *testing.T) {
	testFinishedWhileDead(t, (*bank).finishQuiet, []finishedWhileDead{
		{killed: "decide-done", verb: "commit", there: 2},
		{killed: "decide-done", verb: "rollback", noted: true, there: 1},
		{killed: "decide-start", verb: "rollback", there: 0},
		{killed: "decide-start", verb: "commit", there: 1},
	}, engines.Postgres)
}

// testFinishedWhileDead has each case recovered by xa-recover, and by the application's next start: that must make no difference.
func testFinishedWhileDead(t *testing.T, finish func(b *bank, t *testing.T, verb string) (id string), cases []finishedWhileDead, kinds ...string) {
	onEveryServer(t, func(t *testing.T, s *engines.Server) {
		for _, c := range cases {
			for _, recovery := range []string{"xa-recover", "restart"} {
				t.Run(fmt.Sprintf("%s at %s, %s", c.verb, c.killed, recovery), func(t *testing.T) {
					b := newFaultBank(t, s)
					b.start(t, "-count", "1", "-kill", c.killed).want(t, -1)
					id := finish(b, t, c.verb)
					if recovery == "restart" {
						c.restart(t, b)
					} else {
						c.resolve(t, b, id)
					}
					c.check(t, b, id)
				})
			}
		}
	}, kinds...)
}

// restart has the application recover, which begins with it.
func (c finishedWhileDead) restart(t *testing.T, b *bank) {
	p := b.start(t, "-workers", "0")
	p.want(t, 0)
	told := p.stderr.String()
	c.wantTold(t, b, told)
	if strings.Contains(told, "heuristic outcome") != c.noted {
		t.Errorf("want a heuristic outcome: %t, told\n%s", c.noted, told)
	}
}

// resolve has xa-recover recover, twice.
func (c finishedWhileDead) resolve(t *testing.T, b *bank, id string) {
	status, told := b.recover(t, "resolve")
	c.want(t, id, status, told)
	c.wantTold(t, b, told)
	status, told = b.recover(t, "resolve")
	c.want(t, id, status, told)
}

// wantTold fails the test unless the branch was called unverified, or not, as it should.
func (c finishedWhileDead) wantTold(t *testing.T, b *bank, told string) {
	t.Helper()
	if slices.ContainsFunc(strings.Split(told, "\n"), func(line string) bool {
		return strings.Contains(line, "unverified") && strings.Contains(line, b.databases[0].name)
	}) != c.unverified {
		t.Errorf("want unverified: %t, told\n%s", c.unverified, told)
	}
}

// want fails the test unless that is how xa-recover ended.
func (c finishedWhileDead) want(t *testing.T, id string, status int, told string) {
	t.Helper()
	if want := map[bool]int{true: 4}[c.noted]; status != want || c.noted && !strings.Contains(told, id) {
		t.Errorf("xa-recover: status %d, want %d, noted %s: %t\n%s", status, want, id, c.noted, told)
	}
}

// check looks at what has become of the transaction.
func (c finishedWhileDead) check(t *testing.T, b *bank, id string) {
	t.Helper()
	status, told := b.recover(t, "list")
	c.want(t, id, status, told)
	n := 0
	for _, book := range b.books(t) {
		n += len(book.Entries)
	}
	if n != c.there {
		t.Errorf("in %d databases, want %d", n, c.there)
	}
	if c.noted {
		b.startRecover(t, "forget", id).want(t, 0)
		b.startRecover(t, "list").want(t, 0)
	}
}

// finishFree finishes the only branch that the first database's server, which is MySQL or MariaDB, has of this bank, when its session has handed it over.
func (b *bank) finishFree(t *testing.T, verb string) (id string) {
	t.Helper()
	db := b.databases[0].open(t)
	defer db.Close()
	log, _ := matrixLog(t, strings.TrimPrefix(b.log, "file:"))
	for limit := time.Now().Add(time.Minute); time.Now().Before(limit); {
		list, err := mysql.New().Prepared(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		i := slices.IndexFunc(list, func(p drivers.Prepared) bool { return strings.HasPrefix(p.XID.GTRID, log+".") })
		if i >= 0 && !list[i].Held {
			mustExec(t, db, myByHand(verb, list[i].XID))
			return list[i].XID.GTRID
		}
	}
	t.Fatalf("no branch of %s is free after a minute", log)
	return ""
}

// finishQuiet finishes the only branch of the first database, which is PostgreSQL's, when its session is gone, which still holds it.
func (b *bank) finishQuiet(t *testing.T, verb string) (id string) {
	t.Helper()
	b.awaitQuiet(t)
	db := b.databases[0].open(t)
	defer db.Close()
	var gid string
	if err := db.QueryRowContext(t.Context(), "select gid from pg_prepared_xacts where database = current_database()").Scan(&gid); err != nil {
		t.Fatal(err)
	}
	id = strings.TrimSuffix(strings.TrimPrefix(gid, "xasql."), "."+b.databases[0].name)
	pgExec(t, db, b.pgByHand(verb, id))
	return id
}

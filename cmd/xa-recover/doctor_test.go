package main

import (
	"errors"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/txlog"
)

func TestDoctorTellsWhatIsWrongAndWhatToType(t *testing.T) {
	w := newWorld(t)
	w.wantStatus(w.run("doctor"), 0)
	w.wantStatus(w.run("doctor", "-o", "json"), 0)
	w.doubt()
	w.dbs["berlin"].Style.Bare = false
	w.dbs["berlin"].Style.NoIdentity = true
	w.dbs["berlin"].Style.Findings = []drivers.Finding{
		{Severity: drivers.Warning, Problem: "fsync is off: a crash of the machine loses or corrupts what was prepared", Hint: "set fsync = on"}}
	w.wantStatus(w.run("doctor"), 0)
	w.dbs["berlin"].Style.Findings = append(w.dbs["berlin"].Style.Findings,
		drivers.Finding{Severity: drivers.Fatal, Problem: "max_prepared_transactions is 0 on this server", Hint: "set it to at least the number of connections, and restart the server"})
	w.dbs["paris"].Down(true)
	w.wantStatus(w.run("doctor"), 1)
	w.wantStatus(w.run("doctor", "--output", "json"), 1)
	w.dbs["paris"].Down(false)
	w.dbs["paris"].Fail(memdb.OpList, memdb.Fault{Err: errors.New("memdb: permission denied")})
	w.wantStatus(w.run("doctor"), 1)
	w.golden("doctor")
}

func TestDoctorLooksAtTheLogToo(t *testing.T) {
	w := newWorld(t)
	w.owned = true
	w.wantStatus(w.run("doctor"), 0)
	w.owned = false
	w.env["XA_LOG"] = ""
	w.wantStatus(w.run("doctor"), 0)
	w.env["XA_LOG"] = "mem:log"
	w.logErr = errors.New("filelog: /var/lib/xa: no such directory")
	w.wantStatus(w.run("doctor"), 1)
	w.wantStatus(w.run("doctor", "extra"), 2)
	w.env["XA_RESOURCES"] = ""
	w.wantStatus(w.run("doctor"), 2)
	w.golden("doctor-log")
}

func TestDoctorKnowsADatabaseUnderAnotherName(t *testing.T) {
	w := newWorld(t)
	w.dbs["paris"].Style.Bare = false
	if err := w.log.Register(t.Context(), "paris", "memdb:OTHER"); err != nil {
		t.Fatal(err)
	}
	w.env["XA_LOG"] = "mem:other"
	w.other = func(bool) (txlog.Log, error) { return w.log, nil }
	w.wantStatus(w.run("doctor", "--resource", "berlin=mem:paris"), 0)
	w.identity("paris")
	w.golden("doctor-identity")
}

func TestClockSkewIsWhatTheAnswersTimeDoesNotExplain(t *testing.T) {
	before, after := now, now.Add(3*time.Second)
	for clock, want := range map[time.Duration]time.Duration{0: 0, 2 * time.Second: 0, -time.Second: -time.Second, 5 * time.Second: 2 * time.Second} {
		if got := skew(now.Add(clock), before, after); got != want {
			t.Errorf("clock at %v: got %v, want %v", clock, got, want)
		}
	}
}

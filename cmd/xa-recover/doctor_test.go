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
	for ahead, want := range map[clockRange]time.Duration{
		{from: -3 * time.Second, to: 0}:              0,
		{from: -time.Second, to: 2 * time.Second}:    0,
		{from: -4 * time.Second, to: -time.Second}:   -time.Second,
		{from: 2 * time.Second, to: 5 * time.Second}: 2 * time.Second,
	} {
		if got := ahead.least(); got != want {
			t.Errorf("%+v: got %v, want %v", ahead, got, want)
		}
	}
}

func TestClocksOfServersAreComparedWithEachOther(t *testing.T) {
	at := func(from, to time.Duration) clockRange { return clockRange{from, to, true} }
	r := &doctorResult{Resources: []checkupResult{
		{Name: "a", ahead: at(-time.Hour, -time.Hour+time.Second)}, // this host is wrong, and all agree
		{Name: "b", ahead: at(-time.Hour, -time.Hour+2*time.Second)},
		{Name: "c", ahead: at(-time.Hour-10*time.Second, -time.Hour-8*time.Second)},
		{Name: "file"},
	}}
	r.compare()
	for i, want := range []int{0, 0, 2, 0} {
		if got := r.Resources[i].Findings; len(got) != want {
			t.Errorf("%s: %+v, want %d findings", r.Resources[i].Name, got, want)
		}
	}
	if got, want := r.Resources[2].Findings[0].Problem, `its clock differs from that of "a" by -8.0 s`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

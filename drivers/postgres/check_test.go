package postgres

import (
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
)

func TestFindings(t *testing.T) {
	fit := settings{version: 170011, slots: 100, fsync: true, fullPages: true, syncCommit: "on"}
	if got := fit.findings(); len(got) != 0 {
		t.Errorf("a fit server: %+v", got)
	}
	for _, c := range []struct {
		name  string
		spoil func(*settings)
		want  drivers.Severity
		text  string
	}{
		{"old", func(s *settings) { s.version = 120022 }, drivers.Fatal, "the server is PostgreSQL 12"},
		{"disabled", func(s *settings) { s.slots = 0 }, drivers.Fatal, "max_prepared_transactions is 0 on this server"},
		{"standby", func(s *settings) { s.standby = true }, drivers.Fatal, "the server is a standby: it can neither prepare nor finish a transaction"},
		{"fsync", func(s *settings) { s.fsync = false }, drivers.Warning, "fsync is off: a crash of the machine loses or corrupts what was prepared and committed"},
		{"full pages", func(s *settings) { s.fullPages = false }, drivers.Warning, "full_page_writes is off: a crash of the machine may corrupt the database"},
		{"async", func(s *settings) { s.syncCommit = "off" }, drivers.Warning,
			"synchronous_commit is off: a crash loses commits made outside global transactions (within them the driver flushes)"},
		{"read only", func(s *settings) { s.readOnly = true }, drivers.Warning, "default_transaction_read_only is on: branches can't write"},
		{"nearly full", func(s *settings) { s.used = 80 }, drivers.Warning, "80 of 100 max_prepared_transactions are taken"},
		{"others", func(s *settings) { s.others, s.othersOwner = 2, "app" }, drivers.Warning,
			`2 prepared transactions of this database can't be finished by this role; one was prepared by "app"`},
		{"no proof", func(s *settings) { s.denied, s.role = "pg_xact_status(xid8)", "app" }, drivers.Warning,
			"this role may not execute pg_xact_status(xid8): what became of a branch can't be proven afterwards and is told as unverified"},
		{"no identity", func(s *settings) { s.denied, s.role = "pg_control_system()", "app" }, drivers.Warning,
			"this role may not execute pg_control_system(): what became of a branch can't be proven afterwards and is told as unverified, and a name that points to another database than before is not noticed"},
		{"forgotten", func(s *settings) { s.oldest, s.oldestAge = "x", 49*time.Hour }, drivers.Warning,
			`a prepared transaction is 49h0m0s old, and holds back VACUUM: "x"`},
	} {
		s := fit
		c.spoil(&s)
		got := s.findings()
		if len(got) != 1 || got[0].Severity != c.want || got[0].Problem != c.text || got[0].Hint == "" {
			t.Errorf("%s: %+v, want one %s %q with a hint", c.name, got, c.want, c.text)
		}
	}
}

func TestWorstFindingComesFirst(t *testing.T) {
	got := settings{version: 170011, standby: true, slots: 1, used: 1, fsync: true, fullPages: true}.findings()
	if len(got) != 2 || got[0].Severity != drivers.Fatal || got[1].Severity != drivers.Warning {
		t.Errorf("%+v, want a fatal one, then a warning", got)
	}
}

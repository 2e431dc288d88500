package mysql

import (
	"testing"

	"github.com/xasql/xasql/drivers"
)

func TestOneWrongSettingIsOneFinding(t *testing.T) {
	mysql := settings{flavour: mySQL, flushAtCommit: "1", logBin: true, syncBinlog: 1, readOnly: "0", engine: "InnoDB", detaches: true,
		isolation: "REPEATABLE-READ"}
	maria := settings{flavour: mariaDB, flushAtCommit: "1", readOnly: "OFF", engine: "InnoDB", isolation: "REPEATABLE-READ"}
	const none = drivers.Severity(0)
	for _, tt := range []struct {
		name   string
		base   settings
		change func(*settings)
		want   drivers.Severity
	}{
		{"mysql by default", mysql, func(*settings) {}, none},
		{"mariadb by default", maria, func(*settings) {}, none},
		{"too old", mysql, func(s *settings) { s.flavour = 0 }, drivers.Fatal},
		{"mysql, unlogged", mysql, func(s *settings) { s.unlogged = true }, drivers.Fatal},
		{"mariadb, unlogged", maria, func(s *settings) { s.unlogged = true }, none},
		{"super read-only", mysql, func(s *settings) { s.superReadOnly = true; s.readOnly = "1" }, drivers.Fatal},
		{"read-only", mysql, func(s *settings) { s.readOnly = "1" }, drivers.Warning},
		{"mariadb read-only", maria, func(s *settings) { s.readOnly = "1" }, drivers.Warning},
		{"flush 0", mysql, func(s *settings) { s.flushAtCommit = "0" }, drivers.Warning},
		{"flush 2", maria, func(s *settings) { s.flushAtCommit = "2" }, drivers.Warning},
		{"flush 3", maria, func(s *settings) { s.flushAtCommit = "3" }, none},
		{"sync_binlog 0", mysql, func(s *settings) { s.syncBinlog = 0 }, drivers.Warning},
		{"sync_binlog 0 without a log", maria, func(s *settings) { s.syncBinlog = 0 }, none},
		{"mysql that does not detach", mysql, func(s *settings) { s.detaches = false }, drivers.Warning},
		{"mysql serializable", mysql, func(s *settings) { s.isolation = "SERIALIZABLE" }, drivers.Warning},
		{"mariadb serializable", maria, func(s *settings) { s.isolation = "SERIALIZABLE" }, none},
		{"MyISAM", mysql, func(s *settings) { s.engine = "MyISAM" }, drivers.Warning},
	} {
		s := tt.base
		tt.change(&s)
		found := s.judge()
		if tt.want == none {
			if len(found) != 0 {
				t.Errorf("%s: %+v, want nothing", tt.name, found)
			}
			continue
		}
		if len(found) != 1 || found[0].Severity != tt.want || found[0].Problem == "" || found[0].Hint == "" {
			t.Errorf("%s: %+v, want one %s finding with its hint", tt.name, found, tt.want)
		}
	}
}

func TestFilteredSchemas(t *testing.T) {
	for _, tt := range []struct {
		schema, only, ignored string
		want                  bool
	}{
		{"app", "", "", false},
		{"app", "app", "", false},
		{"app", "other,app", "", false},
		{"app", "other", "", true},
		{"app", "", "app", true},
		{"app", "", "other,app", true},
		{"app", "", "application", false},
		{"app", "app", "app", false}, // the server asks the list of what to log first
	} {
		if got := filtered(tt.schema, tt.only, tt.ignored); got != tt.want {
			t.Errorf("filtered(%q, %q, %q) = %t, want %t", tt.schema, tt.only, tt.ignored, got, tt.want)
		}
	}
}

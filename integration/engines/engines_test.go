package engines_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { engines.Main(m) }

func TestDatabaseSurvivesKillOfItsServerOnTheSameURL(t *testing.T) {
	engines.Start(engines.All()...)
	for _, e := range engines.All() {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			url := s.NewDatabase(t)
			db := s.Open(t, url)
			for _, statement := range []string{"create table t (id int primary key)", "insert into t values (7)"} {
				if _, err := db.ExecContext(t.Context(), statement); err != nil {
					t.Fatal(err)
				}
			}
			s.Kill(t)
			s.Start(t)
			var id int
			if err := s.Open(t, url).QueryRowContext(t.Context(), "select id from t").Scan(&id); err != nil || id != 7 {
				t.Errorf("after the restart: id = %d, %v, want 7", id, err)
			}
		})
	}
}

func TestPlainUserWorksInItsOwnDatabaseOnly(t *testing.T) {
	for _, e := range engines.All() {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			db := s.Open(t, s.NewUser(t, s.NewDatabase(t)))
			if _, err := db.ExecContext(t.Context(), "create table t (id int primary key)"); err != nil {
				t.Error(err)
			}
			if _, err := db.ExecContext(t.Context(), "create user another"); err == nil {
				t.Error("a plain user created a user")
			}
		})
	}
}

func TestEngineNamesItsEnvironmentVariable(t *testing.T) {
	want := "XA_POSTGRES_15_URL XA_POSTGRES_17_URL XA_POSTGRES_18_URL XA_MYSQL_9_7_URL XA_MARIADB_10_11_URL XA_MARIADB_11_8_URL"
	var got []string
	for _, e := range engines.All() {
		got = append(got, e.Env())
	}
	if strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The test runs itself in a process that finds no Docker.
func TestMissingServerIsSkippedAloudAndFailsWhereRequired(t *testing.T) {
	if os.Getenv("XA_TEST_ALONE") != "" {
		engines.All()[0].Server(t)
		t.Error("there was a server")
		return
	}
	for _, c := range []struct {
		require string
		passes  bool
		want    string
	}{
		{"", true, "TESTS WERE SKIPPED for want of postgres:15"},
		{"mysql, postgres:17", true, "TESTS WERE SKIPPED for want of postgres:15"},
		{"mysql,postgres", false, "postgres:15 is required by XA_REQUIRE"},
		{"postgres:15", false, "postgres:15 is required by XA_REQUIRE"},
		{"all", false, "postgres:15 is required by XA_REQUIRE"},
	} {
		t.Run("require "+c.require, func(t *testing.T) {
			self := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMissingServer")
			self.Env = append(os.Environ(), "XA_TEST_ALONE=1", "DOCKER_HOST=unix:///nonexistent/docker.sock", "XA_POSTGRES_15_URL=", "XA_SKIPPED=", "XA_REQUIRE="+c.require)
			out, err := self.CombinedOutput()
			if passes := err == nil; passes != c.passes || !strings.Contains(string(out), c.want) {
				t.Errorf("passes = %v, want %v and %q in:\n%s", passes, c.passes, c.want, out)
			}
			if !strings.Contains(string(out), "integration/setup.sh") {
				t.Errorf("it does not tell what to do:\n%s", out)
			}
		})
	}
}

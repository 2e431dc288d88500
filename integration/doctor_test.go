package integration

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// doctored is a database whose server, or user, is set up badly, and what doctor must say of it, in part.
type doctored struct {
	name  string
	url   string
	fatal []string
	warns []string
}

// What keeps a server from being fit is told as the user sees it who will recover: how bad it is, why, and what to type.
func TestDoctorFindsWhatIsSetBadlyOnRealServers(t *testing.T) {
	sick := []doctored{doctoredPostgres(t), doctoredWithoutSlots(t), doctoredMySQL(t), doctoredMariaDB(t), doctoredSQLite(t)}
	var resources []string
	for _, d := range sick {
		resources = append(resources, d.name+"="+d.url)
	}
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	p := startProgram(t, []string{"XA_LOG=", "XA_RESOURCES=" + strings.Join(resources, "\n")}, out, "xa-recover", "doctor", "-o", "json")
	p.want(t, 1)
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	var told struct {
		Resources []struct {
			Name     string
			Findings []struct{ Severity, Problem, Hint string }
		}
	}
	if err := json.Unmarshal(text, &told); err != nil || len(told.Resources) != len(sick) {
		t.Fatalf("%v: %s", err, text)
	}
	for i, d := range sick {
		want := map[string]string{}
		for _, problem := range d.fatal {
			want[problem] = "fatal"
		}
		for _, problem := range d.warns {
			want[problem] = "warning"
		}
		for _, f := range told.Resources[i].Findings {
			found := ""
			for problem, severity := range want {
				if strings.Contains(f.Problem, problem) && f.Severity == severity {
					found = problem
				}
			}
			if found == "" || f.Hint == "" {
				t.Errorf("%s: not expected, or without a hint: %+v", d.name, f)
			}
			delete(want, found)
		}
		for problem, severity := range want {
			t.Errorf("%s: no %s finding tells %q", d.name, severity, problem)
		}
		doctoredOpen(t, d)
	}
	if strings.Contains(string(text)+p.stderr.String(), "plain@") || strings.Contains(string(text), ":plain") {
		t.Errorf("a password is told:\n%s", text)
	}
}

// doctoredOpen holds xa.Open to the same: it refuses what can't work, and nothing else.
func doctoredOpen(t *testing.T, d doctored) {
	t.Helper()
	res, err := connect.Resource(d.name, d.url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.DB.Close()
	log, err := filelog.Open(filepath.Join(t.TempDir(), "log"), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	m, err := xa.Open(t.Context(), xa.Config{Log: log, Resources: []xa.Resource{res}})
	if err == nil {
		m.Close()
	}
	if (err != nil) != (len(d.fatal) > 0) {
		t.Errorf("%s: xa.Open: %v, with the fatal findings %q", d.name, err, d.fatal)
	}
}

func doctoredPostgres(t *testing.T) doctored {
	s := named(t, "postgres:17").Own(t, engines.Own{Args: []string{"-c", "max_prepared_transactions=1", "-c", "fsync=off", "-c", "full_page_writes=off"}})
	database := s.NewDatabase(t)
	user := s.NewUser(t, database)
	admin := s.Open(t, database)
	name := parseURL(t, user).User.Username()
	for _, statement := range []string{
		"alter role " + name + " set synchronous_commit = off",
		"alter role " + name + " set default_transaction_read_only = on",
		"begin; create table t (id int); prepare transaction 'xasql.otherlog.01JD0000000000000000000001.orders'",
	} {
		mustExec(t, admin, statement)
	}
	t.Cleanup(func() {
		if _, err := admin.Exec("rollback prepared 'xasql.otherlog.01JD0000000000000000000001.orders'"); err != nil {
			t.Error(err)
		}
	})
	return doctored{"postgres", user, nil, []string{"fsync is off", "full_page_writes is off", "synchronous_commit is off", "default_transaction_read_only is on",
		"1 of 1 max_prepared_transactions are taken", `can't be finished by this role; one was prepared by "postgres"`}}
}

func doctoredWithoutSlots(t *testing.T) doctored {
	s := named(t, "postgres:18").Own(t, engines.Own{})
	return doctored{"default", s.NewUser(t, s.NewDatabase(t)), []string{"max_prepared_transactions is 0"}, nil}
}

func doctoredMySQL(t *testing.T) doctored {
	s := named(t, "mysql:9.7").Own(t, engines.Own{Args: []string{"--xa-detach-on-prepare=OFF", "--transaction-isolation=SERIALIZABLE",
		"--sync-binlog=0", "--innodb-flush-log-at-trx-commit=2", "--default-storage-engine=MyISAM"}})
	return doctored{"mysql", s.NewUser(t, s.NewDatabase(t)), []string{"this user may not list prepared branches"}, []string{"innodb_flush_log_at_trx_commit is 2",
		"sync_binlog is 0", "xa_detach_on_prepare is OFF", "serializable by default", "storage engine MyISAM", "may not see whether the server filters"}}
}

// doctoredMariaDB has a clock of its own for all but administrators.
func doctoredMariaDB(t *testing.T) doctored {
	s := named(t, "mariadb:11.8").Own(t, engines.Own{Args: []string{"--log-bin", "--sync-binlog=0", "--innodb-flush-log-at-trx-commit=0", "--read-only",
		"--init-connect=SET timestamp = UNIX_TIMESTAMP() - 100"}})
	return doctored{"mariadb", s.NewUser(t, s.NewDatabase(t)), nil, []string{"innodb_flush_log_at_trx_commit is 0", "sync_binlog is 0", "the server is read-only",
		"this user lacks PROCESS", "not crash-safe for XA", "differs from this host's by -", `differs from that of "postgres" by -`, `differs from that of "default" by -`, `differs from that of "mysql" by -`}}
}

func doctoredSQLite(t *testing.T) doctored {
	path := filepath.Join(t.TempDir(), "lite.db")
	db := database{name: "lite", url: "sqlite:" + path}.open(t)
	defer db.Close()
	mustExec(t, db, "pragma journal_mode = delete")
	mustExec(t, db, "create table t (id integer primary key)")
	return doctored{"sqlite", "sqlite:" + path, []string{"journal mode is delete"}, nil}
}

// A password comes from wherever the driver's own clients have it, and is told nowhere, right or wrong.
func TestPasswordsFromFilesWorkAndAreNeverTold(t *testing.T) {
	pg, maria := named(t, "postgres:17"), named(t, "mariadb:11.8")
	engines.Start(pg, maria)
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	log, err := filelog.Open(filepath.Join(dir, "log"), nil)
	if err != nil {
		t.Fatal(err)
	}
	log.Close()
	open := func(s *engines.Server) (bare string, u *url.URL) {
		u = parseURL(t, s.NewUser(t, s.NewDatabase(t)))
		without := *u
		without.User = url.User(u.User.Username())
		return without.String(), u
	}
	pgURL, p := open(pg.Server(t))
	mariaURL, _ := open(maria.Server(t))
	for _, password := range []string{"plain", "wrongpassword"} {
		pgpass := write("pgpass", fmt.Sprintf("%s:%s:*:*:%s\n", p.Hostname(), p.Port(), password))
		write(".my.cnf", "[client]\npassword = \""+password+"\"\n")
		secret := write("secret", password+"\n")
		yaml := write("xasql.yaml", fmt.Sprintf("log: {url: 'file:%s/log'}\nresources:\n  - {name: pg, url: %q, password_file: %s}\n  - {name: maria, url: %q, password_file: %s}\n",
			dir, pgURL, secret, mariaURL, secret))
		resources := "XA_RESOURCES=pg=" + pgURL + " maria=" + mariaURL
		for way, env := range map[string][]string{
			"the drivers' files":  {resources, "PGPASSFILE=" + pgpass, "HOME=" + dir},
			"the configuration's": {"XA_CONFIG=" + yaml},
			"the environment":     {resources, "XA_PG_PASSWORD=" + password, "XA_MARIA_PASSWORD=" + password},
			"the drivers' own":    {resources, "PGPASSWORD=" + password, "MYSQL_PWD=" + password},
		} {
			for _, command := range []string{"list", "doctor"} {
				run := startProgram(t, append([]string{"XA_LOG=file:" + dir + "/log"}, env...), nil, "xa-recover", command, "-vv")
				want := 0
				if password != "plain" {
					want = map[string]int{"list": 3, "doctor": 1}[command]
				}
				if got := run.wait(t); got != want {
					t.Errorf("%s, %s with the password %q: status %d, want %d:\n%s", way, command, password, got, want, run.stderr.String())
				}
				if strings.Contains(run.stderr.String(), password) {
					t.Errorf("%s, %s: the password is told:\n%s", way, command, run.stderr.String())
				}
			}
		}
	}
}

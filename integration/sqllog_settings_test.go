package integration

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/sqllog"
)

// logClient is a way to reach the log's server, with settings that an application may have for its own reasons.
type logClient struct {
	name      string
	connector func(t testing.TB, databaseURL string) driver.Connector
}

// hostileClients returns ways that would break the log's promises if it relied on the session's settings.
func hostileClients(e engines.Engine) []logClient {
	if e.Kind == engines.Postgres {
		const minute = "60000" // the log changes that by statements which may take their time on a slow machine, too
		return []logClient{
			{"pgx", func(t testing.TB, databaseURL string) driver.Connector {
				config, err := pgx.ParseConfig(databaseURL)
				if err != nil {
					t.Fatal(err)
				}
				for name, value := range map[string]string{"synchronous_commit": "off", "default_transaction_read_only": "on", "statement_timeout": minute, "lock_timeout": minute,
					"default_transaction_isolation": "serializable", "default_transaction_deferrable": "on", "timezone": "Asia/Kolkata", "idle_in_transaction_session_timeout": minute} {
					config.RuntimeParams[name] = value
				}
				return stdlib.GetConnector(*config)
			}},
			{"pgx simple protocol", pgMode(pgx.QueryExecModeSimpleProtocol)},
			{"pgx exec", pgMode(pgx.QueryExecModeExec)},
			{"pq", func(t testing.TB, databaseURL string) driver.Connector {
				connector, err := pgClients()[0].connector(databaseURL + "&synchronous_commit=off&default_transaction_isolation=serializable")
				if err != nil {
					t.Fatal(err)
				}
				return connector
			}},
		}
	}
	isolation := "tx_isolation"
	if e.Kind == engines.MySQL {
		isolation = "transaction_isolation"
	}
	return []logClient{
		{"session", mysqlWith("autocommit=0&sql_mode=%27ANSI_QUOTES,NO_BACKSLASH_ESCAPES%27&time_zone=%27%2B05:30%27&innodb_lock_wait_timeout=1&sql_safe_updates=1&sql_select_limit=1&completion_type=2&" + isolation + "=%27SERIALIZABLE%27")},
		{"driver", mysqlWith("interpolateParams=true&parseTime=true&loc=Asia%2FKolkata&clientFoundRows=true&multiStatements=true&columnsWithAlias=true&collation=latin1_german1_ci")},
	}
}

func pgMode(mode pgx.QueryExecMode) func(testing.TB, string) driver.Connector {
	return func(t testing.TB, databaseURL string) driver.Connector {
		config, err := pgx.ParseConfig(databaseURL)
		if err != nil {
			t.Fatal(err)
		}
		config.DefaultQueryExecMode = mode
		return stdlib.GetConnector(*config)
	}
}

func mysqlWith(query string) func(testing.TB, string) driver.Connector {
	return func(t testing.TB, databaseURL string) driver.Connector { return logConnector(t, databaseURL+"?"+query) }
}

// The first case of each rule that hangs on what a statement does: who is first, what is listed, settled, and claimed.
func TestSQLLogDoesNotHangOnTheApplicationsSettings(t *testing.T) {
	for _, e := range append(logEngines(t), named(t, "mariadb:10.11")) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			for _, c := range hostileClients(e) {
				t.Run(c.name, func(t *testing.T) {
					databaseURL := s.NewDatabase(t)
					hostile := c.connector(t, databaseURL)
					l := openServerLog(t, hostile, dialectOf(e), sqllog.Options{Lease: longLease})
					other := openServerLog(t, hostile, dialectOf(e), sqllog.Options{Lease: longLease})
					plain := openLogs(t, databaseURL, 1)[0]
					useLog(t, l, other)
					if err := l.Close(); err != nil { // what is committed stands, what was left open does not
						t.Fatal(err)
					}
					other.Close()
					if got := fmt.Sprint(unsettledOf(t, plain)); got != "[aborted]" {
						t.Errorf("unsettled are %s, want [aborted]", got)
					}
				})
			}
		})
	}
}

func unsettledOf(t *testing.T, l txlog.Log) []string {
	t.Helper()
	var list []string
	for d, err := range l.Unsettled(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, d.ID)
	}
	return list
}

// useLog does what every application and recovery does, and leaves "aborted" unsettled.
func useLog(t *testing.T, l, other *serverLog) {
	t.Helper()
	for _, d := range []txlog.Decision{{ID: "committed", Outcome: txlog.Committed, Resources: []string{"a", "b c"}}, {ID: "aborted", Outcome: txlog.Aborted}} {
		for _, l := range []*serverLog{l, other} {
			if o, err := l.Decide(t.Context(), d); err != nil || o != d.Outcome {
				t.Fatalf("Decide = %s, %v", o, err)
			}
			d.Outcome = 3 - d.Outcome // the other asks for the contrary
			if o, err := l.Decide(t.Context(), d); err != nil || o != 3-d.Outcome {
				t.Fatalf("Decide of the contrary = %s, %v", o, err)
			}
			d.Outcome = 3 - d.Outcome
			if o, err := l.Lookup(t.Context(), d.ID); err != nil || o != d.Outcome {
				t.Fatalf("Lookup = %s, %v", o, err)
			}
		}
	}
	if got := len(unsettledOf(t, other)); got != 2 {
		t.Errorf("%d are unsettled, want 2", got)
	}
	m, err := l.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	n, err := other.Join(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if no, err := m.Claim(t.Context(), []string{"x", "y"}); err != nil || len(no) != 0 {
		t.Errorf("Claim refuses %+v, %v", no, err)
	}
	if no, err := n.Claim(t.Context(), []string{"x", "z"}); err != nil || len(no) != 1 || no["x"].Mark != m.Mark() {
		t.Errorf("Claim refuses %+v, %v", no, err)
	}
	if err := l.Register(t.Context(), "a", "identity"); err != nil {
		t.Error(err)
	}
	if got, err := other.Registered(t.Context(), "a"); err != nil || got != "identity" {
		t.Errorf("Registered = %q, %v", got, err)
	}
	if err := other.Settle(t.Context(), "committed"); err != nil {
		t.Error(err)
	}
	info, err := other.Info(t.Context())
	if err != nil || info.Settled != 1 || info.Unsettled != 1 || len(info.Members) != 2 || !info.Members[0].Alive || info.Members[0].Expires.Sub(info.Members[0].Since) < longLease {
		t.Errorf("Info = %+v, %v", info, err)
	}
	if err := l.Compact(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestSQLLogWaitsForTheDisk looks at the settings of the sessions that the log works with, as it works: beside a test it has work of its own to do there.
func TestSQLLogWaitsForTheDisk(t *testing.T) {
	e := named(t, "postgres:17")
	s := e.Server(t)
	hostile := hostileClients(e)[0].connector(t, s.NewDatabase(t))
	l := openServerLog(t, hostile, sqllog.Postgres, sqllog.Options{})
	var mu sync.Mutex
	looked := map[driver.Conn]bool{}
	l.faults.before(func(conn driver.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if looked[conn] {
			return
		}
		looked[conn] = true
		for setting, want := range map[string]string{"synchronous_commit": "on", "statement_timeout": "0", "lock_timeout": "0", "default_transaction_read_only": "off", "default_transaction_isolation": "read committed"} {
			rows, err := conn.(driver.QueryerContext).QueryContext(t.Context(), "show "+setting, nil)
			if err != nil {
				t.Error(err)
				return
			}
			got := make([]driver.Value, 1)
			if err := rows.Next(got); err != nil || got[0] != want {
				t.Errorf("%s is %v, %v; want %s", setting, got[0], err, want)
			}
			rows.Close()
		}
	})
	if o, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err != nil || o != txlog.Committed {
		t.Errorf("Decide = %s, %v", o, err)
	}
	if o, err := l.Lookup(t.Context(), "t"); err != nil || o != txlog.Committed {
		t.Errorf("Lookup = %s, %v", o, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if len(looked) != 2 {
		t.Errorf("the log has used %d connections, want 2", len(looked))
	}
}

func TestSQLLogIsMadeOnceByManyAtOnce(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			databaseURL := e.Server(t).NewDatabase(t)
			ids := make([]string, 6)
			var wg sync.WaitGroup
			for i := range ids {
				db := sql.OpenDB(logConnector(t, databaseURL))
				defer db.Close()
				wg.Go(func() {
					l, err := sqllog.Open(t.Context(), db, dialectOf(e), &sqllog.Options{Logger: quietLogger()})
					if err != nil {
						t.Error(err)
						return
					}
					defer l.Close()
					ids[i] = l.ID()
				})
			}
			wg.Wait()
			for _, id := range ids {
				if id == "" || id != ids[0] {
					t.Errorf("identities are %q", ids)
				}
			}
		})
	}
}

// MySQL keeps what a process has made of a log's tables until it was killed: the next one makes the rest.
func TestSQLLogIsCompletedWhereItWasLeftHalfMade(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			statements := strings.SplitAfter(strings.TrimSpace(sqllog.Schema(dialectOf(e))), ";\n")
			for _, made := range []int{1, len(statements) - 1} {
				db := sql.OpenDB(logConnector(t, e.Server(t).NewDatabase(t)))
				defer db.Close()
				for _, statement := range statements[:made] {
					mustExec(t, db, statement)
				}
				l, err := sqllog.Open(t.Context(), db, dialectOf(e), &sqllog.Options{Logger: quietLogger()})
				if err != nil {
					t.Errorf("after %d statements: %v", made, err)
					continue
				}
				if o, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err != nil || o != txlog.Committed {
					t.Errorf("after %d statements: Decide = %s, %v", made, o, err)
				}
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A user who may not make tables works with those that are there, and is told what to do where there are none.
func TestSQLLogNeedsNoRightToCreate(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			databaseURL := s.NewDatabase(t)
			admin := s.Open(t, databaseURL)
			plainURL := newPlainUser(t, s, admin, databaseURL)
			db := sql.OpenDB(logConnector(t, plainURL))
			defer db.Close()
			if _, err := sqllog.Open(t.Context(), db, dialectOf(e), nil); err == nil || !strings.Contains(err.Error(), "sqllog.Schema prints the statements") {
				t.Errorf("Open without tables: %v", err)
			}
			for statement := range strings.SplitSeq(sqllog.Schema(dialectOf(e)), ";\n") {
				if statement == "" {
					continue
				}
				if _, err := admin.ExecContext(t.Context(), statement); err != nil {
					t.Fatalf("%s: %v", statement, err)
				}
			}
			grantTables(t, e, admin, plainURL, "select")
			if _, err := sqllog.Open(t.Context(), db, dialectOf(e), nil); err == nil || !strings.Contains(err.Error(), "the user needs SELECT, INSERT, UPDATE and DELETE") {
				t.Errorf("Open without the right to write: %v", err)
			}
			grantTables(t, e, admin, plainURL, "insert, update, delete")
			for range 2 {
				l := openServerLog(t, logConnector(t, plainURL), dialectOf(e), sqllog.Options{Lease: longLease})
				other := openServerLog(t, logConnector(t, plainURL), dialectOf(e), sqllog.Options{Existing: true, Lease: longLease})
				if o, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err != nil || o != txlog.Committed {
					t.Errorf("Decide = %s, %v", o, err)
				}
				l.Close()
				other.Close()
			}
		})
	}
}

// newPlainUser makes a user who may do nothing in the database but connect to it.
func newPlainUser(t *testing.T, s *engines.Server, admin *sql.DB, databaseURL string) string {
	t.Helper()
	if s.Engine.Kind == engines.Postgres {
		plainURL := s.NewUser(t, databaseURL)
		execAll(t, admin, "revoke create on schema public from public", "revoke create on schema public from "+userOf(t, plainURL))
		return plainURL
	}
	plainURL := s.NewUser(t, databaseURL)
	u, _ := url.Parse(databaseURL)
	execAll(t, admin, "revoke all on "+u.Path[1:]+".* from "+userOf(t, plainURL), "grant execute on "+u.Path[1:]+".* to "+userOf(t, plainURL))
	return plainURL
}

func userOf(t *testing.T, databaseURL string) string {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	return u.User.Username()
}

func grantTables(t *testing.T, e engines.Engine, admin *sql.DB, plainURL, rights string) {
	t.Helper()
	for _, table := range []string{"xasql_log", "xasql_decision", "xasql_resource", "xasql_member", "xasql_claim", "xasql_note"} {
		execAll(t, admin, "grant "+rights+" on "+table+" to "+userOf(t, plainURL))
	}
}

func execAll(t *testing.T, db *sql.DB, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := db.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// A server that loses commits in a crash, a table that does, and a database of another kind are refused.
func TestSQLLogRefusesWhatKeepsNoPromise(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			databaseURL := s.NewDatabase(t)
			admin := s.Open(t, databaseURL)
			openLogs(t, databaseURL, 1)
			refused := func(want string, opts sqllog.Options) {
				t.Helper()
				db := sql.OpenDB(logConnector(t, databaseURL))
				defer db.Close()
				opts.Logger = quietLogger()
				l, err := sqllog.Open(t.Context(), db, dialectOf(e), &opts)
				if err == nil {
					l.Close()
				}
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("Open: %v, want %q", err, want)
				}
				if err != nil && strings.Contains(err.Error(), "xasql@") {
					t.Errorf("a password is told: %v", err)
				}
			}
			db := sql.OpenDB(logConnector(t, databaseURL))
			defer db.Close()
			for _, d := range []sqllog.Dialect{sqllog.Postgres, sqllog.MySQL, sqllog.SQLite} {
				if d == dialectOf(e) {
					continue
				}
				if _, err := sqllog.Open(t.Context(), db, d, nil); err == nil || !strings.Contains(err.Error(), "speaks another dialect: open it with sqllog.") {
					t.Errorf("Open as %s: %v", d, err)
				}
			}
			if e.Kind == engines.Postgres {
				execAll(t, admin, "alter system set fsync = off", "select pg_reload_conf()")
				awaitSetting(t, admin, "off")
				refused("set fsync = on", sqllog.Options{})
				openServerLog(t, logConnector(t, databaseURL), sqllog.Postgres, sqllog.Options{RelaxedDurability: true}).Close()
				execAll(t, admin, "alter system reset fsync", "select pg_reload_conf()")
				awaitSetting(t, admin, "on")
				execAll(t, admin, "alter table xasql_decision set unlogged")
				refused("ALTER TABLE xasql_decision SET LOGGED", sqllog.Options{})
				return
			}
			for name, want := range map[string]string{"innodb_flush_log_at_trx_commit": "innodb_flush_log_at_trx_commit is 2", "sync_binlog": "sync_binlog is 2"} {
				var before string
				if err := admin.QueryRowContext(t.Context(), "select @@global."+name).Scan(&before); err != nil {
					t.Fatal(err)
				}
				execAll(t, admin, "set global "+name+" = 2")
				if name != "sync_binlog" || e.Kind == engines.MySQL { // MariaDB keeps no binary log unless it is told to
					refused(want, sqllog.Options{})
				}
				openServerLog(t, logConnector(t, databaseURL), sqllog.MySQL, sqllog.Options{RelaxedDurability: true}).Close()
				execAll(t, admin, "set global "+name+" = "+before)
			}
			execAll(t, admin, "alter table xasql_claim engine = MyISAM")
			refused("ALTER TABLE xasql_claim ENGINE = InnoDB", sqllog.Options{})
		})
	}
}

// awaitSetting returns when new sessions see the value of fsync.
func awaitSetting(t *testing.T, db *sql.DB, want string) {
	t.Helper()
	for got := ""; got != want; {
		if err := db.QueryRowContext(t.Context(), "show fsync").Scan(&got); err != nil {
			t.Fatal(err)
		}
	}
}

package integration

import (
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/drivertest"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/integration/engines"
)

func newMySQLXID() drivers.XID {
	return drivers.XID{FormatID: drivers.FormatID, GTRID: "traps." + rand.Text(), BQual: "orders"}
}

// MySQL with xa_detach_on_prepare=OFF binds branches to sessions as MariaDB does.
func TestMySQLDriverConformsWithoutDetaching(t *testing.T) {
	for _, e := range engines.Of(engines.MySQL) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			drivertest.Run(t, func(t *testing.T) drivertest.Harness {
				h := mysqlHarness(t, s)
				h.SessionBound = true
				h.Crash, h.Lossy = nil, nil // as with it
				h.Refused = h.Refused[:len(h.Refused)-1]
				open := h.Open
				h.Open = func() (*sql.DB, error) {
					db, err := open()
					if err != nil {
						return nil, err
					}
					// A pool's sessions must all have the setting: this one opens its sessions with it.
					defer db.Close()
					var name string
					if err := db.QueryRowContext(t.Context(), "select database()").Scan(&name); err != nil {
						return nil, err
					}
					return engines.Open(s.URL(name) + "?xa_detach_on_prepare=OFF")
				}
				return h
			})
		})
	}
}

// A branch that changed nothing has nothing to commit; MariaDB says that it was rolled back, which must not look like
// a database that decided alone. A branch that changed something must never be taken for one.
func TestMariaDBCommitOfABranchThatChangedNothingIsNoAlarm(t *testing.T) {
	forMySQL(t, engines.MariaDB, func(t *testing.T, s *engines.Server, db *sql.DB) {
		mustExec(t, db, "create table child (id int primary key, k varchar(64), foreign key (k) references kv (k) on delete cascade)")
		mustExec(t, db, "insert into kv values ('1', ''), ('2', ''), ('3', ''), ('4', ''), ('5', ''), ('6', '')")
		mustExec(t, db, "insert into child values (1, '1')")
		for _, tt := range []struct {
			name       string
			statements []string
			changed    string // a query that counts 1 once the branch is committed
		}{
			{name: "nothing at all"},
			{name: "reads", statements: []string{"select * from kv"}},
			{name: "locks", statements: []string{"select * from kv where k = '6' for update"}},
			{name: "changes no row", statements: []string{"update kv set v = 'x' where k = 'none'"}},
			{name: "undoes its change", statements: []string{"savepoint s", "update kv set v = 'x' where k = '6'", "rollback to savepoint s"}},
			{"undoes one change of two", []string{"update kv set v = 'two' where k = '2'", "savepoint s", "update kv set v = 'x' where k = '6'", "rollback to savepoint s"},
				"select count(*) from kv where v = 'two'"},
			{"changes by a cascade", []string{"delete from kv where k = '1'"}, "select count(*) = 0 from child"},
			{"changes, and then fails", []string{"update kv set v = 'three' where k = '3'", "insert ignore into kv values ('3', '')"},
				"select count(*) from kv where v = 'three'"},
			{"inserts what it selects", []string{"insert into kv select 'new', ''"}, "select count(*) from kv where k = 'new'"},
			{"changes several tables", []string{"update kv left join child using (k) set kv.v = 'four' where kv.k = '4'"},
				"select count(*) from kv where v = 'four'"},
		} {
			b := beginMySQL(t, db, nil)
			for _, q := range tt.statements {
				mustExec(t, b.conn, q)
			}
			b.mustPrepare(t)
			if err := mysql.New().(drivers.SessionEnder).EndSession(t.Context(), db, b.xid); err != nil {
				t.Fatalf("%s: EndSession: %v", tt.name, err)
			}
			discardConn(b.conn)
			if err := mysql.New().CommitPrepared(t.Context(), db, b.xid); err != nil {
				t.Errorf("%s: CommitPrepared: %v", tt.name, err)
			}
			if p := preparedMySQL(t, db, b.xid); p != nil {
				t.Errorf("%s: still prepared", tt.name)
			}
			if tt.changed != "" && scanMySQL(t, db, tt.changed) != 1 {
				t.Errorf("%s: the change is lost, though CommitPrepared said nothing", tt.name)
			}
		}
	})
}

func TestMySQLUserWithoutTheGrantIsToldSo(t *testing.T) {
	forMySQL(t, engines.MySQL, func(t *testing.T, s *engines.Server, db *sql.DB) {
		plain := s.NewUser(t, s.URL(databaseName(t, db)))
		pool := s.Open(t, plain)
		name := parseURL(t, plain).User.Username()
		findings, err := mysql.New().(drivers.Checker).Check(t.Context(), pool)
		if err != nil {
			t.Fatalf("Check: %v", err)
		}
		want := fmt.Sprintf("GRANT XA_RECOVER_ADMIN ON *.* TO '%s'@'%%'", name)
		if len(findings) == 0 || findings[0].Severity != drivers.Fatal || findings[0].Hint != want {
			t.Fatalf("Check: %+v, want first the fatal want of %s", findings, want)
		}
		if _, err := mysql.New().Prepared(t.Context(), pool); err == nil || !strings.Contains(err.Error(), "XA_RECOVER_ADMIN") {
			t.Errorf("Prepared: %v, want the grant that is missing", err)
		}
		mustExec(t, db, findings[0].Hint) // it is what must be typed
		findings, err = mysql.New().(drivers.Checker).Check(t.Context(), pool)
		if err != nil || len(findings) > 0 && findings[0].Severity == drivers.Fatal {
			t.Errorf("Check after the grant: %+v, %v", findings, err)
		}
	})
}

// MySQL loses at a crash what was prepared in a session that does not write the binary log.
func TestMySQLUnloggedSessionIsRefused(t *testing.T) {
	forMySQL(t, engines.MySQL, func(t *testing.T, s *engines.Server, db *sql.DB) {
		conn := connMySQL(t, db)
		defer discardConn(conn)
		mustExec(t, conn, "set session sql_log_bin = 0")
		if _, err := mysql.New().Begin(t.Context(), conn, newMySQLXID(), nil); !errors.Is(err, drivers.ErrNotSupported) {
			t.Errorf("Begin: %v, want %v", err, drivers.ErrNotSupported)
		}
		mustExec(t, conn, "set session sql_log_bin = 1")
		b := beginMySQLOn(t, conn, nil)
		if _, err := conn.ExecContext(t.Context(), "set session sql_log_bin = 0"); err == nil {
			t.Errorf("sql_log_bin can be set inside a branch")
		}
		mustDo(t, b.Rollback)
	})
}

func TestMySQLSerializableByDefaultIsRefused(t *testing.T) {
	forMySQL(t, engines.MySQL, func(t *testing.T, s *engines.Server, db *sql.DB) {
		conn := connMySQL(t, db)
		defer discardConn(conn)
		mustExec(t, conn, "set session transaction isolation level serializable")
		if _, err := mysql.New().Begin(t.Context(), conn, newMySQLXID(), nil); !errors.Is(err, drivers.ErrNotSupported) {
			t.Errorf("Begin: %v, want %v", err, drivers.ErrNotSupported)
		}
		b := beginMySQLOn(t, conn, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
		mustDo(t, b.Rollback)
	})
}

// MariaDB's read locks are what makes a read-only branch serializable: leaving early would give them up.
func TestMariaDBSerializableByDefaultDoesNotLeaveEarly(t *testing.T) {
	forMySQL(t, engines.MariaDB, func(t *testing.T, s *engines.Server, db *sql.DB) {
		conn := connMySQL(t, db)
		defer discardConn(conn)
		mustExec(t, conn, "set session transaction isolation level serializable")
		b := beginMySQLOn(t, conn, &sql.TxOptions{ReadOnly: true})
		b.mustPrepare(t)
		mustDo(t, b.Commit)
	})
}

// An application that sends XA statements itself must not get half a branch prepared.
func TestMySQLApplicationsOwnXAStatementsVoteNo(t *testing.T) {
	for _, kind := range []string{engines.MySQL, engines.MariaDB} {
		forMySQL(t, kind, func(t *testing.T, s *engines.Server, db *sql.DB) {
			for name, statements := range map[string][]string{
				"end":                  {"xa end %s"},
				"end and prepare":      {"xa end %s", "xa prepare %s"},
				"end and rollback":     {"xa end %s", "xa rollback %s"},
				"end and commit":       {"xa end %s", "xa commit %s one phase"},
				"rollback and another": {"xa end %s", "xa rollback %s", "xa start 'mine'"},
				"rollback and begin":   {"xa end %s", "xa rollback %s", "begin", "insert into kv values ('out', '')"},
			} {
				b := beginMySQL(t, db, nil)
				mustExec(t, b.conn, "replace into kv values (?, 'in')", name)
				x := fmt.Sprintf("x'%x',x'%x',%d", b.xid.GTRID, b.xid.BQual, b.xid.FormatID)
				for _, q := range statements {
					mustExec(t, b.conn, strings.ReplaceAll(q, "%s", x))
				}
				vote, err := b.Prepare(t.Context())
				if err == nil {
					t.Errorf("%s: Prepare votes %s", name, vote)
				}
				ended := name == "end" || name == "end and prepare"
				if got := errors.Is(err, drivers.ErrRolledBack); got != ended {
					t.Errorf("%s: Prepare: %v; that it was rolled back: %t, want %t", name, err, got, ended)
				}
				if err := b.Rollback(t.Context()); (err == nil) != ended {
					t.Errorf("%s: Rollback: %v, want success: %t", name, err, ended)
				}
				discardConn(b.conn)
				if p := preparedMySQL(t, db, b.xid); p != nil {
					t.Errorf("%s: left prepared", name)
				}
			}
		})
	}
}

// MariaDB looks only at an XID's two parts: a stranger's branch that differs in its format id must not be finished.
func TestMySQLStrangerOfTheSamePartsIsNotFinished(t *testing.T) {
	for _, kind := range []string{engines.MySQL, engines.MariaDB} {
		forMySQL(t, kind, func(t *testing.T, s *engines.Server, db *sql.DB) {
			ours := newMySQLXID()
			theirs := ours
			theirs.FormatID = 7
			x := fmt.Sprintf("x'%x',x'%x',7", theirs.GTRID, theirs.BQual)
			conn := connMySQL(t, db)
			for _, q := range []string{"xa start " + x, "insert into kv values ('theirs', '')", "xa end " + x, "xa prepare " + x} {
				mustExec(t, conn, q)
			}
			id := scanMySQL(t, conn, "select connection_id()")
			discardConn(conn)
			awaitSessionEnd(t, db, id)
			for name, err := range map[string]error{
				"CommitPrepared":   mysql.New().CommitPrepared(t.Context(), db, ours),
				"RollbackPrepared": mysql.New().RollbackPrepared(t.Context(), db, ours),
			} {
				if !errors.Is(err, drivers.ErrUnknownXID) {
					t.Errorf("%s: %v, want %v", name, err, drivers.ErrUnknownXID)
				}
			}
			if preparedMySQL(t, db, theirs) == nil {
				t.Fatalf("the stranger's branch is gone")
			}
			mustExec(t, db, "xa rollback "+x)
		})
	}
}

// An open result is in the way of every statement: an error at once, and nothing of the branch may stay.
func TestMySQLOpenRowsAreAnErrorAtOnce(t *testing.T) {
	forMySQL(t, engines.MySQL, func(t *testing.T, s *engines.Server, db *sql.DB) {
		b := beginMySQL(t, db, nil)
		mustExec(t, b.conn, "insert into kv values ('a', repeat('x', 1000000)), ('b', repeat('y', 1000000))")
		rows, err := b.conn.QueryContext(t.Context(), "select v from kv order by k")
		if err != nil {
			t.Fatal(err)
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		if vote, err := b.Prepare(t.Context()); err == nil {
			t.Errorf("Prepare with open rows votes %s", vote)
		}
		if err := b.Rollback(t.Context()); err == nil {
			t.Errorf("Rollback with open rows: no error")
		}
		rows.Close()
		discardConn(b.conn)
		mustExec(t, db, "insert into kv values ('a', '')") // waits for the server to undo the branch
		if preparedMySQL(t, db, b.xid) != nil {
			t.Errorf("left prepared")
		}
	})
}

func databaseName(t *testing.T, db *sql.DB) (name string) {
	t.Helper()
	if err := db.QueryRowContext(t.Context(), "select database()").Scan(&name); err != nil {
		t.Fatal(err)
	}
	return name
}

func awaitSessionEnd(t *testing.T, db *sql.DB, id int64) {
	t.Helper()
	for scanMySQL(t, db, fmt.Sprintf("select count(*) from information_schema.processlist where id = %d", id)) > 0 {
		if err := t.Context().Err(); err != nil {
			t.Fatal(err)
		}
	}
}

package postgres

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xasql/xasql/drivers"
)

// settings is what Check asks of a server.
type settings struct {
	version     int    // server_version_num
	slots       int    // max_prepared_transactions
	used        int    // how many of them are taken, by any database of the server
	oldest      string // the oldest of them, and its age
	oldestAge   time.Duration
	others      int    // branches of ours in this database that this role can't finish
	othersOwner string // the role of one of them
	standby     bool
	readOnly    bool // default_transaction_read_only
	fsync       bool
	fullPages   bool   // full_page_writes
	syncCommit  string // synchronous_commit
	denied      string // functions that evidence needs and this role may not execute
	role        string // as GRANT takes it
}

const settingsSQL = `SELECT
	pg_catalog.current_setting('server_version_num')::int,
	pg_catalog.current_setting('max_prepared_transactions')::int,
	(SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_xacts),
	COALESCE((SELECT gid FROM pg_catalog.pg_prepared_xacts ORDER BY prepared LIMIT 1), ''),
	COALESCE((SELECT pg_catalog.date_part('epoch', pg_catalog.now() - pg_catalog.min(prepared)) FROM pg_catalog.pg_prepared_xacts), 0),
	(SELECT pg_catalog.count(*) FROM ours), COALESCE((SELECT pg_catalog.min(owner::text) FROM ours), ''),
	pg_catalog.pg_is_in_recovery(),
	pg_catalog.current_setting('default_transaction_read_only') = 'on',
	pg_catalog.current_setting('fsync') = 'on',
	pg_catalog.current_setting('full_page_writes') = 'on',
	pg_catalog.current_setting('synchronous_commit'),
	` + deniedSQL + `, pg_catalog.quote_ident(current_user)`

// oursSQL selects what only another role, or a superuser, may finish.
const oursSQL = `WITH ours AS (SELECT owner FROM pg_catalog.pg_prepared_xacts
	WHERE database = pg_catalog.current_database() AND gid ~ '^xasql[.:]' AND owner <> current_user
	AND NOT (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)) `

// Check asks, in one query, whether the server can prepare transactions now, whether this role can finish what is
// prepared, whether the server keeps what it acknowledges, and whether this role may ask for what proves outcomes. Where it may not, branches
// that this driver begins from now on give no evidence, and are prepared and committed as ever.
func (d *Driver) Check(ctx context.Context, db *sql.DB) ([]drivers.Finding, error) {
	conn, err := connect(ctx, db)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var s settings
	var age float64
	err = ask(ctx, conn, stepCheck, oursSQL+settingsSQL, &s.version, &s.slots, &s.used, &s.oldest, &age,
		&s.others, &s.othersOwner, &s.standby, &s.readOnly, &s.fsync, &s.fullPages, &s.syncCommit, &s.denied, &s.role)
	if err != nil {
		return nil, err
	}
	if s.denied != "" {
		d.doubtful.Store(true)
	}
	s.oldestAge = time.Duration(age * float64(time.Second))
	return s.findings(), nil
}

const toPrimary = "connect to the primary (with several hosts in the URL: target_session_attrs=read-write)"

// forgotten is the age at which a prepared transaction is worth a warning, whoever made it.
const forgotten = 24 * time.Hour

func (s settings) findings() []drivers.Finding {
	var list []drivers.Finding
	find := func(wrong bool, severity drivers.Severity, problem, hint string) {
		if wrong {
			list = append(list, drivers.Finding{Severity: severity, Problem: problem, Hint: hint})
		}
	}
	find(s.version < 130000, drivers.Fatal,
		fmt.Sprintf("the server is PostgreSQL %d", s.version/10000),
		"upgrade to PostgreSQL 13 or later")
	find(s.slots == 0, drivers.Fatal,
		"max_prepared_transactions is 0 on this server",
		"set it to at least the number of connections, and restart the server")
	find(s.standby, drivers.Fatal,
		"the server is a standby: it can neither prepare nor finish a transaction",
		toPrimary)
	find(!s.fsync, drivers.Warning,
		"fsync is off: a crash of the machine loses or corrupts what was prepared and committed",
		"set fsync = on")
	find(!s.fullPages, drivers.Warning,
		"full_page_writes is off: a crash of the machine may corrupt the database",
		"set full_page_writes = on, unless the file system never tears a page")
	find(s.syncCommit == "off", drivers.Warning,
		"synchronous_commit is off: a crash loses commits made outside global transactions (within them the driver flushes)",
		"set synchronous_commit = on for this role and database")
	find(s.readOnly, drivers.Warning,
		"default_transaction_read_only is on: branches can't write",
		"set it off for this role and database, or connect to the primary")
	find(s.slots > 0 && s.used*5 >= s.slots*4, drivers.Warning,
		fmt.Sprintf("%d of %d max_prepared_transactions are taken", s.used, s.slots),
		"settle what is in doubt, or raise the setting and restart the server")
	find(s.others > 0, drivers.Warning,
		fmt.Sprintf("%d prepared transactions of this database can't be finished by this role; one was prepared by %q", s.others, s.othersOwner),
		"recover as the role that prepared them, or as a superuser")
	find(s.denied != "", drivers.Warning,
		fmt.Sprintf("this role may not execute %s: what became of a branch can't be proven afterwards and is told as unverified%s", s.denied, s.unidentified()),
		fmt.Sprintf("GRANT EXECUTE ON FUNCTION %s TO %s; as a superuser, in this database", s.denied, s.role))
	find(s.oldestAge > forgotten, drivers.Warning,
		fmt.Sprintf("a prepared transaction is %s old, and holds back VACUUM: %q", s.oldestAge.Round(time.Hour), s.oldest),
		"settle it; it may be another program's")
	slices.SortStableFunc(list, func(a, b drivers.Finding) int { return int(b.Severity) - int(a.Severity) })
	return list
}

// unidentified is what else the missing privileges do.
func (s settings) unidentified() string {
	if !strings.Contains(s.denied, "pg_control_system") {
		return ""
	}
	return ", and a name that points to another database than before is not noticed"
}

// Identify returns the server's system identifier, which initdb makes at random, and the database's OID. Both
// stay over restarts, failover to a standby, and ALTER DATABASE RENAME; a dump that is restored is another database. A
// physical copy that was opened for writing can't be told from the original.
func (*Driver) Identify(ctx context.Context, db *sql.DB) (string, error) {
	conn, err := connect(ctx, db)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	var id string
	err = ask(ctx, conn, stepIdentify, `SELECT 'postgres/' || system_identifier || '/' || oid
		FROM pg_catalog.pg_control_system(), pg_catalog.pg_database WHERE datname = pg_catalog.current_database()`, &id)
	return id, err
}

package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// grantRecover is what MySQL needs; the account is to follow.
const grantRecover = "GRANT XA_RECOVER_ADMIN ON *.* TO"

// settings are what makes a server, and this session of it, fit or unfit.
type settings struct {
	user, schema  string
	flushAtCommit string
	logBin        bool
	syncBinlog    int64
	readOnly      string
	engine        string
	unlogged      bool
	flavour       flavour // 0: too old
	superReadOnly bool
	detaches      bool
	isolation     string
}

// Check implements drivers.Checker. It looks at this pool's sessions and user, as well as at the server.
func (engine) Check(ctx context.Context, db *sql.DB) ([]drivers.Finding, error) {
	found, err := check(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("mysql: check: %w", err)
	}
	slices.SortStableFunc(found, func(a, b drivers.Finding) int { return int(b.Severity) - int(a.Severity) })
	return found, nil
}

func check(ctx context.Context, db *sql.DB) ([]drivers.Finding, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, translate(err)
	}
	defer conn.Close()
	s, err := readSettings(ctx, conn)
	if err != nil {
		return nil, translate(err)
	}
	found := s.judge()
	_, err = list(ctx, conn)
	switch {
	case number(err) == errXAFailed:
		found = append(found, drivers.Finding{
			Severity: drivers.Fatal,
			Problem:  "this user may not list prepared branches, so that nothing can be recovered",
			Hint:     grantRecover + " " + s.user,
		})
	case err != nil:
		return nil, err
	}
	if s.flavour == mariaDB {
		finding, err := checkProcess(ctx, conn, s.user)
		if err != nil {
			return nil, err
		}
		found = append(found, finding...)
	}
	if s.flavour == mySQL && s.logBin {
		filter, err := checkFilter(ctx, conn, s.schema)
		if err != nil {
			return nil, err
		}
		found = append(found, filter...)
	}
	return found, nil
}

// readSettings takes one round trip; see inspect for its comments.
func readSettings(ctx context.Context, conn *sql.Conn) (settings, error) {
	rows, err := conn.QueryContext(ctx, `SELECT CURRENT_USER(), COALESCE(DATABASE(), ''), @@global.innodb_flush_log_at_trx_commit, @@log_bin,`+
		` @@global.sync_binlog, @@global.read_only, @@default_storage_engine, @@log_bin AND NOT @@sql_log_bin`+
		` /*!80029 , 1, @@global.super_read_only, @@xa_detach_on_prepare, @@transaction_isolation */`+
		` /*M!100502 , 2, 0, 0, @@tx_isolation */`)
	if err != nil {
		return settings{}, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return settings{}, err
	}
	var s settings
	to := []any{&s.user, &s.schema, &s.flushAtCommit, &s.logBin, &s.syncBinlog, &s.readOnly, &s.engine, &s.unlogged,
		&s.flavour, &s.superReadOnly, &s.detaches, &s.isolation}
	if !rows.Next() {
		return settings{}, errors.Join(errors.New("server settings"), rows.Err())
	}
	if err := rows.Scan(to[:min(len(columns), len(to))]...); err != nil {
		return settings{}, err
	}
	if user, host, ok := cutLast(s.user, "@"); ok {
		s.user = quote(user) + "@" + quote(host)
	}
	return s, rows.Close()
}

// judge returns what the settings tell.
func (s settings) judge() []drivers.Finding {
	var found []drivers.Finding
	add := func(bad bool, severity drivers.Severity, problem, hint string) {
		if bad {
			found = append(found, drivers.Finding{Severity: severity, Problem: problem, Hint: hint})
		}
	}
	readOnly := !slices.Contains([]string{"0", "OFF"}, s.readOnly)
	add(s.flavour == 0, drivers.Fatal,
		"this server loses a prepared branch, or can't give it up, when its session ends",
		"upgrade it to MySQL 8.0.29 or MariaDB 10.5.2 at least")
	add(s.flavour == mySQL && s.unlogged, drivers.Fatal,
		"sql_log_bin is 0 in this pool's sessions, and MySQL loses at a crash the prepared branches that are not in its binary log",
		"take sql_log_bin=0 out of the connection's settings")
	add(s.superReadOnly, drivers.Fatal,
		"the server is read-only for everybody (super_read_only)",
		"point this resource at the primary server")
	add(readOnly && !s.superReadOnly, drivers.Warning,
		"the server is read-only (read_only): it takes no changes, and MariaDB finishes no prepared branches, but for privileged users",
		"point this resource at the primary server")
	add(s.flushAtCommit != "1" && s.flushAtCommit != "3", drivers.Warning,
		"innodb_flush_log_at_trx_commit is "+s.flushAtCommit+": a crash of the machine can lose prepared and committed branches",
		"set it to 1")
	add(s.logBin && s.syncBinlog != 1, drivers.Warning,
		fmt.Sprintf("sync_binlog is %d: a crash of the machine can lose prepared and committed branches", s.syncBinlog),
		"set it to 1")
	add(s.flavour == mariaDB && s.logBin, drivers.Warning,
		"log_bin is on, and MariaDB's binary log is not crash-safe for XA (MDEV-21469): after a crash a replica can hold branches that this server lost, or lack what it committed",
		"compare or rebuild replicas after a crash; where there are none, start the server with --skip-log-bin")
	add(s.flavour == mySQL && !s.detaches, drivers.Warning,
		"xa_detach_on_prepare is OFF: a prepared branch can't be recovered while its session is alive",
		"set it to ON, the default")
	add(s.flavour == mySQL && s.isolation == "SERIALIZABLE", drivers.Warning,
		"transactions are serializable by default, which branches on MySQL can't be",
		"ask for another isolation level for every global transaction, or set transaction_isolation to REPEATABLE-READ")
	add(!strings.EqualFold(s.engine, "InnoDB"), drivers.Warning,
		"new tables are made with the storage engine "+s.engine+" by default: only InnoDB's tables are part of a transaction",
		"set default_storage_engine to InnoDB")
	return found
}

// checkProcess looks whether this user may see the server's sessions and transactions, and so the moment from which others may finish a branch.
func checkProcess(ctx context.Context, conn *sql.Conn, user string) ([]drivers.Finding, error) {
	var n int
	err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM information_schema.innodb_trx").Scan(&n)
	if number(err) == errAccessDenied {
		return []drivers.Finding{{
			Severity: drivers.Warning,
			Problem: "this user lacks PROCESS, and can't see when a session has handed over the branch that it prepared: finished before, a branch is left as it is, locks and all, " +
				"until the server starts again, though MariaDB answers OK; recovery waits half a second instead, and does not see that another user's session takes longer",
			Hint: "GRANT PROCESS ON *.* TO " + user,
		}}, nil
	}
	return nil, translate(err)
}

// checkFilter looks for filters of MySQL's binary log: what they leave out is lost at a crash, though it was prepared.
func checkFilter(ctx context.Context, conn *sql.Conn, schema string) ([]drivers.Finding, error) {
	only, ignored, err := readFilter(ctx, conn)
	switch {
	case number(err) == errAccessDenied:
		return []drivers.Finding{{
			Severity: drivers.Warning,
			Problem:  "this user may not see whether the server filters its binary log; MySQL loses at a crash the prepared branches that are filtered out",
			Hint:     "start the server without --binlog-do-db and --binlog-ignore-db; GRANT REPLICATION CLIENT lets this check see it",
		}}, nil
	case err != nil:
		return nil, translate(err)
	case only == "" && ignored == "":
		return nil, nil
	}
	f := drivers.Finding{
		Severity: drivers.Warning,
		Problem:  "the server filters its binary log, and loses at a crash the prepared branches that are filtered out",
		Hint:     "start it without --binlog-do-db and --binlog-ignore-db",
	}
	if filtered(schema, only, ignored) {
		f.Severity = drivers.Fatal
		f.Problem = fmt.Sprintf("the server filters schema %q out of its binary log, and loses at a crash the prepared branches that changed it", schema)
	}
	return []drivers.Finding{f}, nil
}

// filtered tells whether the filters, lists with commas, leave the schema out of the binary log.
func filtered(schema, only, ignored string) bool {
	if only != "" {
		return !slices.Contains(strings.Split(only, ","), schema)
	}
	return slices.Contains(strings.Split(ignored, ","), schema)
}

func readFilter(ctx context.Context, conn *sql.Conn) (only, ignored string, err error) {
	var file, position, gtids any
	for _, query := range []string{"SHOW BINARY LOG STATUS", "SHOW MASTER STATUS"} { // the latter until MySQL 8.1
		err = conn.QueryRowContext(ctx, query).Scan(&file, &position, &only, &ignored, &gtids)
		if number(err) != errSyntax {
			break
		}
	}
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return only, ignored, err
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// quote writes an account's part as a string that both backslash modes read alike.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

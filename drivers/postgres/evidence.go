package postgres

import (
	"context"
	"database/sql"
	"strconv"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// A transaction ID names one transaction in one history alone: a replica that takes over without having got the PREPARE gives the same ID to
// another transaction. So the evidence names the history too, in one of two forms:
//
//	<system identifier>.<timeline>/<transaction ID>   a failover, or a recovery from an archive, begins a new timeline
//	@<start>/<transaction ID>                         the run of a server that can't tell its timeline
//
// A copy of a cluster's files that is started as if it had crashed goes on in the same timeline: that can't be told.

// tellsSQL is whether the server can tell its timeline: a standby has none of its own, and Aurora refuses unless wal_level is logical.
const tellsSQL = "(pg_catalog.to_regproc('aurora_version') IS NULL AND NOT pg_catalog.pg_is_in_recovery())"

// timelineSQL goes by where the server writes: pg_control_checkpoint still tells the old timeline for a while after a failover.
const timelineSQL = "pg_catalog.substr(pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()), 1, 8)"

const clusterSQL = "(SELECT system_identifier::text FROM pg_catalog.pg_control_system())"

// startSQL tells one run of a server from another, and from every other server.
const startSQL = "(pg_catalog.date_part('epoch', pg_catalog.pg_postmaster_start_time()) * 1000000)::bigint::text"

// historySQL is the evidence up to the slash. The functions in it are everybody's to execute, unless somebody has revoked that: see deniedSQL.
const historySQL = "CASE WHEN " + tellsSQL + " THEN " + clusterSQL + " || '.' || pg_catalog.ltrim(" + timelineSQL + ", '0') ELSE '@' || " + startSQL + " END"

// deniedSQL lists the functions of evidence that this role may not execute, "" where it may execute them all. It is an error to name one
// of those in a statement, even where it would not be called.
const deniedSQL = `(SELECT COALESCE(pg_catalog.string_agg(f, ', '), '') FROM pg_catalog.unnest(ARRAY['pg_control_system()', 'pg_current_wal_insert_lsn()',
	'pg_walfile_name(pg_lsn)', 'pg_postmaster_start_time()', 'pg_is_in_recovery()', 'pg_xact_status(xid8)']) f
	WHERE NOT pg_catalog.has_function_privilege('pg_catalog.' || f, 'EXECUTE'))`

// evidence names a transaction.
type evidence struct {
	cluster  string // its system identifier
	timeline string // eight digits, hexadecimal
	start    string // of the server; "" where the two above are told
	txid     uint64
}

// firstTxid is the first ID of an ordinary transaction: what is below always counts as committed.
const firstTxid = 3

// parseEvidence accepts nothing but what askSQL makes: it becomes part of a statement.
func parseEvidence(s string) (e evidence, ok bool) {
	history, id, _ := strings.Cut(s, "/")
	var err error
	if e.txid, err = strconv.ParseUint(id, 10, 64); err != nil || e.txid < firstTxid {
		return evidence{}, false
	}
	if start, run := strings.CutPrefix(history, "@"); run {
		e.start = start
		return e, within(start, "0123456789")
	}
	cluster, timeline, _ := strings.Cut(history, ".")
	e.cluster, e.timeline = cluster, strings.Repeat("0", max(0, 8-len(timeline)))+timeline
	return e, within(cluster, "0123456789") && within(timeline, "0123456789ABCDEF") && len(timeline) <= 8
}

func within(s, alphabet string) bool { return s != "" && strings.Trim(s, alphabet) == "" }

// fateSQL asks for the fate of the transaction (committed, aborted, in progress; empty where it is too old, or the server is of another cluster, or has stayed behind
// in an earlier timeline), and whether its ID still means that transaction. An ID that the server has not given out yet is an error (22023).
func (e evidence) fateSQL() string {
	status := "pg_catalog.pg_xact_status('" + strconv.FormatUint(e.txid, 10) + "'::pg_catalog.xid8)"
	if e.start != "" {
		return "SELECT COALESCE(CASE WHEN " + startSQL + " = '" + e.start + "' THEN " + status + " END, ''), true"
	}
	return "SELECT COALESCE(CASE WHEN " + tellsSQL + " AND " + clusterSQL + " = '" + e.cluster + "' AND " +
		timelineSQL + " COLLATE \"C\" >= '" + e.timeline + "' THEN " + status + " END, ''), " +
		"CASE WHEN " + tellsSQL + " THEN " + timelineSQL + " = '" + e.timeline + "' ELSE false END"
}

var (
	_ drivers.Prover        = (*Driver)(nil)
	_ drivers.EvidentBranch = (*branch)(nil)
)

// asker is a connection, or a pool where it does not matter that the question may be sent twice.
type asker interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// outcome asks the server what became of the transaction.
func outcome(ctx context.Context, db asker, text string) (committed, proven bool, err error) {
	e, ok := parseEvidence(text)
	if !ok {
		return false, false, nil
	}
	var fate string
	var same bool
	err = ask(ctx, db, stepProve, e.fateSQL(), &fate, &same)
	switch {
	case sqlState(err) == "22023":
		// A primary of this cluster, of this timeline or a later one, has not come so far: it is a replica that lacked the PREPARE, or an older
		// copy, and the branch is lost.
		return false, true, nil
	case sqlState(err) == "42501": // somebody has revoked what is everybody's: Check tells
		return false, false, nil
	case err != nil:
		return false, false, err
	}
	return same && fate == "committed", same && (fate == "committed" || fate == "aborted"), nil
}

// Outcome tells from the evidence what has become of a branch. It is proven for as long as the server knows the fate of the transaction's ID
// (pg_xact_status), which is some hundred million transactions at least with the default settings, and in the timeline in which the branch
// was prepared, and to a role that may execute the functions that tell it (see [Driver.Check]): after a failover nothing is, unless the server that took over has not even come to that ID, so that the branch is surely lost. A standby proves
// nothing.
//
// committed means that the commit is on the disk of the server that answers.
func (*Driver) Outcome(ctx context.Context, db *sql.DB, _ drivers.XID, evidence string) (committed, proven bool, err error) {
	return outcome(ctx, db, evidence)
}

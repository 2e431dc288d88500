package judge

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// The tables. Their names are those of nothing else.
const (
	AccountsTable = "xasql_torture_accounts"
	EntriesTable  = "xasql_torture_entries"
	MadeTable     = "xasql_torture_made" // what in this database the program has made, and may drop
)

// Accounts is the number of accounts in each database, numbered from 0, and Initial what each holds at first.
const (
	Accounts = 64
	Initial  = 1000
)

// What a database holds of a run.
const (
	Ledger = "ledger" // the tables of accounts and entries
	Log    = "log"    // the decision log
)

const resourceTable = "xasql_resource" // the names of the databases that a log is used for

// logTables are the tables of a log in a database.
var logTables = []string{"xasql_log", "xasql_decision", resourceTable, "xasql_member", "xasql_claim", "xasql_note"}

var tablesOf = map[string][]string{Ledger: {AccountsTable, EntriesTable}, Log: logTables}

// Create makes the tables and accounts, and notes which run they belong to. Where one of the tables is there already it refuses: they may be an
// earlier run's, which [Drop] removes, or somebody else's.
func Create(ctx context.Context, d Database, run string) error {
	return d.with(func(db *sql.DB) error {
		if err := claim(ctx, d, db, Ledger, run); err != nil {
			return err
		}
		accounts := make([]string, Accounts)
		for i := range accounts {
			accounts[i] = fmt.Sprintf("(%d, %d)", i, Initial)
		}
		return execAll(ctx, db,
			"create table "+AccountsTable+" (id integer primary key, balance bigint not null)",
			"create table "+EntriesTable+" (id varchar(64) not null, account integer not null, delta bigint not null, primary key (id, account))",
			"insert into "+AccountsTable+" (id, balance) values "+strings.Join(accounts, ", "))
	})
}

// ClaimLog notes that the log which is going to be made in the database belongs to the run. Where there is a log already it refuses.
func ClaimLog(ctx context.Context, d Database, run string) error {
	return d.with(func(db *sql.DB) error { return claim(ctx, d, db, Log, run) })
}

// claim notes that what is going to be made is the run's, before it is made: what a failure leaves can then be dropped.
func claim(ctx context.Context, d Database, db *sql.DB, what, run string) error {
	present, err := d.tables(ctx, db)
	if err != nil {
		return err
	}
	for _, table := range tablesOf[what] {
		if slices.Contains(present, table) {
			return fmt.Errorf("there is a table %s already: if an earlier run has left it, remove it with -clean; else name another database", table)
		}
	}
	if !slices.Contains(present, MadeTable) {
		if err := execAll(ctx, db, "create table "+MadeTable+" (what varchar(16) primary key, run varchar(64) not null)"); err != nil {
			return err
		}
	}
	return execAll(ctx, db, fmt.Sprintf("insert into %s (what, run) values ('%s', '%s')", MadeTable, what, run))
}

// Drop removes what runs have noted as theirs, and nothing else, and returns the names of the tables. A log that knows of other
// resources than these is somebody's by now, and is refused.
func Drop(ctx context.Context, d Database, resources []string) (dropped []string, err error) {
	err = d.with(func(db *sql.DB) error {
		present, err := d.tables(ctx, db)
		if err != nil || !slices.Contains(present, MadeTable) {
			return err
		}
		made, err := column(ctx, db, "select what from "+MadeTable)
		if err != nil {
			return err
		}
		var doomed []string
		for _, what := range made {
			doomed = append(doomed, tablesOf[what]...)
		}
		if slices.Contains(doomed, resourceTable) && slices.Contains(present, resourceTable) {
			known, err := column(ctx, db, "select name from "+resourceTable)
			if err != nil {
				return err
			}
			for _, name := range known {
				if !slices.Contains(resources, name) {
					return fmt.Errorf("the log is used for a database %q, which is none of the run's: it is not dropped", name)
				}
			}
		}
		for _, table := range append(doomed, MadeTable) {
			if !slices.Contains(present, table) {
				continue
			}
			if err := execAll(ctx, db, "drop table "+table); err != nil {
				return err
			}
			dropped = append(dropped, table)
		}
		return nil
	})
	return dropped, err
}

// tables lists the tables that a statement of this connection would find.
func (d Database) tables(ctx context.Context, db *sql.DB) ([]string, error) {
	query := map[string]string{
		"postgres": "select tablename from pg_tables where schemaname = any(current_schemas(false))",
		"mysql":    "select table_name from information_schema.tables where table_schema = database()",
		"sqlite":   "select name from sqlite_master where type = 'table'",
	}[d.kind()]
	return column(ctx, db, query)
}

// with calls do with a pool, and says which database an error is about.
func (d Database) with(do func(db *sql.DB) error) error {
	db, err := d.open()
	if err != nil {
		return err
	}
	if err = errors.Join(do(db), db.Close()); err != nil {
		return fmt.Errorf("judge: %s: %w", d.Name, err)
	}
	return nil
}

func execAll(ctx context.Context, db *sql.DB, statements ...string) error {
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// column returns the one column of a query.
func column(ctx context.Context, db *sql.DB, query string) ([]string, error) {
	rows, err := db.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var s string
		if err := rows.Scan(&s); err != nil {
			return nil, err
		}
		out = append(out, s)
	}
	return out, rows.Err()
}

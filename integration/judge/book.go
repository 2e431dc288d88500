package judge

import (
	"context"
	"database/sql"
	"strings"
)

// Book is what one database holds, at one moment.
type Book struct {
	Entries  map[string][]Entry // by transfer
	Balances map[int]int64      // by account
}

// Book reads what the database holds, both tables at the same moment.
func (d Database) Book(ctx context.Context) (Book, error) {
	b := Book{Entries: map[string][]Entry{}, Balances: map[int]int64{}}
	err := d.with(func(db *sql.DB) error {
		// SQLite's transactions always see one moment.
		opts := &sql.TxOptions{}
		if d.kind() != "sqlite" {
			opts.Isolation, opts.ReadOnly = sql.LevelRepeatableRead, true
		}
		tx, err := db.BeginTx(ctx, opts)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if err := b.readEntries(ctx, d.Name, tx); err != nil {
			return err
		}
		return b.readBalances(ctx, tx)
	})
	return b, err
}

func (b Book) readEntries(ctx context.Context, resource string, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "select id, account, delta from "+EntriesTable+" order by id, account")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		e := Entry{Resource: resource}
		if err := rows.Scan(&id, &e.Account, &e.Delta); err != nil {
			return err
		}
		b.Entries[id] = append(b.Entries[id], e)
	}
	return rows.Err()
}

func (b Book) readBalances(ctx context.Context, tx *sql.Tx) error {
	rows, err := tx.QueryContext(ctx, "select id, balance from "+AccountsTable)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account int
		var balance int64
		if err := rows.Scan(&account, &balance); err != nil {
			return err
		}
		b.Balances[account] = balance
	}
	return rows.Err()
}

// Prepared lists what the database, or its whole server, holds prepared of these logs, as the engine spells it.
func (d Database) Prepared(ctx context.Context, logs []string) (ours []string, err error) {
	err = d.with(func(db *sql.DB) error {
		var all []string
		var err error
		switch d.kind() {
		case "postgres":
			all, err = column(ctx, db, "select gid from pg_prepared_xacts where database = current_database()")
		case "mysql":
			all, err = recoverXIDs(ctx, db)
		default:
			var present []string
			present, err = column(ctx, db, "select name from sqlite_master where name = '_xa_prepared'")
			if err == nil && len(present) > 0 {
				all, err = column(ctx, db, "select xid from _xa_prepared")
			}
		}
		for _, xid := range all {
			for _, log := range logs {
				if strings.Contains(xid, log+".") {
					ours = append(ours, xid)
				}
			}
		}
		return err
	})
	return ours, err
}

func recoverXIDs(ctx context.Context, db *sql.DB) ([]string, error) {
	rows, err := db.QueryContext(ctx, "xa recover")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var format, gtrid, bqual int
		var data string
		if err := rows.Scan(&format, &gtrid, &bqual, &data); err != nil {
			return nil, err
		}
		out = append(out, data[:gtrid]+"/"+data[gtrid:])
	}
	return out, rows.Err()
}

//go:build cgo && (linux || darwin)

package sqlite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/xasql/xasql/drivers"
)

// formatVersion is that of what this package keeps in a file.
const formatVersion = 1

// The tables of a branch's record. _xa_prepared has at most one row, and while it has one, the fence keeps writers out.
const (
	identityTable = "CREATE TABLE IF NOT EXISTS main._xa_identity(id TEXT NOT NULL)"
	recordTables  = `
CREATE TABLE IF NOT EXISTS main._xa_prepared(xid TEXT PRIMARY KEY, format INTEGER NOT NULL, at TEXT NOT NULL, record TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS main._xa_redo(n INTEGER PRIMARY KEY, rid INTEGER, key BLOB, base INTEGER, image BLOB);
CREATE TABLE IF NOT EXISTS main._xa_outcome(xid TEXT PRIMARY KEY, outcome TEXT NOT NULL);`
)

const fenceMessage = "this database holds a transaction that xasql has prepared (SELECT xid FROM _xa_prepared): " +
	"no writes until it is committed or rolled back: see xa-recover"

// fence is a trigger that keeps writers out of a table while a branch is in doubt: everyone's, for as long as the table
// exists, since only the engine can stop a program that knows nothing of this package. On the connection of a branch it also
// notes the rows that are touched.
type fence struct{ name, sql string }

// fencesOf returns a table's triggers, all of which must be there to the letter.
//
// They note a row before it changes, by its key as it is and as it will be, so that no trigger of the application's can prevent it. Only a new
// row's rowid is not known before. Where the application has triggers, there is one more that fires before the insert: theirs
// might skip the one after it.
func (sc *schema) fencesOf(t *table) []fence {
	make := func(kind, event string, note ...string) fence {
		when := "EXISTS (SELECT 1 FROM _xa_prepared)"
		if sc.cannot[t.Name] == "" {
			when = t.note(note...) + " <> '' AND " + when
		}
		name := prefix + "fence_" + kind + "_" + t.Name
		return fence{name, fmt.Sprintf("CREATE TRIGGER %s %s ON %s WHEN %s BEGIN SELECT RAISE(ABORT, %s); END",
			quote(name), event, quote(t.Name), when, literal(fenceMessage))}
	}
	all := []fence{
		make("insert", "AFTER INSERT", "NEW."),
		make("update", "BEFORE UPDATE", "OLD.", "NEW."),
		make("delete", "BEFORE DELETE", "OLD."),
	}
	if t.lateKey() {
		all = append(all, make("after_update", "AFTER UPDATE", "NEW."))
	}
	if sc.triggers {
		all = append(all, make("before_insert", "BEFORE INSERT", "NEW."))
	}
	return all
}

// missing returns what must be done before the file can hold a prepared branch.
func (sc *schema) missing() []string {
	var all []string
	for _, name := range []string{"_xa_prepared", "_xa_redo", "_xa_outcome"} {
		if !sc.objects[name] {
			all = append(all, recordTables)
			break
		}
	}
	var drop, create []string
	there := map[fence]bool{}
	for _, f := range sc.fences {
		there[f] = true
	}
	for _, t := range sc.tables {
		if t.shadow {
			continue
		}
		for _, f := range sc.fencesOf(t) {
			if !there[f] {
				create = append(create, strings.Replace(f.sql, "CREATE TRIGGER ", "CREATE TRIGGER main.", 1))
			}
			delete(there, f)
		}
	}
	for _, f := range sc.fences {
		if there[f] { // its table had another name or key before
			drop = append(drop, "DROP TRIGGER main."+quote(f.name))
		}
	}
	return append(append(all, drop...), create...)
}

// known is what this process remembers of its open connections.
// The schema is remembered by connection, and good for as long as the file's schema_version: just as SQLite itself does it.
var known = connections{all: map[connID]*facts{}}

type connections struct {
	mu  sync.Mutex // guards all
	all map[connID]*facts
}

// facts are those of one connection. Only its own session uses them.
type facts struct {
	file      fileID
	schema    *schema
	capture   *capture // of schema, and of this setting of recursive_triggers
	recursive bool
	temp      int64 // a schema version at which there were no temporary triggers
}

func (c *connections) of(id connID) *facts {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.all[id]
	if f == nil {
		for old := range c.all {
			if !old.alive() {
				delete(c.all, old)
			}
		}
		f = &facts{}
		c.all[id] = f
	}
	return f
}

// facts returns what is known of the connection, once its file is fit for branches.
func (s session) facts(journal string) (*facts, error) {
	f := known.of(s.id)
	path := s.raw.GetFilename("main")
	if path == "" {
		return nil, fmt.Errorf("%w: an in-memory or temporary database can't hold a prepared branch: use a file", drivers.ErrNotSupported)
	}
	if journal != "wal" {
		return nil, fmt.Errorf("%w: the database's journal mode is %s: %s", drivers.ErrNotSupported, journal, walHint)
	}
	if f.file == (fileID{}) {
		f.file = identify(path)
	}
	return f, nil
}

const walHint = "run PRAGMA journal_mode=WAL on it once, or open it with _journal_mode=WAL"

// holdsRecords reports whether the file has the tables of a branch's record. A database without them has no prepared branch.
func (s session) holdsRecords() (bool, error) {
	n, err := s.number("SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name IN ('_xa_prepared', '_xa_redo', '_xa_outcome')")
	return n == 3, err
}

// identity returns the file's identity, "" where it has none.
func (s session) identity() (string, error) {
	n, err := s.number("SELECT count(*) FROM main.sqlite_schema WHERE type = 'table' AND name = '_xa_identity'")
	if err != nil || n == 0 {
		return "", err
	}
	v, err := s.value("SELECT id FROM main._xa_identity")
	return text(v), err
}

// makeIdentity gives the file an identity, unless somebody else has just done so, inside a transaction.
func (s session) makeIdentity() (string, error) {
	id, err := s.identity()
	if err != nil || id != "" {
		return id, err
	}
	id = rand.Text()
	return id, errors.Join(s.exec(identityTable), s.exec("INSERT INTO main._xa_identity(id) VALUES (?)", id))
}

// prepareFile makes what the file lacks to hold a prepared branch. It is called with the write lock held, and returns with it
// held; what it made is committed by then.
func (s session) prepareFile(ctx context.Context, f *facts, timeout int64) error {
	for {
		version, err := s.number("PRAGMA main.schema_version")
		if err != nil {
			return err
		}
		if f.schema == nil || f.schema.version != version {
			if f.schema, err = s.readSchema(version); err != nil {
				return fmt.Errorf("read the schema: %w", err)
			}
			f.capture = nil
		}
		if f.schema.log {
			return fmt.Errorf("%w: the file holds a decision log (table %s): %s", drivers.ErrNotSupported, logTable, logHint)
		}
		if f.schema.complete {
			return nil
		}
		missing := f.schema.missing()
		if len(missing) == 0 {
			f.schema.complete = true
			return nil
		}
		if f.schema.objects["_xa_prepared"] {
			if err := s.inDoubt(); err != nil {
				return err
			}
		}
		for _, sql := range missing {
			if err := s.exec(sql); err != nil {
				return fmt.Errorf("make the tables and the fence: %w", err)
			}
		}
		if _, err := s.makeIdentity(); err != nil {
			return fmt.Errorf("make the identity: %w", err)
		}
		if err := s.exec("COMMIT"); err != nil {
			return err
		}
		if err := s.lock(ctx, timeout); err != nil {
			return err
		}
	}
}

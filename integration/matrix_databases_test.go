package integration

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/crash"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/internal/connect"
)

// matrix is the databases of the crash matrix: on each server two, for the first and the second branch, and for each SQLite branch a file.
type matrix struct {
	engines []engines.Engine
	servers map[engines.Engine]*engines.Server
	urls    map[engines.Engine][2]string
	empty   []byte // a SQLite file

	kinds []string // of kills, in the order in which they ran
	ran   map[string]int
}

func newMatrix(t *testing.T) *matrix {
	t.Helper()
	m := &matrix{engines: append(engines.All(), sqlite), ran: map[string]int{},
		servers: map[engines.Engine]*engines.Server{}, urls: map[engines.Engine][2]string{}}
	engines.Start(engines.All()...)
	for _, e := range engines.All() {
		m.servers[e] = e.Server(t)
		m.urls[e] = [2]string{patiently(m.servers[e].NewDatabase(t)), patiently(m.servers[e].NewDatabase(t))}
		for _, url := range m.urls[e] {
			database{url: url, name: e.Name}.exec(t, crash.Table)
		}
	}
	file := filepath.Join(t.TempDir(), "empty.db")
	database{url: "sqlite:" + file, name: "sqlite"}.exec(t, crash.Table)
	var err error
	if m.empty, err = os.ReadFile(file); err != nil {
		t.Fatal(err)
	}
	return m
}

// exec runs statements on a pool of their own.
func (d database) exec(t *testing.T, statements ...string) {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			t.Fatalf("%s: %.40s: %v", d.name, s, err)
		}
	}
}

// prepare gives the cases of a round their rows, files and logs, and returns the file that tells the program of them.
func (m *matrix) prepare(t *testing.T, cases []matrixCase) string {
	t.Helper()
	dir := t.TempDir()
	rows := make([]string, len(cases))
	told := make([]crash.Case, len(cases))
	for i := range cases {
		c := &cases[i]
		rows[i] = fmt.Sprintf("(%d, 0)", i+1)
		c.Row, c.Point, c.Then = i+1, c.point.Name, c.then.Name
		c.ID = strings.ReplaceAll(fmt.Sprintf("%d-%s-%s-%s", c.Row, c.engines[0], c.engines[1], c.Point), ":", "")
		if c.Then != "" {
			c.ID += "-" + c.Then
		}
		c.Log = filepath.Join(dir, c.ID)
		for side, e := range c.engines {
			c.Sides[side] = crash.Side{Name: fmt.Sprintf("%c-%s", 'a'+side, e.Kind), URL: m.urls[e][side]}
			if e == sqlite {
				file := fmt.Sprintf("%s-%d.db", c.Log, side)
				c.Sides[side].URL = "sqlite:" + file
				if err := os.WriteFile(file, m.empty, 0o600); err != nil {
					t.Fatal(err)
				}
				m.database(*c, side).exec(t, fmt.Sprintf("insert into crashes (id, hits) values (%d, 0)", c.Row))
			}
		}
		told[i] = c.Case
	}
	for _, d := range m.onServers() {
		d.exec(t, "delete from crashes", "insert into crashes (id, hits) values "+strings.Join(rows, ", "))
	}
	text, err := json.Marshal(told)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "cases.json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func (m *matrix) database(c matrixCase, side int) database {
	return database{name: c.Sides[side].Name, url: c.Sides[side].URL, server: m.servers[c.engines[side]]}
}

// onServers returns the servers' databases.
func (m *matrix) onServers() []database {
	var all []database
	for _, e := range engines.All() {
		for side, url := range m.urls[e] {
			all = append(all, database{name: fmt.Sprintf("%c-%s", 'a'+side, e.Name), url: url, server: m.servers[e]})
		}
	}
	return all
}

// hits reads the cases' rows, by database. It also changes each row, to what it is: one that is locked makes that fail.
func (m *matrix) hits(t *testing.T, cases []matrixCase) map[string]map[int]int {
	t.Helper()
	all := m.onServers()
	for _, c := range cases {
		for side, e := range c.engines {
			if e == sqlite {
				all = append(all, m.database(c, side))
			}
		}
	}
	hits := map[string]map[int]int{}
	for _, d := range all {
		m.unlocked(t, d, cases)
		hits[d.url] = d.hits(t, "")
	}
	return hits
}

// unlocked ends the test, and names the cases, when a row is locked for good: an engine gives up waiting for it within a minute.
func (m *matrix) unlocked(t *testing.T, d database, cases []matrixCase) {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := db.ExecContext(ctx, "update crashes set hits = hits + 1")
	if err == nil {
		_, err = db.ExecContext(ctx, "update crashes set hits = hits - 1")
	}
	if err == nil {
		return
	}
	var locked []string
	if d.server != nil {
		free := d.hits(t, " for update skip locked")
		for _, c := range cases {
			if _, ok := free[c.Row]; !ok {
				locked = append(locked, c.ID)
			}
		}
	}
	t.Fatalf("%s: rows are locked: %v: %q", d.name, err, locked)
}

func (d database) hits(t *testing.T, locking string) map[int]int {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	rows, err := db.QueryContext(t.Context(), "select id, hits from crashes"+locking)
	if err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	defer rows.Close()
	hits := map[int]int{}
	for rows.Next() {
		var id, n int
		if err := rows.Scan(&id, &n); err != nil {
			t.Fatalf("%s: %v", d.name, err)
		}
		hits[id] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	return hits
}

// leftovers returns what is still prepared or unsettled of each case's log.
func (m *matrix) leftovers(t *testing.T, cases []matrixCase) map[string][]string {
	t.Helper()
	left := map[string][]string{}
	var prepared []string
	for _, s := range m.servers {
		for _, p := range s.Prepared(t) {
			prepared = append(prepared, s.Engine.Name+" holds "+p)
		}
	}
	for _, c := range cases {
		id, unsettled := matrixLog(t, c.Log)
		left[c.ID] = unsettled
		for _, p := range prepared {
			if strings.Contains(p, id+".") {
				left[c.ID] = append(left[c.ID], p)
			}
		}
		for side, e := range c.engines {
			if e == sqlite {
				left[c.ID] = append(left[c.ID], sqlitePrepared(t, m.database(c, side))...)
			}
		}
	}
	return left
}

// matrixLog returns a log's identity, and what it has not settled.
func matrixLog(t *testing.T, dir string) (id string, unsettled []string) {
	t.Helper()
	log, err := connect.ReadLog("file:" + dir)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for d, err := range log.Unsettled(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		unsettled = append(unsettled, fmt.Sprintf("the log has not settled %s, %s", d.ID, d.Outcome))
	}
	return log.ID(), unsettled
}

// sqlitePrepared lists what a file holds prepared. One that never held a prepared branch has no table of them.
func sqlitePrepared(t *testing.T, d database) []string {
	t.Helper()
	db := d.open(t)
	defer db.Close()
	var name string
	err := db.QueryRowContext(t.Context(), "select name from sqlite_master where name = '_xa_prepared'").Scan(&name)
	if err == sql.ErrNoRows {
		return nil
	}
	if err != nil {
		t.Fatalf("%s: %v", d.name, err)
	}
	return d.prepared(t.Context(), t, db)
}

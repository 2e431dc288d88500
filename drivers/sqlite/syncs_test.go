//go:build cgo && (linux || darwin)

package sqlite

import (
	"database/sql"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/sqlite/internal/syncs"
)

// What a step costs on a disk that takes syncs seriously.
func TestEachStepSyncsAsOftenAsPromised(t *testing.T) {
	if err := syncs.Install(); err != nil {
		t.Fatal(err)
	}
	path, _ := newFile(t, "CREATE TABLE t(a INTEGER PRIMARY KEY, b)")
	db := open(t, path, "&vfs="+syncs.VFS)
	n := 0
	// branch begins one, and returns how often the file was synced until then and by what f does with it.
	branch := func(opts *sql.TxOptions, statement string, f func(b drivers.Branch) error) (before, by int) {
		t.Helper()
		n++
		conn, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		start := syncs.Count()
		b, err := New().Begin(t.Context(), conn, xid(string(rune('a'+n))), opts)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.ExecContext(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
		middle := syncs.Count()
		if err := f(b); err != nil {
			t.Fatal(err)
		}
		return middle - start, syncs.Count() - middle
	}
	prepare := func(want drivers.Vote, then func(b drivers.Branch) error) func(drivers.Branch) error {
		return func(b drivers.Branch) error {
			vote, err := b.Prepare(t.Context())
			if err == nil && vote != want {
				t.Errorf("vote %v, want %v", vote, want)
			}
			if err == nil && then != nil {
				err = then(b)
			}
			return err
		}
	}
	onePhase := func(b drivers.Branch) error { return b.CommitOnePhase(t.Context()) }
	commit := func(b drivers.Branch) error { return b.Commit(t.Context()) }
	rollback := func(b drivers.Branch) error { return b.Rollback(t.Context()) }
	const insert, read = "INSERT INTO t(b) VALUES (1)", "SELECT count(*) FROM t"

	branch(nil, insert, onePhase) // the first Begin makes the fence, and the first commit the WAL's header
	var prepared drivers.Branch
	keep := func(b drivers.Branch) error { prepared = b; return nil }
	for _, c := range []struct {
		step, statement string
		opts            *sql.TxOptions
		f               func(drivers.Branch) error
		want            int
	}{
		{"one phase", insert, nil, onePhase, 1},
		{"prepare and commit", insert, nil, prepare(drivers.VotePrepared, commit), 2},
		{"prepare and roll back", insert, nil, prepare(drivers.VotePrepared, rollback), 2},
		{"roll back what is not prepared", insert, nil, rollback, 0},
		{"prepare what changed nothing", read, nil, prepare(drivers.VoteReadOnly, nil), 0},
		{"one phase of what changed nothing", read, nil, onePhase, 0},
		{"prepare what only reads", read, &sql.TxOptions{ReadOnly: true}, prepare(drivers.VoteReadOnly, nil), 0},
		{"prepare", insert, nil, prepare(drivers.VotePrepared, keep), 1},
	} {
		before, by := branch(c.opts, c.statement, c.f)
		if before != 0 || by != c.want {
			t.Errorf("%s: %d syncs, want %d; and %d before, want none", c.step, by, c.want, before)
		}
	}
	start := syncs.Count()
	if err := prepared.Commit(t.Context()); err == nil && syncs.Count() != start+1 {
		t.Errorf("commit: %d syncs, want 1", syncs.Count()-start)
	}
}

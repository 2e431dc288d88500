package main

import (
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// now is the time at which all commands of these tests run.
var now = time.Date(2026, 3, 1, 3, 0, 0, 0, time.UTC)

// world is a log and two databases in memory, at the URLs mem:log, mem:berlin and mem:paris.
type world struct {
	t        *testing.T
	log      *logtest.Memory
	logID    func() string                      // of the log that IDs are made under: this one, or one in files
	other    func(read bool) (txlog.Log, error) // opens the log at mem:other
	logErr   error
	owned    bool
	dbs      map[string]*memdb.DB
	env      map[string]string
	dir      string             // of a log in files, if there is one; written as /var/lib/shop/xalog
	made     bool               // the log in files was made by this test: sizes and offsets differ in each run
	opts     connect.LogOptions // with which a log was opened to be written
	stdin    string             // what the person at the terminal types; "": nobody is there
	blocking bool
	locking  bool
	app      *app            // of the command that runs
	onOpen   func()          // called before a log is opened
	proven   map[string]bool // what paris proves of transactions: committed, or not
	held     map[string]bool // transactions whose branch a live session holds in paris
	session  strings.Builder // what was typed and answered
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, log: logtest.NewMemory(), dbs: map[string]*memdb.DB{}, env: map[string]string{}}
	w.logID = w.log.ID
	for _, name := range []string{"berlin", "paris"} {
		w.dbs[name] = memdb.New(name)
		w.dbs[name].Style.Bare = true // no identities, which are random
	}
	w.env["XA_LOG"] = "mem:log"
	w.env["XA_RESOURCES"] = "berlin=mem:berlin paris=mem:paris"
	return w
}

// id is the ID of the n-th transaction under this log.
func (w *world) id(n int) string { return fmt.Sprintf("%s.01JD%022d", w.logID(), n) }

func (w *world) decide(n int, outcome txlog.Outcome, age time.Duration, resources ...string) {
	w.t.Helper()
	d := txlog.Decision{ID: w.id(n), Outcome: outcome, Resources: resources, At: now.Add(-age)}
	if _, err := w.log.Decide(w.t.Context(), d); err != nil {
		w.t.Fatal(err)
	}
}

// prepare puts the n-th transaction's branch into the databases.
func (w *world) prepare(n int, age time.Duration, resources ...string) {
	for _, name := range resources {
		w.dbs[name].Stranger(drivers.Prepared{
			XID: drivers.XID{FormatID: drivers.FormatID, GTRID: w.id(n), BQual: name}, At: now.Add(-age), Owner: "app"}, true)
	}
}

// strangers puts branches of another log and of other programs into berlin.
func (w *world) strangers() {
	for _, p := range []drivers.Prepared{
		{XID: drivers.XID{FormatID: drivers.FormatID, GTRID: "otherlog.01JD0000000000000000000009", BQual: "berlin"}, At: now.Add(-72 * time.Hour), Owner: "shop"},
		{XID: drivers.XID{FormatID: 1, GTRID: "bitronix x", BQual: "\x01"}, At: now.Add(-3 * time.Hour)},
		{Raw: "somebody's\n'gid'", Owner: "dba"},
	} {
		w.dbs["berlin"].Stranger(p, true)
	}
}

// doubt is a bit of everything that can be in doubt.
func (w *world) doubt() {
	w.prepare(1, 12*time.Second, "berlin", "paris")
	w.decide(1, txlog.Committed, 11*time.Second, "berlin", "paris")
	w.prepare(2, 5*time.Minute, "berlin")
	w.prepare(3, 26*time.Hour, "paris")
	w.decide(3, txlog.Aborted, 20*time.Hour, "paris")
	w.strangers()
}

// run runs the command and notes it in the session.
func (w *world) run(args ...string) int {
	return w.runContext(w.t.Context(), args...)
}

func (w *world) runContext(ctx context.Context, args ...string) int {
	w.t.Helper()
	var stdout, stderr strings.Builder
	a := &app{
		open:   opener{log: w.openLog, readLog: w.readLog, resource: w.resource},
		getenv: func(key string) string { return w.env[key] },
		stdout: &stdout, stderr: &stderr, now: func() time.Time { return now },
		who: func() string { return "ada@db7" },
	}
	w.app = a
	if w.stdin != "" {
		a.stdin = strings.NewReader(w.stdin)
	}
	status := a.run(ctx, args)
	fmt.Fprintf(&w.session, "$ xa-recover %s\n%s", strings.Join(args, " "), stdout.String())
	for line := range strings.Lines(stderr.String()) {
		fmt.Fprintf(&w.session, "stderr: %s", line)
	}
	fmt.Fprintf(&w.session, "exit status %d\n\n", status)
	for _, db := range w.dbs {
		if v := db.Violations(); v != nil {
			w.t.Errorf("%v", v)
		}
		if n := db.Stats().Conns; n != 0 {
			w.t.Errorf("%v left %d connections open", args, n)
		}
	}
	return status
}

func (w *world) openLog(ctx context.Context, url string, opts connect.LogOptions) (txlog.Log, error) {
	w.opts = opts
	if w.onOpen != nil {
		w.onOpen()
	}
	if !strings.HasPrefix(url, "mem:") {
		return w.app.openLog(ctx, url, opts)
	}
	if url == "mem:other" {
		return w.other(false)
	}
	if w.owned {
		return nil, fmt.Errorf("filelog: dir: %w: %s", txlog.ErrOwned, owner)
	}
	if w.logErr != nil {
		return nil, w.logErr
	}
	w.log.Reopen() // the command before has closed it
	return w.log, nil
}

func (w *world) readLog(ctx context.Context, url string) (txlog.Log, error) {
	if !strings.HasPrefix(url, "mem:") {
		return w.app.readLog(ctx, url)
	}
	if url == "mem:other" {
		return w.other(true)
	}
	if w.logErr != nil {
		return nil, w.logErr
	}
	w.log.Reopen()
	if w.owned {
		return ownedLog{w.log.ReadOnly()}, nil
	}
	return w.log.ReadOnly(), nil
}

const owner = "pid 4711 since 2026-03-01T01:00:00Z"

// ownedLog is a log that is read beside its live owner.
type ownedLog struct{ txlog.Log }

func (ownedLog) Owner() string { return owner }

func (w *world) resource(name, url string) (drivers.Resource, error) {
	db := w.dbs[strings.TrimPrefix(url, "mem:")]
	if db == nil {
		return w.app.openResource(name, url)
	}
	res := drivers.Resource{Name: name, DB: db.Pool(), Driver: db.Driver()}
	if w.blocking {
		res.Driver = blocking{res.Driver}
	}
	if w.locking {
		res.Driver = locking{res.Driver}
	}
	if w.proven != nil && name == "paris" {
		res.Driver = proving{res.Driver, w.proven}
	}
	if w.held != nil && name == "paris" {
		res.Driver = holding{res.Driver, w.held}
	}
	return res, nil
}

// proving is a driver that can tell what has become of a branch.
type proving struct {
	drivers.Driver
	committed map[string]bool
}

var _ drivers.Prover = proving{}

func (p proving) Outcome(_ context.Context, _ *sql.DB, xid drivers.XID, _ string) (committed, proven bool, err error) {
	committed, proven = p.committed[xid.GTRID]
	return committed, proven, nil
}

// holding is a driver that shows which branches a live session holds.
type holding struct {
	drivers.Driver
	held map[string]bool
}

func (h holding) Prepared(ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
	list, err := h.Driver.Prepared(ctx, db)
	for i := range list {
		list[i].Held = h.held[list[i].XID.GTRID]
	}
	return list, err
}

// checksums are those of a damaged record, which depend on the log's random identity.
var checksums = regexp.MustCompile(`crc is [0-9a-f]+, want [0-9a-f]+`)

var (
	offsets     = regexp.MustCompile(`(\.xalog\+)[0-9]+`)
	nanoseconds = regexp.MustCompile(`20[0-9][0-9]-[-0-9]+T[:0-9]+\.[0-9]+Z`) // times of this run
	sizes       = regexp.MustCompile(`[0-9]+( bytes)|("bytes": )[0-9]+`)
)

// golden compares the session with testdata/NAME.txt. What is different in each run is written as one that is always the same.
func (w *world) golden(name string) {
	w.t.Helper()
	got := strings.ReplaceAll(w.session.String(), w.logID(), "k7f3q2ma9x2p")
	if w.dir != "" {
		got = strings.ReplaceAll(got, w.dir, "/var/lib/shop/xalog")
	}
	got = checksums.ReplaceAllString(got, "crc is 1a2b3c4d, want 5e6f7a8b")
	if w.made {
		got = nanoseconds.ReplaceAllString(got, "2026-03-01T02:00:00.123456789Z")
		if host, err := os.Hostname(); err == nil {
			got = strings.ReplaceAll(got, host+":", "db7:")
		}
		got = sizes.ReplaceAllString(offsets.ReplaceAllString(got, "${1}4096"), "${2}8192${1}")
	}
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			w.t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatalf("%v (go test ./cmd/xa-recover -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		w.t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

// identity writes a database's random identity as one that is always the same.
func (w *world) identity(name string) {
	w.t.Helper()
	pool := w.dbs[name].Pool()
	defer pool.Close()
	id, err := recovery.Identify(w.t.Context(), drivers.Resource{DB: pool, Driver: w.dbs[name].Driver()})
	if err != nil {
		w.t.Fatal(err)
	}
	session := strings.ReplaceAll(w.session.String(), id, "memdb:IDENTITY")
	w.session.Reset()
	w.session.WriteString(session)
}

func (w *world) wantStatus(got, want int) {
	w.t.Helper()
	if got != want {
		w.t.Errorf("exit status %d, want %d:\n%s", got, want, w.session.String())
	}
}

func TestPackageCommentTellsEveryField(t *testing.T) {
	source, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	for head, v := range map[string]any{
		"resolve, list, show, commit, rollback:": result{}, "notes:": noteResult{}, "logs:": logResult{}, "forget:": forgetResult{},
		"doctor:": doctorResult{}, "checked resources:": checkupResult{}, "findings:": findingResult{}, "version:": versionResult{},
		"transaction:": transaction{}, "resources:": resourceResult{}, "branches:": branchResult{}, "decisions:": decisionResult{},
		"log info:": infoResult{}, "members:": memberResult{}, "log dump:": dumpEntry{}, "log verify:": verifyResult{}, "files:": fileResult{},
		"log compact:": compactResult{}, "before, after:": size{}, "log adopt:": adoptResult{}, "log schema:": schemaResult{},
	} {
		_, comment, _ := strings.Cut(string(source), "# JSON")
		_, line, _ := strings.Cut(comment, head)
		line, _, _ = strings.Cut(line, "\n")
		var fields []string
		for f := range reflect.TypeOf(v).Fields() {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
				fields = append(fields, name)
			}
		}
		got := strings.Fields(line)
		slices.Sort(got)
		slices.Sort(fields)
		if diff := cmp.Diff(fields, got); diff != "" {
			t.Errorf("%s (-fields of the type +told):\n%s", head, diff)
		}
	}
}

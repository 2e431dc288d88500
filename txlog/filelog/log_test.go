package filelog

import (
	"context"
	"errors"
	"fmt"

	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

// faultyDir is a real directory in which the next sync of a file can be made to fail.
type faultyDir struct {
	osDir
	mu   sync.Mutex
	fail bool
}

type faultyFile struct {
	file
	dir *faultyDir
}

func (d *faultyDir) Open(name string, write bool) (file, error) {
	f, err := d.osDir.Open(name, write)
	return faultyFile{f, d}, err
}

func (d *faultyDir) Create(name string) (file, error) {
	f, err := d.osDir.Create(name)
	return faultyFile{f, d}, err
}

func (f faultyFile) Sync() error {
	f.dir.mu.Lock()
	defer f.dir.mu.Unlock()
	if f.dir.fail {
		f.dir.fail = false
		return errInjected
	}
	return f.file.Sync()
}

func TestConforms(t *testing.T) {
	logtest.Run(t, func(t logtest.TB) logtest.Harness {
		d := &faultyDir{osDir: osDir(filepath.Join(t.TempDir(), "log"))}
		open := func(t logtest.TB, d *faultyDir) txlog.Log {
			l, err := Open(string(d.osDir), &Options{fs: d, Logger: quiet()})
			if err != nil {
				t.Fatalf("Open: %v", err)
			}
			return l
		}
		return logtest.Harness{
			Log:    open(t, d),
			Reopen: func(t logtest.TB) txlog.Log { return open(t, d) },
			Crash: func(t logtest.TB) txlog.Log {
				return open(t, &faultyDir{osDir: osDir(copyDir(t, string(d.osDir)))})
			},
			ReadOnly: func(t logtest.TB) txlog.Log {
				l, err := OpenReadOnly(string(d.osDir))
				if err != nil {
					t.Fatalf("OpenReadOnly: %v", err)
				}
				return l
			},
			Break: func(logtest.TB) {
				d.mu.Lock()
				defer d.mu.Unlock()
				d.fail = true
			},
		}
	})
}

// copyDir copies what another process sees of a directory.
func copyDir(t logtest.TB, dir string) string {
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatalf("%v", err)
	}
	return to
}

func mustOpen(t testing.TB, dir string, opts *Options) *Log {
	t.Helper()
	l, err := Open(dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustDecide(t testing.TB, l *Log, id string) {
	t.Helper()
	if o, err := l.Decide(context.Background(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"orders", "ledger"}}); err != nil || o != txlog.Committed {
		t.Fatalf("Decide(%q) = %s, %v", id, o, err)
	}
}

func TestRegisteredIdentitiesSurviveReopeningAndCompaction(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, nil)
	for _, identity := range []string{"pg-1", "pg-2", "pg-1"} {
		if err := l.Register(t.Context(), "orders", identity); err != nil {
			t.Fatal(err)
		}
	}
	if err := l.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	l.Close()
	r, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := r.Registered(t.Context(), "orders"); err != nil || got != "pg-1" {
		t.Errorf("Registered = %q, %v", got, err)
	}
	if got, err := r.Registered(t.Context(), "ledger"); err != nil || got != "" {
		t.Errorf("Registered of a resource that never was = %q, %v", got, err)
	}
	if err := r.Register(t.Context(), "orders", "x"); !errors.Is(err, txlog.ErrReadOnly) {
		t.Errorf("Register of a log that is open for reading: %v", err)
	}
}

func TestALoneCallerPaysOneSync(t *testing.T) {
	m := newMemFS()
	l, err := Open("mem", &Options{fs: m, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	before := m.total("sync")
	for i := range 100 {
		id := fmt.Sprint("t", i)
		mustDecide(t, l, id)
		if err := l.Settle(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	if got := m.total("sync") - before; got != 100 {
		t.Errorf("100 decisions cost %d syncs", got)
	}
}

// gate holds up the syncs of some files until it is told to go on.
type gate struct {
	*memFS
	holds          func(name string) bool
	entered, leave chan struct{}
}

type gatedFile struct {
	file
	gate *gate
	name string
}

func openGated(t *testing.T, opts Options) (*gate, *Log) {
	t.Helper()
	g := &gate{memFS: newMemFS(), entered: make(chan struct{}), leave: make(chan struct{})}
	opts.fs, opts.Logger = g, quiet()
	l, err := Open("mem", &opts)
	if err != nil {
		t.Fatal(err)
	}
	g.holds = func(string) bool { return true }
	return g, l
}

func (g *gate) Create(name string) (file, error) {
	f, err := g.memFS.Create(name)
	return gatedFile{f, g, name}, err
}

func (f gatedFile) Sync() error {
	if f.gate.holds != nil && f.gate.holds(f.name) {
		f.gate.entered <- struct{}{}
		<-f.gate.leave
	}
	return f.file.Sync()
}

func TestWhoComesWhileASyncRunsSharesTheNext(t *testing.T) {
	g, l := openGated(t, Options{})
	var wg sync.WaitGroup
	start := func(id string) {
		wg.Go(func() { mustDecide(t, l, id) })
	}
	start("first")
	<-g.entered
	for i := range 10 {
		start(fmt.Sprint("t", i))
	}
	for waiting := 0; waiting < 10; {
		l.mu.Lock()
		waiting = len(l.next.records)
		l.mu.Unlock()
	}
	g.leave <- struct{}{}
	<-g.entered
	g.leave <- struct{}{}
	wg.Wait() // a third sync would hang
	if l.Info().Unsettled != 11 {
		t.Errorf("%d decisions stand", l.Info().Unsettled)
	}
}

func TestNoWakeUpIsLost(t *testing.T) {
	l := mustOpen(t, t.TempDir(), &Options{SegmentSize: 16 << 10, Retention: -1, extent: 4096, Logger: quiet()})
	const callers, each = 48, 60
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", c, i)
				shared := fmt.Sprintf("shared-%d", i) // all callers decide it
				for _, id := range []string{id, shared} {
					if o, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"a"}}); err != nil || o != txlog.Committed {
						t.Errorf("Decide(%q) = %s, %v", id, o, err)
					}
				}
				if i%2 == 0 {
					if err := l.Settle(t.Context(), id); err != nil {
						t.Error(err)
					}
				}
				if i%20 == 7 && c%8 == 0 {
					if err := l.Compact(t.Context()); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	want := callers*each/2 + each
	if got := l.Info().Unsettled; got != want {
		t.Errorf("%d unsettled, want %d", got, want)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := OpenReadOnly(l.dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Info(); got.Unsettled != want || got.Damage != nil {
		t.Errorf("reopened: %+v, want %d unsettled", got, want)
	}
}

func TestAFailedSyncLatchesUntilReopened(t *testing.T) {
	m := newMemFS()
	l, err := Open("mem", &Options{fs: m, Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	mustDecide(t, l, "before")
	if err := l.Settle(t.Context(), "before"); err != nil {
		t.Fatal(err)
	}
	m.failAt = m.ops + 2 // the write, then the sync
	d := txlog.Decision{ID: "broken", Outcome: txlog.Committed}
	if _, err := l.Decide(t.Context(), d); err == nil || errors.Is(err, txlog.ErrNotDecided) {
		t.Errorf("Decide whose sync failed: %v, want an unknown outcome", err)
	}
	ops := m.ops
	if _, err := l.Decide(t.Context(), d); err == nil || errors.Is(err, txlog.ErrNotDecided) {
		t.Errorf("Decide again: %v, want an unknown outcome", err)
	}
	if o, err := l.Lookup(t.Context(), "broken"); err == nil {
		t.Errorf("Lookup of an unknown outcome: %s", o)
	}
	if o, err := l.Decide(t.Context(), txlog.Decision{ID: "before", Outcome: txlog.Aborted}); o != txlog.Committed || err != nil {
		t.Errorf("Decide of what stands: %s, %v", o, err)
	}
	if _, err := l.Decide(t.Context(), txlog.Decision{ID: "later", Outcome: txlog.Committed}); !errors.Is(err, txlog.ErrNotDecided) || !errors.Is(err, errInjected) {
		t.Errorf("Decide of another ID: %v, want ErrNotDecided and the cause", err)
	}
	if err := l.Register(t.Context(), "orders", "x"); err == nil {
		t.Error("Register on a latched log is accepted")
	}
	if err := l.Compact(t.Context()); err == nil {
		t.Error("Compact on a latched log is accepted")
	}
	if l.Info().Latched == nil {
		t.Error("Info does not tell the latch")
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if m.ops != ops {
		t.Errorf("a latched log did %d more operations", m.ops-ops)
	}
}

func TestAFullDiskIsADefiniteNo(t *testing.T) {
	m := newMemFS()
	l, err := Open("mem", &Options{fs: m, Logger: quiet(), extent: 300})
	if err != nil {
		t.Fatal(err)
	}
	mustDecide(t, l, "before")
	m.Fill(syscall.ENOSPC)
	for i := 0; ; i++ {
		if err := l.Info().Latched; err != nil {
			t.Fatalf("latched before a decision failed: %v", err)
		}
		id := fmt.Sprint(i)
		_, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed})
		if err == nil {
			continue // fits into what was reserved
		}
		if !errors.Is(err, txlog.ErrNotDecided) || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("Decide on a full disk: %v, want ErrNotDecided", err)
		}
		if o, err := l.Lookup(t.Context(), id); o != txlog.Undecided || err != nil {
			t.Errorf("Lookup of it: %s, %v", o, err)
		}
		break
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if l, err = Open("mem", &Options{fs: m, Logger: quiet()}); err != nil {
		t.Fatalf("open while the disk is still full: %v", err)
	}
	l.Close()
	m.Fill(nil)
	if l, err = Open("mem", &Options{fs: m, Logger: quiet()}); err != nil {
		t.Fatal(err)
	}
	mustDecide(t, l, "after")
	if o, err := l.Lookup(t.Context(), "before"); o != txlog.Committed || err != nil {
		t.Errorf("Lookup of what was decided before: %s, %v", o, err)
	}
}

func TestWhatCannotBeRecordedIsRefused(t *testing.T) {
	l := mustOpen(t, t.TempDir(), nil)
	for name, d := range map[string]txlog.Decision{
		"no ID":      {Outcome: txlog.Committed},
		"no outcome": {ID: "a"},
		"too large":  {ID: "a", Outcome: txlog.Committed, Resources: []string{strings.Repeat("x", maxRecordSize)}},
	} {
		if _, err := l.Decide(t.Context(), d); !errors.Is(err, txlog.ErrNotDecided) {
			t.Errorf("%s: %v, want ErrNotDecided", name, err)
		}
	}
	odd := txlog.Decision{ID: "\x00/ü\n", Outcome: txlog.Aborted, Resources: []string{"", "\xff", "orders"}}
	if _, err := l.Decide(t.Context(), odd); err != nil {
		t.Fatal(err)
	}
	l.Close()
	l = mustOpen(t, l.dir, nil)
	for d := range l.Unsettled(t.Context()) {
		if d.ID != odd.ID || !slices.Equal(d.Resources, odd.Resources) {
			t.Errorf("got %+v, want %+v", d, odd)
		}
	}
}

// TestALateSecondCallerIsNotToldNo: the second Decide of an ID waits for the first's sync, and shares its unknown end.
func TestALateSecondCallerIsNotToldNo(t *testing.T) {
	g, l := openGated(t, Options{})
	errs := make(chan error)
	decide := func() {
		_, err := l.Decide(context.Background(), txlog.Decision{ID: "a", Outcome: txlog.Committed})
		errs <- err
	}
	go decide()
	<-g.entered
	go decide()
	looked := make(chan error)
	go func() {
		_, err := l.Lookup(context.Background(), "a")
		looked <- err
	}()
	g.mu.Lock()
	g.failAt = g.ops + 1
	g.mu.Unlock()
	g.leave <- struct{}{}
	for range 2 {
		if err := <-errs; err == nil || errors.Is(err, txlog.ErrNotDecided) {
			t.Errorf("Decide: %v, want an unknown outcome", err)
		}
	}
	if err := <-looked; err == nil {
		t.Error("Lookup tells an outcome that is unknown")
	}
}

// TestDamageToTheLastAcknowledgedDecisionIsTold: it is not cut as if it were an unfinished tail.
func TestDamageToTheLastAcknowledgedDecisionIsTold(t *testing.T) {
	l := mustOpen(t, t.TempDir(), nil)
	for _, id := range []string{"first", "second", "last"} {
		mustDecide(t, l, id)
	}
	killed := copyDir(t, l.dir)
	l.Close()
	for how, dir := range map[string]string{"killed": killed, "closed": copyDir(t, l.dir)} {
		path := filepath.Join(dir, segmentName(1))
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[strings.LastIndex(string(b), "last")] ^= 4
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if l, err := Open(dir, nil); !errors.Is(err, txlog.ErrCorrupt) || !strings.Contains(err.Error(), path+"+") {
			t.Errorf("%s: Open = %v, %v; want ErrCorrupt with %s", how, l, err, path)
		}
	}
}

func TestWhatWasCutDoesNotComeBack(t *testing.T) {
	m := newMemFS()
	l, err := openMem(m)
	if err != nil {
		t.Fatal(err)
	}
	mustDecide(t, l, "kept")
	end := l.active.end
	l.Close()
	m.Put(segmentName(1), append(m.Data(segmentName(1))[:end], strings.Repeat("garbage ", 1000)...))
	for _, want := range []string{"unfinished tail of the decision log cut", ""} {
		logger, warnings := capture()
		l, err := Open("mem", &Options{fs: m, Logger: logger, extent: 700})
		if err != nil {
			t.Fatal(err)
		}
		if got := warnings.String(); !strings.Contains(got, want) || want == "" && got != "" {
			t.Errorf("warned %q, want %q", got, want)
		}
		if _, err := l.Decide(t.Context(), txlog.Decision{ID: "t" + want, Outcome: txlog.Committed}); err != nil {
			t.Fatal(err)
		}
		l.Close()
	}
}

func capture() (*slog.Logger, *strings.Builder) {
	var b strings.Builder
	return slog.New(slog.NewTextHandler(&b, nil)), &b
}

// TestADecisionAllocatesNothing, but for the growth of the map, now and then.
func TestADecisionAllocatesNothing(t *testing.T) {
	l := mustOpen(t, t.TempDir(), &Options{Logger: quiet()})
	resources := []string{"orders", "ledger"}
	ids := make([]string, 512)
	for i := range ids {
		ids[i] = fmt.Sprintf("log.%022d", i)
	}
	i := 0
	if n := testing.AllocsPerRun(len(ids)-1, func() {
		if _, err := l.Decide(t.Context(), txlog.Decision{ID: ids[i], Outcome: txlog.Committed, Resources: resources}); err != nil {
			t.Fatal(err)
		}
		if err := l.Settle(t.Context(), ids[i]); err != nil {
			t.Fatal(err)
		}
		i++
	}); n > 0 {
		t.Errorf("a decision and its settling allocate %v times", n)
	}
}

package filelog

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

// needsPlaces skips the test where the system does not tell one directory from another.
func needsPlaces(t *testing.T) {
	if here, err := osDir(t.TempDir()).place(); err != nil || here.inode == 0 {
		t.Skipf("%s does not tell directories apart here: %v", runtime.GOOS, err)
	}
}

// placed opens the log, and returns what it told its logger.
func placed(t *testing.T, dir string) (*Log, *bytes.Buffer) {
	t.Helper()
	var told bytes.Buffer
	return mustOpen(t, dir, &Options{Retention: -1, Logger: slog.New(slog.NewTextHandler(&told, nil))}), &told
}

func closeLog(t *testing.T, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

func wantWitness(t *testing.T, l *Log, yes bool) {
	t.Helper()
	if err := l.Witnessed(); (err == nil) != yes {
		t.Errorf("Witnessed() = %v; want nil: %v", err, yes)
	}
}

func TestACopyDoesNotWitnessWhatBeganBeforeIt(t *testing.T) {
	t.Parallel()
	needsPlaces(t)
	dir := t.TempDir()
	original, told := placed(t, dir)
	mustDecide(t, original, "kept")
	copied := copyDir(t, dir) // of a live log
	before := time.Now()
	mustDecide(t, original, "missed")
	wantWitness(t, original, true)
	if told.Len() > 0 {
		t.Errorf("the original says %s", told)
	}

	l, told := placed(t, copied)
	if text := told.String(); !strings.Contains(text, "level=WARN") || !strings.Contains(text, dir) || !strings.Contains(text, "adopt this one") {
		t.Errorf("a copy that is opened says %q", text)
	}
	after := time.Now()
	check := func(l *Log) {
		t.Helper()
		if o, err := l.Lookup(t.Context(), "kept"); o != txlog.Committed || err != nil {
			t.Errorf("Lookup = %s, %v", o, err)
		}
		wantWitness(t, l, false)
		if info := l.Info(); info.Copied.Before(before) || info.Copied.After(after) || !strings.HasSuffix(info.Original, ":"+dir) {
			t.Errorf("the copy tells of its origin: %+v", info)
		}
	}
	check(l)
	if err := l.Witnessed(); !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "adopt") {
		t.Errorf("the error does not say where, and what to do: %v", err)
	}
	for range 2 { // it stays so, over openings and compactions
		if err := l.Compact(t.Context()); err != nil {
			t.Fatal(err)
		}
		mustDecide(t, l, fmt.Sprint("t", time.Now().UnixNano()))
		closeLog(t, l)
		r, err := OpenReadOnly(copied)
		if err != nil {
			t.Fatal(err)
		}
		check(r)
		if err := r.Adopt(t.Context()); !errors.Is(err, txlog.ErrReadOnly) {
			t.Errorf("a reader adopts: %v", err)
		}
		closeLog(t, r)
		if l, told = placed(t, copied); !strings.Contains(told.String(), "adopt this one") {
			t.Errorf("a copy that is opened once more says %q", told)
		}
		check(l)
	}
	if again, _ := placed(t, copyDir(t, copied)); again.Info().Original != l.Info().Original && !strings.HasSuffix(again.Info().Original, ":"+copied) {
		t.Errorf("a copy of the copy tells of its origin: %+v", again.Info())
	} else {
		wantWitness(t, again, false)
	}
}

func TestAnAdoptedCopyWitnesses(t *testing.T) {
	t.Parallel()
	needsPlaces(t)
	dir := t.TempDir()
	original, _ := placed(t, dir)
	mustDecide(t, original, "kept")
	closeLog(t, original)
	copied := copyDir(t, dir)
	l, _ := placed(t, copied)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Adopt(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Adopt under a context that has ended: %v", err)
	}
	wantWitness(t, l, false)
	for range 2 {
		if err := l.Adopt(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantWitness(t, l, true)
	}
	if err := l.Compact(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeLog(t, l)
	if err := l.Adopt(t.Context()); !errors.Is(err, txlog.ErrClosed) {
		t.Errorf("Adopt of a closed log: %v", err)
	}
	l, told := placed(t, copied)
	wantWitness(t, l, true)
	if info := l.Info(); told.Len() > 0 || !info.Copied.IsZero() {
		t.Errorf("the adopted log says %q, %+v", told, info)
	}
	again, _ := placed(t, copyDir(t, copied))
	wantWitness(t, again, false)
}

func TestALogThatIsMovedStaysTheSame(t *testing.T) {
	t.Parallel()
	needsPlaces(t)
	root := t.TempDir()
	from, to := filepath.Join(root, "from"), filepath.Join(root, "to")
	l, _ := placed(t, from)
	mustDecide(t, l, "kept")
	closeLog(t, l)
	if err := os.Rename(from, to); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l, told := placed(t, to)
		wantWitness(t, l, true)
		if told.Len() > 0 || !strings.HasSuffix(l.index.residence.name, ":"+to) {
			t.Errorf("a log that was moved says %q, and is at %s", told, l.index.residence.name)
		}
		closeLog(t, l)
	}
}

func TestAReaderOfACopyChangesNothing(t *testing.T) {
	t.Parallel()
	needsPlaces(t)
	dir := t.TempDir()
	l, _ := placed(t, dir)
	mustDecide(t, l, "kept")
	closeLog(t, l)
	copied := copyDir(t, dir)
	before := contents(t, copied)
	r, err := OpenReadOnly(copied)
	if err != nil {
		t.Fatal(err)
	}
	wantWitness(t, r, false)
	closeLog(t, r)
	if !maps.Equal(contents(t, copied), before) {
		t.Errorf("the reader changed the log")
	}
	if r, err = OpenReadOnly(dir); err != nil {
		t.Fatal(err)
	}
	wantWitness(t, r, true)
	closeLog(t, r)
}

func TestALogWithoutAPlaceTakesOneSilently(t *testing.T) {
	t.Parallel()
	needsPlaces(t)
	dir := copyDir(t, filepath.Join("testdata", "log", "v1", "ok"))
	for range 2 {
		l, told := placed(t, dir)
		wantWitness(t, l, true)
		if told.Len() > 0 {
			t.Errorf("it says %s", told)
		}
		closeLog(t, l)
	}
	l, _ := placed(t, copyDir(t, dir))
	wantWitness(t, l, false)
}

func TestPlacesAreToldApart(t *testing.T) {
	t.Parallel()
	now, born := time.Unix(1000, 0).UTC(), time.Unix(500, 7).UTC()
	at := func(inode uint64, born time.Time, name string) place { return place{inode, born, name} }
	was := &residence{place: at(7, born, "a:/log"), noted: born}
	copied := &residence{place: at(7, born, "b:/log"), noted: born, copied: born, original: "a:/log"}
	for _, c := range []struct {
		what     string
		was      *residence
		here     place
		changed  bool
		copied   time.Time
		original string
		born     time.Time
	}{
		{"nothing noted", nil, at(7, born, "a:/log"), true, time.Time{}, "", born},
		{"the same", was, at(7, born, "a:/log"), false, time.Time{}, "", born},
		{"moved", was, at(7, born, "a:/new"), true, time.Time{}, "", born},
		{"another inode", was, at(8, born, "a:/log"), true, now, "a:/log", born},
		{"an inode used again", was, at(7, born.Add(1), "a:/log"), true, now, "a:/log", born.Add(1)},
		{"no time of birth any more", was, at(7, time.Time{}, "a:/log"), false, time.Time{}, "", born},
		{"a time of birth at last", &residence{place: at(7, time.Time{}, "a:/log")}, at(7, born, "a:/log"), true, time.Time{}, "", born},
		{"a copy, the same", copied, at(7, born, "b:/log"), false, born, "a:/log", born},
		{"a copy, moved", copied, at(7, born, "b:/new"), true, born, "a:/log", born},
		{"a copy, copied", copied, at(9, born, "c:/log"), true, now, "b:/log", born},
	} {
		got, changed := c.was.movedTo(c.here, now)
		if changed != c.changed || !got.copied.Equal(c.copied) || got.original != c.original || !got.born.Equal(c.born) || got.name != c.here.name {
			t.Errorf("%s: %+v, %v", c.what, got, changed)
		}
		r := got.record()
		if read, err := parseResidence(&r); err != nil || *read != *got {
			t.Errorf("%s: %+v is read as %+v, %v", c.what, got, read, err)
		}
	}
	for _, r := range []record{
		{id: "x", resources: []string{"", "a"}}, {id: "7", resources: []string{"yesterday", "a"}}, {id: "7", resources: []string{""}},
		{id: "7", resources: []string{"", "a", "soon", "b"}}, {id: "-7", resources: []string{"", "a"}}, {id: "7"},
	} {
		if read, err := parseResidence(&r); !errors.Is(err, errMalformed) {
			t.Errorf("%+v is read as %+v, %v", r, read, err)
		}
	}
}

func TestADirectoryMadeAnewIsAnother(t *testing.T) {
	t.Parallel()
	needsPlaces(t)
	dir := filepath.Join(t.TempDir(), "log")
	seen := []place{}
	for range 5 { // the file system may use the inode again
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		here, err := osDir(dir).place()
		if err != nil {
			t.Fatal(err)
		}
		if same, err := osDir(dir).place(); err != nil || !same.is(here) {
			t.Errorf("the same directory is %+v, and %+v, %v", here, same, err)
		}
		for _, p := range seen {
			if p.is(here) && !here.born.IsZero() {
				t.Errorf("two directories are %+v", here)
			}
		}
		seen = append(seen, here)
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
	}
}

// placedFS is a memFS that tells where it is.
type placedFS struct {
	*memFS
	inode uint64
}

func (p placedFS) place() (place, error) {
	return place{inode: p.inode, name: fmt.Sprint("disk ", p.inode)}, nil
}

func openPlaced(m *memFS, inode uint64) (*Log, error) {
	return Open("mem", &Options{Logger: quiet(), Retention: -1, SegmentSize: 4096, extent: 700, fs: placedFS{m, inode}, spawn: func(f func()) { f() }})
}

// workOn decides and settles enough to begin new segments and to compact, and notes what is acknowledged.
func workOn(l *Log, prefix string, n int, acknowledged map[string]bool) {
	for i := range n {
		id := fmt.Sprint(prefix, i)
		d := txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{strings.Repeat("r", 300)}}
		if _, err := l.Decide(context.Background(), d); err == nil && i%4 == 3 {
			acknowledged[id] = true
		} else if err == nil {
			_ = l.Settle(context.Background(), id)
		}
	}
}

// mustOpenCopy opens the copy, which must know that it is one, and hold what it acknowledged.
func mustOpenCopy(t *testing.T, m *memFS, acknowledged map[string]bool) *Log {
	t.Helper()
	l, err := openPlaced(m, 2)
	if err != nil {
		t.Fatal(err)
	}
	if l.Witnessed() == nil || l.Info().Original != "disk 1" {
		t.Fatalf("the copy has forgotten that it is one: %+v", l.Info())
	}
	for id := range acknowledged {
		if o, err := l.Lookup(t.Context(), id); o != txlog.Committed || err != nil {
			t.Fatalf("%s is %s, %v", id, o, err)
		}
	}
	return l
}

// TestNoCrashMakesACopyForgetThatItIsOne fails, or stops, at the n-th operation, for every n, while a copy is first opened, used and compacted; and while it
// is adopted.
func TestNoCrashMakesACopyForgetThatItIsOne(t *testing.T) {
	t.Parallel()
	// copied returns a log that was copied from the first disk.
	copied := func(acknowledged map[string]bool) *memFS {
		m := newMemFS()
		l, err := openPlaced(m, 1)
		if err != nil {
			t.Fatal(err)
		}
		workOn(l, "a", 10, acknowledged)
		closeLog(t, l)
		return m.kill()
	}
	work := func(m *memFS, acknowledged map[string]bool) {
		if l, err := openPlaced(m, 2); err == nil {
			if l.Witnessed() == nil {
				t.Fatalf("%s failed: an open copy takes itself for the original", m.failed)
			}
			workOn(l, "b", 30, acknowledged)
			_ = l.Close()
		}
	}
	whole := copied(map[string]bool{})
	work(whole, map[string]bool{})
	if whole.total("rename") < 3 {
		t.Fatalf("the workload renames %d files: too few to show anything", whole.total("rename"))
	}
	for _, f := range []failure{failOnce, failShort, failLate, failStop} {
		for n := 1; n <= whole.ops; n++ {
			t.Run(fmt.Sprintf("failure=%d/operation=%d", f, n), func(t *testing.T) {
				r := rand.New(rand.NewPCG(uint64(f), uint64(n)))
				acknowledged := map[string]bool{}
				m := copied(acknowledged)
				m.failAt, m.failure = n, f
				work(m, acknowledged)
				for i := range 2 {
					m = m.next(r.IntN(2) == 0, r)
					l := mustOpenCopy(t, m, acknowledged)
					workOn(l, fmt.Sprint("c", i, "-"), r.IntN(2)*20, acknowledged)
				}
				adoptAndCrash(t, m.next(false, r), f, n%12+1, r)
			})
		}
	}
}

func adoptAndCrash(t *testing.T, m *memFS, f failure, n int, r *rand.Rand) {
	t.Helper()
	l, err := openPlaced(m, 2)
	if err != nil {
		t.Fatal(err)
	}
	m.failAt, m.failure = m.ops+n, f
	adopted := l.Adopt(t.Context())
	workOn(l, "d", r.IntN(2)*30, map[string]bool{})
	if l, err = openPlaced(m.next(r.IntN(2) == 0, r), 2); err != nil {
		t.Fatal(err)
	}
	if err := l.Witnessed(); adopted == nil && err != nil {
		t.Fatalf("failure %d at the %d. operation: the copy was adopted, and then %v", f, n, err)
	}
}

func TestExistingMakesNoLog(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	missing, empty, made := filepath.Join(root, "missing"), filepath.Join(root, "empty"), filepath.Join(root, "made")
	if err := os.Mkdir(empty, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{missing, empty} {
		_, err := Open(dir, &Options{Existing: true})
		if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "without Existing") {
			t.Errorf("Open of what is no log, with Existing: %v", err)
		}
	}
	if _, err := os.Stat(missing); !errors.Is(err, fs.ErrNotExist) || len(contents(t, empty)) > 0 {
		t.Errorf("something was made: %v", err)
	}
	closeLog(t, mustOpen(t, made, nil))
	mustOpen(t, made, &Options{Existing: true})
}

// TestThePlaceIsWrittenAsDocumented holds the bytes of record kind 7 for ever.
func TestThePlaceIsWrittenAsDocumented(t *testing.T) {
	t.Parallel()
	born := time.Unix(1795344950, 290300876).UTC()
	r := (&residence{place: place{5308437, born, "app-7:/var/lib/log"}, noted: goldenTime(3), copied: goldenTime(2), original: "app-6:/srv/log"}).record()
	got := fmt.Sprintf("%x", newSeeder(goldenID, 1).appendRecord(nil, headerSize+batchHeaderSize, &r))
	want := "7e000000" + "95b04ea8" + "07" + "ab98096a00000000" + "15cd5b07" + // length, CRC, kind, when it was noted
		"07" + fmt.Sprintf("%x", "5308437") + "04" +
		"1e" + fmt.Sprintf("%x", "2026-11-22T10:55:50.290300876Z") + "12" + fmt.Sprintf("%x", "app-7:/var/lib/log") +
		"1e" + fmt.Sprintf("%x", "2026-05-17T10:30:02.123456789Z") + "0e" + fmt.Sprintf("%x", "app-6:/srv/log")
	if got != want {
		t.Errorf("the record is\n%s\nwant\n%s", got, want)
	}
}

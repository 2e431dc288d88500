//go:build unix

package filelog

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

// childEnv makes the test binary a process that owns a log: its value is what to do, and where.
const childEnv = "FILELOG_TEST_CHILD"

func TestMain(m *testing.M) {
	if job, dir, ok := strings.Cut(os.Getenv(childEnv), ":"); ok {
		if err := child(job, dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

func child(job, dir string) error {
	l, err := Open(dir, &Options{SegmentSize: 8 << 10, Logger: quiet()})
	if err != nil {
		return err
	}
	defer l.Close()
	switch job {
	case "own":
		fmt.Println("open")
		_, err = fmt.Scanln()
	case "spawn": // leaves a child of its own behind, which has inherited what it inherits
		c := exec.Command("sleep", "60")
		if err := c.Start(); err != nil {
			return err
		}
		fmt.Println(c.Process.Pid)
		_, err = fmt.Scanln()
	}
	return err
}

// start starts a child that owns the log in dir, and returns its output.
func start(t *testing.T, job, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), childEnv+"="+job+":"+dir)
	c.Stderr = os.Stderr
	if _, err := c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return c, bufio.NewScanner(out)
}

func TestDecisionsSurviveSIGKILL(t *testing.T) {
	logtest.KillTest(t, logtest.Processes{
		New:    func(t logtest.TB) string { return t.TempDir() },
		Open:   func(dir string) (txlog.Log, error) { return Open(dir, &Options{SegmentSize: 8 << 10, Logger: quiet()}) },
		Rounds: 8,
	})
}

func TestALogHasOneOwner(t *testing.T) {
	dir := t.TempDir()
	c, out := start(t, "own", dir)
	out.Scan()
	want := fmt.Sprintf("pid %d since 20", c.Process.Pid)
	if _, err := Open(dir, nil); !errors.Is(err, txlog.ErrOwned) || !strings.Contains(err.Error(), want) {
		t.Errorf("Open beside another process: %v, want ErrOwned and %q", err, want)
	}
	if r, err := OpenReadOnly(dir); err != nil {
		t.Errorf("OpenReadOnly beside the owner: %v", err)
	} else {
		r.Close()
	}
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	l := mustOpen(t, dir, nil)
	want = fmt.Sprintf("pid %d since 20", os.Getpid())
	if _, err := Open(dir, nil); !errors.Is(err, txlog.ErrOwned) || !strings.Contains(err.Error(), want) {
		t.Errorf("Open twice in one process: %v, want ErrOwned and %q", err, want)
	}
	l.Close()
	mustOpen(t, dir, nil)
}

func TestAChildOfADeadOwnerDoesNotKeepTheLock(t *testing.T) {
	dir := t.TempDir()
	c, out := start(t, "spawn", dir)
	out.Scan()
	var grandchild int
	if _, err := fmt.Sscan(out.Text(), &grandchild); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(grandchild, syscall.SIGKILL) }()
	if err := c.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.Wait()
	if err := syscall.Kill(grandchild, 0); err != nil {
		t.Fatalf("the grandchild is gone: %v", err)
	}
	mustOpen(t, dir, nil)
}

func TestWhatIsNoLogIsRefusedAndLeftAsItIs(t *testing.T) {
	foreign := t.TempDir()
	if err := os.WriteFile(filepath.Join(foreign, "notes.txt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	plain := filepath.Join(foreign, "notes.txt")
	empty := t.TempDir()
	missing := filepath.Join(empty, "none")
	for _, c := range []struct {
		name, dir, want string
		open            func(string) (*Log, error)
	}{
		{"foreign files", foreign, `not a log, and not empty (it holds "notes.txt")`, openDefault},
		{"a file", plain, "it is a file: a log needs a directory", openDefault},
		{"below a file", filepath.Join(plain, "log"), "not a directory", openDefault},
		{"foreign files, to be read", foreign, "not a log: it holds no segment", OpenReadOnly},
		{"an empty directory, to be read", empty, "not a log: it holds no segment", OpenReadOnly},
		{"no directory, to be read", missing, "no such file or directory", OpenReadOnly},
		{"a small segment size", missing, "SegmentSize is 10", func(dir string) (*Log, error) { return Open(dir, &Options{SegmentSize: 10}) }},
	} {
		l, err := c.open(c.dir)
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "filelog: "+c.dir) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if got := contents(t, foreign); len(got) != 1 {
		t.Errorf("the directory now holds %d files", len(got))
	}
	if got := contents(t, empty); len(got) != 0 {
		t.Errorf("the empty directory now holds %d files", len(got))
	}
}

func openDefault(dir string) (*Log, error) { return Open(dir, nil) }

func TestTheDirectoryIsMadeDurably(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "a", "b", "log")
	var synced []string
	if err := makeDir(dir, func(dir string) error {
		synced = append(synced, strings.TrimPrefix(dir, root))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "/a", "/a/b"}; !slices.Equal(synced, want) {
		t.Errorf("synced are %q, want %q", synced, want)
	}
	fi, err := os.Stat(dir)
	if err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi, err)
	}
	l := mustOpen(t, filepath.Join(root, "c", "log"), nil)
	mustDecide(t, l, "t")
}

// TestAReaderSeesAPrefixWhileTheOwnerWorks reads again and again while the owner rolls and compacts.
func TestAReaderSeesAPrefixWhileTheOwnerWorks(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, &Options{SegmentSize: 4 << 10, Retention: -1, extent: 1000, Logger: quiet()})
	mustDecide(t, l, "kept")
	stop := make(chan struct{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			id := fmt.Sprint("t", i)
			mustDecide(t, l, id)
			if err := l.Settle(context.Background(), id); err != nil {
				t.Error(err)
			}
		}
	}()
	reads := 0
	for last := uint64(0); last < 12 && !t.Failed(); reads++ {
		r, err := OpenReadOnly(dir)
		if err != nil {
			t.Error(err)
			break
		}
		if info := r.Info(); info.Damage != nil || info.Unsettled > 3 {
			t.Errorf("%+v", info)
		}
		if o, err := r.Lookup(t.Context(), "kept"); o != txlog.Committed || err != nil {
			t.Errorf("Lookup = %s, %v", o, err)
		}
		last = r.sealed[len(r.sealed)-1].seq
	}
	close(stop)
	<-done
	t.Logf("read %d times", reads)
}

func TestOpeningErrorsSayWhatToDo(t *testing.T) {
	for cause, want := range map[error]string{
		syscall.EACCES: "give this process's user the right to read and write there",
		syscall.ENOSPC: "free some space",
		syscall.EROFS:  "put the log on a file system that is mounted for writing",
	} {
		err := describe("/var/lib/log", &os.PathError{Op: "open", Path: "/var/lib/log/lock", Err: cause})
		if !strings.Contains(err.Error(), want) || !errors.Is(err, cause) {
			t.Errorf("%v: %v", cause, err)
		}
	}
}

//go:build unix

package logtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/xasql/xasql/txlog"
)

// lineLog is a log in a text file that many processes share: each decision is a line, written under a lock. It outlives processes, but
// not the machine. A process that is killed can leave a part of a line, as a write ends at a page's border then; the next one to hold the
// lock cuts it off.
type lineLog struct {
	mu     sync.Mutex // guards what follows
	file   *os.File
	read   int64
	known  map[string]txlog.Decision
	open   []string
	buffer int  // broken: answers before it writes so many lines at once
	alone  bool // broken: does not look what others wrote
	lines  strings.Builder
	held   int
}

func openLines(where string) (*lineLog, error) {
	f, err := os.OpenFile(filepath.Join(where, "log"), os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	l := &lineLog{file: f, known: map[string]txlog.Decision{}}
	return l, l.locked(func() error { return nil })
}

func (l *lineLog) catchUp() error {
	lines, err := io.ReadAll(io.NewSectionReader(l.file, l.read, 1<<40))
	if err != nil {
		return err
	}
	whole := lines[:bytes.LastIndexByte(lines, '\n')+1]
	l.read += int64(len(whole))
	if len(whole) < len(lines) {
		if err := l.file.Truncate(l.read); err != nil {
			return err
		}
	}
	for line := range strings.Lines(string(whole)) {
		var id string
		var o txlog.Outcome
		if _, err := fmt.Sscan(line, &id, &o); err != nil {
			return err
		}
		if _, ok := l.known[id]; !ok {
			l.known[id] = txlog.Decision{ID: id, Outcome: o, Resources: []string{"orders", id}}
			l.open = append(l.open, id)
		}
	}
	return nil
}

func (l *lineLog) locked(f func() error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := syscall.Flock(int(l.file.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	defer syscall.Flock(int(l.file.Fd()), syscall.LOCK_UN)
	if !l.alone {
		if err := l.catchUp(); err != nil {
			return err
		}
	}
	return f()
}

func (l *lineLog) ID() string { return "lines" }

func (l *lineLog) Decide(_ context.Context, d txlog.Decision) (o txlog.Outcome, err error) {
	err = l.locked(func() error {
		if was, ok := l.known[d.ID]; ok {
			o = was.Outcome
			return nil
		}
		o = d.Outcome
		fmt.Fprintf(&l.lines, "%s %d\n", d.ID, d.Outcome)
		if l.buffer > 0 || l.alone {
			l.known[d.ID] = d
		}
		if l.held++; l.held > l.buffer {
			_, err := l.file.WriteString(l.lines.String())
			l.lines.Reset()
			l.held = 0
			return err
		}
		return nil
	})
	return o, err
}

func (l *lineLog) Lookup(_ context.Context, id string) (o txlog.Outcome, err error) {
	err = l.locked(func() error {
		o = l.known[id].Outcome
		return nil
	})
	return o, err
}

func (l *lineLog) Settle(context.Context, string) error { return nil }

func (l *lineLog) Unsettled(context.Context) iter.Seq2[txlog.Decision, error] {
	return func(yield func(txlog.Decision, error) bool) {
		for _, id := range l.open {
			if !yield(l.known[id], nil) {
				return
			}
		}
	}
}

func (l *lineLog) Close() error { return l.file.Close() }

func lineProcesses(atOnce int, alter func(*lineLog)) Processes {
	return Processes{
		New: func(t TB) string { return t.TempDir() },
		Open: func(where string) (txlog.Log, error) {
			l, err := openLines(where)
			if err == nil && os.Getenv(killWhere) != "" {
				alter(l)
			}
			return l, err
		},
		AtOnce: atOnce,
		Rounds: 2,
	}
}

func TestProcessesThatAreKilledLoseNothing(t *testing.T) {
	KillTest(t, lineProcesses(3, func(*lineLog) {}))
}

// brokenInProcesses runs KillTest with a log that is broken in the processes, and expects to be told so.
func brokenInProcesses(t *testing.T, want string, p Processes) {
	if os.Getenv(killWhere) != "" {
		KillTest(t, p)
	}
	record := newRecorder(t)
	record.run(func() { killTest(record, t.Name(), p) })
	if !record.Failed() || !strings.Contains(record.text(), want) {
		t.Errorf("the test says %q, want %q", record.text(), want)
	}
}

func TestALogThatAnswersBeforeItWritesIsCaught(t *testing.T) {
	brokenInProcesses(t, "is undecided, and was told to be", lineProcesses(1, func(l *lineLog) { l.buffer = 1 << 20 }))
}

func TestALogThatDoesNotLookWhatOthersWroteIsCaught(t *testing.T) {
	brokenInProcesses(t, "one was told", lineProcesses(3, func(l *lineLog) { l.alone = true }))
}

func TestAProcessThatCannotOpenTheLogIsReported(t *testing.T) {
	p := lineProcesses(1, func(*lineLog) {})
	open := p.Open
	p.Open = func(where string) (txlog.Log, error) {
		if os.Getenv(killWhere) != "" {
			return nil, errors.New("no such luck")
		}
		return open(where)
	}
	brokenInProcesses(t, "no such luck", p)
}

func BenchmarkMemory(b *testing.B) { Benchmark(b, NewMemory()) }

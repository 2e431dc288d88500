package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// slot is a place for a worker: one process after the other, each recovering what the one before has left.
type slot struct {
	r      *run
	n      int
	log    string // URL
	steady bool   // never killed
	random *rand.Rand

	busy   atomic.Bool   // a fault is at work on it
	hasLog atomic.Bool   // a process has opened it
	done   chan struct{} // closed when its last process has ended

	mu         sync.Mutex // guards all below
	generation int
	process    *os.Process // nil: none runs
	input      io.WriteCloser
	opened     bool
	asked      bool // to be quiet
	quiet      bool
	stopped    bool // by itself, as it was told to
	freed      bool // it will not do that any more
	doomed     bool // it kills itself, or has been killed
	ending     bool
	dumping    bool   // it was asked for its goroutines, since it hangs
	last       sample // of this process
	before     sample // of those before it
}

// run starts processes until one is told to end.
func (s *slot) run(ctx context.Context) {
	defer close(s.done)
	for {
		cmd, out, err := s.start()
		if err != nil {
			s.r.violate("worker %d could not be started: %v", s.n, err)
			return
		}
		s.listen(out)
		err = cmd.Wait()
		doomed, ending, dumping := s.ended()
		var exit *exec.ExitError
		killed := errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL
		switch {
		case err == nil && ending, dumping:
			return
		case killed && doomed:
			s.r.count("kills")
		default:
			s.r.violate("worker %d ended by itself (%v): see %s", s.n, err, s.stderr())
			return
		}
		if ctx.Err() != nil {
			return
		}
		for s.r.o.does("recover") && s.hasLog.Load() && s.random.IntN(2) == 0 {
			s.r.recover(ctx, s, s.random.IntN(2) == 0)
		}
	}
}

// start starts the next process.
func (s *slot) start() (*exec.Cmd, io.Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.generation++
	o := s.r.o
	prefix := fmt.Sprintf("w%dg%d", s.n, s.generation)
	t := task{
		Prefix: prefix, Told: filepath.Join(s.r.dir, "told", prefix), Log: s.log, Resources: s.r.arena.seen, Seed: s.random.Uint64(),
		Threads: o.threads, Jitter: o.jitter, Think: o.think, Retention: o.retention, Segment: o.segment,
	}
	if o.does("kill") && !s.steady && s.random.IntN(3) == 0 {
		names := pointNames()
		t.Kill, t.After = names[s.random.IntN(len(names))], s.random.Int64N(60)
	}
	raw, err := json.Marshal(t)
	if err != nil {
		return nil, nil, err
	}
	stderr, err := os.OpenFile(s.stderr(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return nil, nil, err
	}
	defer stderr.Close()
	fmt.Fprintf(stderr, "--- %s begins\n", prefix)
	cmd := exec.Command(s.r.self, "worker")
	cmd.Env = append(os.Environ(), workerVariable+"="+string(raw))
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for us alone
	if s.input, err = cmd.StdinPipe(); err != nil {
		return nil, nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	s.process, s.doomed = cmd.Process, t.Kill != ""
	return cmd, out, nil
}

// listen takes in what the process says, until it has ended.
func (s *slot) listen(out io.Reader) {
	for lines := bufio.NewScanner(out); lines.Scan(); {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			continue // the last line of a killed process
		}
		s.mu.Lock()
		switch e.What {
		case opened:
			s.opened = true
			s.hasLog.Store(true)
		case quieted:
			s.quiet = true
		case stopped:
			s.stopped = true
		case freed:
			s.freed = true
		case sampled:
			s.last = *e.Sample
		}
		s.mu.Unlock()
	}
}

// ended forgets the process.
func (s *slot) ended() (doomed, ending, dumping bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before.Transactions += s.last.Transactions
	s.before.Acknowledged += s.last.Acknowledged
	doomed, ending, dumping = s.doomed, s.ending, s.dumping
	s.process, s.opened, s.asked, s.quiet, s.stopped, s.freed, s.doomed, s.last = nil, false, false, false, false, false, false, sample{}
	return doomed, ending, dumping
}

// signal sends a signal, and tells whether there was a process that could get it.
func (s *slot) signal(sig os.Signal) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil || s.process.Signal(sig) != nil {
		return false
	}
	if sig == syscall.SIGKILL {
		s.doomed = true
	}
	return true
}

// dump has a worker that hangs print its goroutines, and end.
func (s *slot) dump() {
	s.mu.Lock()
	s.dumping = true
	s.mu.Unlock()
	if !s.signal(syscall.SIGQUIT) || !s.signal(syscall.SIGCONT) { // a process that is stopped hears only SIGCONT
		return
	}
	select {
	case <-s.done:
	case <-time.After(10 * time.Second): // it does not even do that
	}
}

// awaitQuiet returns true when the worker has nothing open and begins nothing, false when ctx ended before.
func (s *slot) awaitQuiet(ctx context.Context) bool {
	return s.await(ctx, func() bool {
		if s.opened && !s.asked {
			s.asked = true
			s.say(sayQuiet)
		}
		return s.quiet
	})
}

// stopAt has the worker stop at a point of the protocol, and tells whether it came to that. The caller calls free.
func (s *slot) stopAt(ctx context.Context, point string) bool {
	s.mu.Lock()
	armed := s.opened
	if s.stopped, s.freed = false, !armed; armed {
		s.say(sayStop + point)
	}
	s.mu.Unlock()
	if !armed {
		return false
	}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second) // not every point is on every transfer's way
	defer cancel()
	return s.await(limited, func() bool { return s.stopped })
}

// free lets a worker go on that has stopped at a point, or may yet do so. It returns when that is over.
func (s *slot) free(ctx context.Context) {
	s.mu.Lock()
	generation := s.generation
	if s.opened && !s.freed {
		s.say(sayFree)
	}
	s.mu.Unlock()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute) // also at the end of the run
	defer cancel()
	s.await(limited, func() bool {
		if s.process != nil {
			_ = s.process.Signal(syscall.SIGCONT)
		}
		return s.freed || !s.opened || s.generation != generation
	})
}

// goOn ends the quiet.
func (s *slot) goOn() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked, s.quiet = false, false
	s.say(sayGo)
}

// end tells a quiet worker to end.
func (s *slot) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ending = true
	s.say(sayEnd)
}

// say writes a command. A process that is gone by now needs none.
func (s *slot) say(command string) { _, _ = io.WriteString(s.input, command+"\n") }

// await polls a condition, with the mutex held.
func (s *slot) await(ctx context.Context, condition func() bool) bool {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		ok := condition()
		s.mu.Unlock()
		if ok {
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-s.done:
			return false
		case <-tick.C:
		}
	}
}

// totals counts over all processes of the slot.
func (s *slot) totals() (transactions, acknowledged int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.before.Transactions + s.last.Transactions, s.before.Acknowledged + s.last.Acknowledged
}

func (s *slot) stderr() string { return filepath.Join(s.r.dir, fmt.Sprintf("worker-%d.log", s.n)) }

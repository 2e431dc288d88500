package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/xasql/xasql/integration/judge"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// workerVariable holds a worker's task. It is not an argument, since URLs may hold passwords.
const workerVariable = "XA_TORTURE_WORKER"

// task is what a worker process is started with.
type task struct {
	Prefix    string // of its transfers' IDs
	Told      string // file
	Log       string // URL
	Resources []judge.Database
	Seed      uint64
	Threads   int
	Jitter    time.Duration
	Think     time.Duration
	Kill      string // the point of the protocol at which it kills itself; "": none
	After     int64  // in the transaction after so many
	Retention time.Duration
	Segment   int64
}

// event is a line that a worker writes to its standard output.
type event struct {
	What   string  // one of the following
	Sample *sample `json:",omitempty"`
}

const (
	opened  = "opened"
	quieted = "quiet"
	sampled = "sample"
	stopped = "stopped" // it stops itself
	freed   = "freed"   // it does not stop itself any more
)

// The commands that it reads from its standard input. The end of the input is sayEnd.
const (
	sayQuiet = "quiet" // finish what is open, begin nothing, and say so
	sayGo    = "go"
	sayStop  = "stop " // and the point of the protocol at which it stops itself
	sayFree  = "free"  // unless it has by now
	sayEnd   = "end"
)

// sample is how a worker is doing.
type sample struct {
	Transactions int64 // since it began
	Acknowledged int64 // as committed
	Goroutines   int
	Connections  int   // open, over all pools
	Heap         int64 // bytes that are in use
}

// worker makes transfers.
type worker struct {
	task
	m     *xa.Manager
	pools []*sql.DB
	hooks *hooks
	told  *judge.Teller
	gate  sync.RWMutex // held by each transfer; locked: quiet

	transactions, acknowledged atomic.Int64

	mu  sync.Mutex // guards out
	out *json.Encoder
}

// work is the worker's process. It returns when everything is settled after the end of its input.
func work(ctx context.Context) (err error) {
	w := &worker{out: json.NewEncoder(os.Stdout)}
	if err := json.Unmarshal([]byte(os.Getenv(workerVariable)), &w.task); err != nil {
		return fmt.Errorf("%s: %w: torture starts its workers itself", workerVariable, err)
	}
	if w.told, err = judge.NewTeller(w.Told); err != nil {
		return err
	}
	log, err := w.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	w.say(event{What: opened})

	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var threads sync.WaitGroup
	for n := range w.Threads {
		threads.Go(func() { w.repeat(ctx, n, stop) })
	}
	threads.Go(func() { w.sample(ctx) })
	go w.obey(os.Stdin, stop)
	threads.Wait()
	if cause := context.Cause(ctx); !errors.Is(cause, errEnd) {
		err = cause
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Minute)
	defer cancel()
	return errors.Join(err, w.m.Shutdown(last), w.m.Close())
}

var errEnd = errors.New("told to end")

// obey reads commands. That its input ends tells that nobody is there who could say more.
func (w *worker) obey(in io.Reader, stop context.CancelCauseFunc) {
	quiet := false
	defer func() {
		stop(errEnd) // before the transfers go on
		if quiet {
			w.gate.Unlock()
		}
	}()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		switch command := lines.Text(); {
		case command == sayQuiet && !quiet:
			w.gate.Lock()
			quiet = true
			w.say(event{What: quieted})
		case command == sayGo && quiet:
			w.gate.Unlock()
			quiet = false
		case strings.HasPrefix(command, sayStop):
			point := strings.TrimPrefix(command, sayStop)
			w.hooks.stopAt.Store(&point)
		case command == sayFree:
			w.hooks.free()
			w.say(event{What: freed})
		case command == sayEnd:
			return
		}
	}
}

func (w *worker) say(e event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	_ = w.out.Encode(e) // who reads it may be gone; then the input ends too
}

// sample tells every second how the worker is doing.
func (w *worker) sample(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var memory runtime.MemStats
		runtime.ReadMemStats(&memory)
		s := sample{
			Transactions: w.transactions.Load(), Acknowledged: w.acknowledged.Load(),
			Goroutines: runtime.NumGoroutine(), Heap: int64(memory.HeapAlloc),
		}
		for _, pool := range w.pools {
			s.Connections += pool.Stats().OpenConnections
		}
		w.say(event{What: sampled, Sample: &s})
	}
}

// open opens log and manager. A log in a database that is down just now can't be opened: that is tried again, for two minutes.
func (w *worker) open(ctx context.Context) (txlog.Log, error) {
	var err error
	cfg := xa.Config{
		Timeout: 10 * time.Second, CompletionTimeout: 3 * time.Second, RecoveryInterval: time.Second, RecoveryTimeout: 5 * time.Second,
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)),
	}
	for _, d := range w.Resources {
		res, err := connect.Resource(d.Name, d.URL)
		if err != nil {
			return nil, err
		}
		// A pool for all that can go on at once: the branches of each thread, and those whose end is lost in the network.
		res.DB.SetMaxOpenConns(4*w.Threads + 4)
		res.DB.SetMaxIdleConns(w.Threads)
		cfg.Resources = append(cfg.Resources, res)
		w.pools = append(w.pools, res.DB)
	}
	w.hooks = &hooks{jitter: w.Jitter, kill: w.Kill, after: w.After, stop: func() {
		w.say(event{What: stopped})
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	}}
	if cfg.Trace, err = w.hooks.trace(); err != nil {
		return nil, err
	}
	for limit := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if cfg.Log, err = w.openLog(ctx); err == nil {
			if err = w.told.Log(cfg.Log.ID()); err != nil {
				return nil, err
			}
			if w.m, err = xa.Open(ctx, cfg); err == nil {
				return cfg.Log, nil
			}
			err = errors.Join(err, cfg.Log.Close())
		}
		fmt.Fprintln(os.Stderr, "torture: open:", err)
		if time.Now().After(limit) || ctx.Err() != nil {
			return nil, err
		}
	}
}

func (w *worker) openLog(ctx context.Context) (txlog.Log, error) {
	u, err := connect.ParseLog(w.Log)
	if err != nil {
		return nil, err
	}
	if u.Dir != "" {
		log, err := filelog.Open(u.Dir, &filelog.Options{SegmentSize: w.Segment, Retention: w.Retention})
		if err != nil {
			return nil, err
		}
		return log, nil
	}
	return u.Open(ctx, connect.LogOptions{Retention: w.Retention})
}

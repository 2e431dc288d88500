// Command transfers moves money between databases in global transactions, until it is killed or has made a given number of
// transfers, and tells on its standard output what it learned of each (see package ledger):
//
//	XA_LOG=file:DIR XA_RESOURCES='a=postgres://… b=mysql://…' transfers [-workers 4] [-count 100] [-jitter 20ms | -kill decide-done]
//
// Log and databases are named as for xa-recover.
//
// It begins with the recovery of what an earlier run left, as every manager does when it opens. With -kill it kills itself with SIGKILL at that point of the protocol, in the transaction after the
// first -after ones. With -jitter it pauses at random there: a process that is killed from outside is
// else hardly ever hit between two steps, which follow each other within microseconds.
//
// It ends with status 0 when all that it began is finished and nothing of its log is in doubt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/xasql/xasql/integration/ledger"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

type options struct {
	log       string   // URL
	resources []string // NAME=URL
	workers   int
	count     int64 // of transfers; 0: until killed
	prefix    string
	seed      uint64
	kill      string
	after     int64
	jitter    time.Duration
}

// patience is how long a transaction, and its completion, may take: seconds, as faults hold some up, but one that is to come to the point
// where its process kills itself must not be given up because the machine stood still.
func (o options) patience() time.Duration {
	if o.kill != "" {
		return 2 * time.Minute
	}
	return 10 * time.Second
}

func main() {
	o := options{log: os.Getenv("XA_LOG"), resources: strings.Fields(os.Getenv("XA_RESOURCES"))}
	flag.IntVar(&o.workers, "workers", 1, "how many transfers at a time")
	flag.Int64Var(&o.count, "count", 0, "how many transfers; 0: until SIGTERM")
	flag.StringVar(&o.prefix, "prefix", "t", "what the transfers' own ids begin with")
	flag.Uint64Var(&o.seed, "seed", 1, "of what is random: databases, accounts and amounts")
	flag.StringVar(&o.kill, "kill", "", "where to kill itself: "+pointNames())
	flag.Int64Var(&o.after, "after", 0, "how many transactions to finish before it kills itself")
	flag.DurationVar(&o.jitter, "jitter", 0, "how long to pause at most at the points of the protocol")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "transfers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	log, err := openLog(ctx, o.log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()

	cfg := xa.Config{Log: log, RecoveryInterval: time.Second, CompletionTimeout: o.patience(), Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	for _, flag := range o.resources {
		name, url, err := connect.SplitFlag(flag)
		if err != nil {
			return err
		}
		res, err := connect.Resource(name, url)
		if err != nil {
			return err
		}
		defer res.DB.Close()
		cfg.Resources = append(cfg.Resources, res)
	}
	if cfg.Trace, err = newHooks(o).trace(); err != nil {
		return err
	}
	m, err := xa.Open(ctx, cfg)
	if err != nil {
		return err
	}
	failed := newBank(m, cfg.Resources, o, out).work(ctx)

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	return errors.Join(failed, m.Shutdown(ctx), m.Close())
}

// openLog opens the log. One in files is made if need be; one in a database must be there.
func openLog(ctx context.Context, raw string) (txlog.Log, error) {
	u, err := connect.ParseLog(raw)
	if err != nil {
		return nil, err
	}
	if u.Dir != "" {
		return filelog.Open(u.Dir, nil)
	}
	return u.Open(ctx, connect.LogOptions{})
}

// outcome is what an error of xa tells; false: nothing.
func outcome(err error) (ledger.Outcome, bool) {
	switch {
	case err == nil:
		return ledger.Committed, true
	case errors.Is(err, xa.ErrHeuristic):
		return ledger.Heuristic, true
	case errors.Is(err, xa.ErrOutcomeUnknown):
		return ledger.Unknown, true
	case errors.Is(err, xa.ErrRolledBack), errors.Is(err, xa.ErrClosed):
		return ledger.RolledBack, true
	}
	return ledger.Unknown, false
}

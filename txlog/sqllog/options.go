package sqllog

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"
)

// Options are the optional settings of [Open]. The zero value of each is its default.
type Options struct {
	// Existing refuses to create the log: the tables must be there. Default: they are made where they are not.
	Existing bool
	// ReadOnly opens the log to be read: nothing is changed, no lease is taken, and the tables must be there.
	ReadOnly bool
	// Logger is told what a person should know. Default slog.Default().
	Logger *slog.Logger
	// Retention is how long a settled decision stays readable, at least. Default 24 hours; negative: none.
	Retention time.Duration
	// Lease is how long a member that can't reach the log counts as alive. Default 10 seconds, at least 100 milliseconds.
	Lease time.Duration
	// Name says who this is, for a person who looks at what it holds. Default: host name and pid.
	Name string
	// RelaxedDurability accepts a server, or a file, whose own settings let a crash of the machine lose what it has acknowledged. A decision
	// that is lost so makes half a transaction: it is for tests. Default: Open refuses, and says what to set.
	RelaxedDurability bool

	grammar *grammar // nil: the dialect's

	limit  time.Duration // how long a batch of decisions may take in all
	settle time.Duration // how long what was settled waits for more
	sweep  time.Duration // how often the log is cleaned up, about
}

const (
	minLease   = 100 * time.Millisecond
	maxNameLen = 200
)

func (o *Options) withDefaults(d Dialect) (Options, error) {
	var opts Options
	if o != nil {
		opts = *o
	}
	if opts.grammar == nil {
		opts.grammar = grammarOf(d)
	}
	if opts.grammar == nil {
		return opts, errors.New("Dialect is missing: use sqllog.Postgres, sqllog.MySQL or sqllog.SQLite")
	}
	if opts.Lease != 0 && opts.Lease < minLease {
		return opts, fmt.Errorf("Lease is %v: it must be at least %v", opts.Lease, minLease)
	}
	setDefault(&opts.Lease, 10*time.Second)
	setDefault(&opts.Retention, 24*time.Hour)
	setDefault(&opts.limit, 10*time.Second)
	setDefault(&opts.settle, 100*time.Millisecond)
	setDefault(&opts.sweep, 5*time.Minute)
	if opts.Logger == nil {
		opts.Logger = slog.Default()
	}
	if opts.Name == "" {
		host, _ := os.Hostname()
		opts.Name = fmt.Sprintf("%s pid %d", host, os.Getpid())
	}
	opts.Name = printable(opts.Name)
	return opts, nil
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

// retention is never negative.
func (o Options) retention() time.Duration { return max(o.Retention, 0) }

// printable makes a name fit for every database's idea of text.
func printable(name string) string {
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
	return name[:min(len(name), maxNameLen)]
}

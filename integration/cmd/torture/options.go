package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/judge"
)

// faults that a run can make.
var allFaults = []string{"kill", "stop", "recover", "server", "network"}

type options struct {
	databases []judge.Database
	log       string // URL; "": in files of the run's directory
	engines   []string
	duration  time.Duration
	every     time.Duration
	check     time.Duration
	patience  time.Duration
	progress  time.Duration
	seed      uint64
	workers   int
	threads   int
	jitter    time.Duration
	think     time.Duration
	retention time.Duration
	segment   int64
	steady    bool
	faults    []string
	network   bool
	killMySQL bool
	dir       string
	keep      bool
	hold      bool
	clean     bool
	report    string
	recover   string // path of xa-recover; "": none
}

// parse reads arguments and environment; nil without an error: the manual was asked for.
func parse(args []string) (*options, error) {
	o := &options{}
	resources, engineList, faults := os.Getenv("XA_RESOURCES"), "", ""
	var named []string
	f := flag.NewFlagSet("torture", flag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.StringVar(&o.log, "log", os.Getenv("XA_LOG"), "")
	f.Func("resource", "", func(s string) error { named = append(named, s); return nil })
	f.StringVar(&engineList, "engines", "", "")
	f.DurationVar(&o.duration, "duration", 10*time.Minute, "")
	f.DurationVar(&o.every, "every", 2*time.Second, "")
	f.DurationVar(&o.check, "check", time.Minute, "")
	f.DurationVar(&o.patience, "patience", 3*time.Minute, "")
	f.DurationVar(&o.progress, "progress", 5*time.Second, "")
	f.Uint64Var(&o.seed, "seed", 0, "")
	f.IntVar(&o.workers, "workers", 3, "")
	f.IntVar(&o.threads, "threads", 3, "")
	f.DurationVar(&o.jitter, "jitter", 20*time.Millisecond, "")
	f.DurationVar(&o.think, "think", 0, "")
	f.DurationVar(&o.retention, "retention", time.Minute, "")
	f.Int64Var(&o.segment, "segment", 256<<10, "")
	f.BoolVar(&o.steady, "steady", true, "")
	f.StringVar(&faults, "faults", "", "")
	f.BoolVar(&o.network, "network", false, "")
	f.BoolVar(&o.killMySQL, "kill-mysql", false, "")
	f.StringVar(&o.dir, "dir", "", "")
	f.BoolVar(&o.keep, "keep", false, "")
	f.BoolVar(&o.hold, "hold", false, "")
	f.BoolVar(&o.clean, "clean", false, "")
	f.StringVar(&o.report, "json", "", "")
	f.StringVar(&o.recover, "xa-recover", findRecover(), "")
	if err := f.Parse(args); errors.Is(err, flag.ErrHelp) {
		fmt.Print(usage())
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("%w (torture -h tells all)", err)
	}
	if f.NArg() > 0 {
		return nil, fmt.Errorf("%q is no command: there are torture, torture check and torture -h", f.Arg(0))
	}
	if len(named) > 0 {
		resources = strings.Join(named, "\n")
	}
	var err error
	if o.databases, err = judge.ParseDatabases(resources); err != nil {
		return nil, err
	}
	o.engines = list(engineList)
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	o.faults = o.possible(list(faults))
	return o, o.validate()
}

// possible returns the faults that were asked for or, where none were, all that can be made.
func (o *options) possible(asked []string) []string {
	own := len(o.engines) > 0
	if len(asked) == 0 {
		asked = slices.DeleteFunc(slices.Clone(allFaults), func(fault string) bool {
			return fault == "server" && !own || fault == "network" && !own && !o.network || fault == "recover" && o.recover == ""
		})
	}
	return asked
}

func (o *options) validate() error {
	switch {
	case len(o.engines) > 0 && len(o.databases) > 0:
		return errors.New("-engines starts databases of its own: leave out XA_RESOURCES and -resource, or -engines")
	case len(o.engines)+len(o.databases) < 1:
		return errors.New("no databases: name each with -resource NAME=URL or in XA_RESOURCES, or start some with -engines postgres:18,mariadb:11.8,sqlite (torture -h tells all)")
	case o.workers < 1 || o.threads < 1:
		return errors.New("-workers and -threads are at least 1")
	case o.duration <= 0 || o.every <= 0 || o.check <= 0 || o.patience <= 0 || o.progress <= 0:
		return errors.New("-duration, -every, -check, -patience and -progress are longer than zero")
	}
	for _, fault := range o.faults {
		switch {
		case !slices.Contains(allFaults, fault) && fault != "none":
			return fmt.Errorf("-faults: %q is none of %s, none", fault, strings.Join(allFaults, ", "))
		case fault == "server" && len(o.engines) == 0:
			return errors.New("-faults server: only servers that were started with -engines are killed, never yours")
		case fault == "network" && len(o.engines) == 0 && !o.network:
			return errors.New("-faults network: connections to your servers go through a proxy only with -network")
		case fault == "recover" && o.recover == "":
			return errors.New("-faults recover: no xa-recover beside this program or in the PATH: name it with -xa-recover")
		}
	}
	for _, name := range o.engines {
		if _, ok := engine(name); !ok && name != "sqlite" {
			return fmt.Errorf("-engines: %q is none of %v, sqlite", name, engines.All())
		}
	}
	return nil
}

func (o *options) does(fault string) bool { return slices.Contains(o.faults, fault) }

func engine(name string) (engines.Engine, bool) {
	all := engines.All()
	i := slices.IndexFunc(all, func(e engines.Engine) bool { return e.Name == name })
	if i < 0 {
		return engines.Engine{}, false
	}
	return all[i], true
}

// list reads words with commas between them; nil for none.
func list(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
}

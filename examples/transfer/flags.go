package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/xasql/xasql/internal/connect"
)

type options struct {
	dir      string
	urls     map[string]string // none: two SQLite files in dir
	from, to string
	amount   int64
	balances bool
	kill     killPoint
}

// parseFlags reads the command line, and ends the program where it can't.
func parseFlags() options {
	opts := options{urls: map[string]string{}}
	var order []string
	flag.StringVar(&opts.dir, "dir", "demo/transfer", "the `directory` of the decision log and of the SQLite files")
	flag.Func("resource", "a database, as `NAME=URL`; twice or more (default: SQLite files berlin.db and paris.db)", func(s string) error {
		name, url, err := connect.SplitFlag(s)
		if err == nil && opts.urls[name] != "" {
			err = fmt.Errorf("two databases are named %q", name)
		}
		opts.urls[name] = url
		order = append(order, name)
		return err
	})
	flag.StringVar(&opts.from, "from", "", "the database that pays (default: the first)")
	flag.StringVar(&opts.to, "to", "", "the database that is paid (default: the second)")
	flag.Int64Var(&opts.amount, "amount", 10, "how much to move")
	flag.BoolVar(&opts.balances, "balances", false, "only print the balances")
	flag.Func("kill", "kill this process with SIGKILL when all is prepared: `before-decision` or after-decision", opts.kill.set)
	flag.Parse()
	if len(order) == 0 {
		order = []string{"berlin", "paris"}
	}
	if err := opts.complete(order, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		flag.Usage()
		os.Exit(2)
	}
	return opts
}

// complete fills in the defaults.
func (o *options) complete(order, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("transfer takes flags only, not %q", args[0])
	}
	if len(order) < 2 {
		return errors.New("a transfer needs two databases: name another one with -resource NAME=URL")
	}
	if o.from == "" {
		o.from = order[0]
	}
	if o.to == "" {
		o.to = order[1]
	}
	for _, name := range []string{o.from, o.to} {
		if !slices.Contains(order, name) {
			return fmt.Errorf("no database is named %q, only %s", name, strings.Join(order, ", "))
		}
	}
	if o.from == o.to {
		return fmt.Errorf("from and to are both %q", o.from)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/config"
	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
)

// Exit statuses; see the package comment.
const (
	statusSettled   = 0
	statusFailure   = 1
	statusUsage     = 2
	statusInDoubt   = 3
	statusHeuristic = 4
)

// errUsage is in every error that means a wrong command line.
var errUsage = errors.New("wrong usage")

// usagef returns an error that is errUsage, without its words.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

type usageError struct{ error }

func (e usageError) Is(target error) bool { return target == errUsage }
func (e usageError) Unwrap() error        { return e.error }

// opener turns URLs into logs and databases. Tests put memory in its place.
type opener struct {
	log      func(ctx context.Context, url string, opts connect.LogOptions) (txlog.Log, error)
	readLog  func(ctx context.Context, url string) (txlog.Log, error)
	resource func(name, url string) (drivers.Resource, error)
}

// app is one run of the program.
type app struct {
	open   opener
	getenv func(string) string
	stdin  io.Reader // of a person; nil: nobody is there to answer
	stdout io.Writer
	stderr io.Writer
	now    func() time.Time
	who    func() string // the person who runs this: user@host

	terminal bool // stderr is one

	file *config.File // nil: not read yet

	flags struct {
		config    string
		log       string
		resources []string
		output    string
		color     string
		timeout   time.Duration
		verbose   int
	}
	started bool // a command runs: what went wrong before is wrong usage
	status  int
}

func run(ctx context.Context, args []string, getenv func(string) string, stdin *os.File, stdout, stderr io.Writer) int {
	a := &app{
		getenv: getenv, stdout: stdout, stderr: stderr, now: time.Now, who: who,
	}
	a.open = opener{log: a.openLog, readLog: a.readLog, resource: a.openResource}
	if info, err := stdin.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
		a.stdin = stdin
	}
	a.terminal = isTerminal(stderr)
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	root := a.command()
	root.SetArgs(args)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return a.status
	}
	fmt.Fprintf(a.stderr, "xa-recover: %s\n", oneLine(err.Error()))
	if errors.Is(err, txlog.ErrCorrupt) {
		fmt.Fprintln(a.stderr, "xa-recover: what that means, and the way out: xa-recover log verify")
	}
	switch {
	case !a.started || errors.Is(err, errUsage) || errors.Is(err, connect.ErrUsage) || errors.Is(err, config.ErrInvalid):
		fmt.Fprintln(a.stderr, "Run xa-recover --help for usage.")
		return statusUsage
	case a.status != statusSettled:
		return a.status // the result was told before, and says more than "failure"
	}
	return statusFailure
}

const longHelp = `xa-recover shows what a crash left in doubt in several databases, and settles it.

In a hurry:

  xa-recover list       what is in doubt, what would be done, and why
  xa-recover resolve    does it; it is right at any time, and again, unless
                        somebody finished branches at a database's own prompt
  xa-recover show ID    one transaction, and its next step
  xa-recover doctor     why a database can't be asked, or can't recover

The log is lost: xa-recover resolve --adopt LOG --dry-run

The decision log and the databases are named in a file, which the application
may share (--config FILE or XA_CONFIG; in YAML), by the environment variables
XA_LOG (a URL) and XA_RESOURCES (NAME=URL, one a line, or separated by blanks on
one line), or by flags. A flag is stronger than the environment, which is
stronger than the file; databases add up, each by its name.

  the log     file:DIR, or a database's URL where it is kept in tables
  databases   postgres://USER@HOST:PORT/DATABASE
              mysql://USER@HOST:PORT/DATABASE
              sqlite:PATH

Names must be those that the application uses: they are part of every XID.
Passwords are best kept out of the command line: XA_NAME_PASSWORD holds the one
of resource NAME, XA_LOG_PASSWORD the log's; otherwise PGPASSWORD, the pgpass
file, MYSQL_PWD and ~/.my.cnf are used. The configuration file may name files of passwords.

Exit status: 0 nothing of this log is left in doubt; 1 failure, or the log is
damaged; 2 wrong usage; 3 something is, or may be, left in doubt, or a live
process has the log in hand; 4 a heuristic outcome needs a person.`

func (a *app) command() *cobra.Command {
	root := &cobra.Command{
		Use:           "xa-recover",
		Short:         "Show and settle what a crash left in doubt in several databases",
		Long:          longHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE: func(*cobra.Command, []string) error {
			return usagef("which command? resolve, list, show, commit, rollback, forget, doctor or log")
		},
	}
	root.SetFlagErrorFunc(nearestFlag)
	f := root.PersistentFlags()
	f.StringVarP(&a.flags.config, "config", "c", "", "the application's configuration `FILE` (default $XA_CONFIG)")
	f.StringVar(&a.flags.log, "log", "", "the decision log, as `URL` (default $XA_LOG)")
	f.StringArrayVar(&a.flags.resources, "resource", nil, "a database, as `NAME=URL`; once for each (default $XA_RESOURCES)")
	f.StringVarP(&a.flags.output, "output", "o", "table", "table or json")
	f.StringVar(&a.flags.color, "color", "auto", "auto (on a terminal, unless $NO_COLOR is set), always or never")
	f.DurationVar(&a.flags.timeout, "timeout", time.Minute, "how long a database, or the log, may stand still")
	f.CountVarP(&a.flags.verbose, "verbose", "v", "tell more on standard error; twice: everything")
	complete(root, "resource", a.completeNames)
	complete(root, "output", cobra.FixedCompletions([]string{"table", "json"}, cobra.ShellCompDirectiveNoFileComp))
	complete(root, "color", cobra.FixedCompletions([]string{"auto", "always", "never"}, cobra.ShellCompDirectiveNoFileComp))
	root.AddCommand(a.resolveCommand(), a.listCommand(), a.showCommand(), a.decideCommand(txlog.Committed), a.decideCommand(txlog.Aborted),
		a.forgetCommand(), a.doctorCommand(), a.logCommand(), a.versionCommand(), a.manCommand())
	return root
}

// action makes a cobra function of a command's own, which tells its result and returns the exit status. The time limit is its own affair: what goes
// on is never cut short.
func (a *app) action(f func(ctx context.Context, args []string) (int, error)) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error { return a.act(cmd.Context(), args, f) }
}

// brief is an action that asks the log a few questions: the limit is one for them all.
func (a *app) brief(f func(ctx context.Context, args []string) (int, error)) func(*cobra.Command, []string) error {
	return a.action(func(ctx context.Context, args []string) (status int, err error) {
		limit := fmt.Errorf("the time limit of %v is over (--timeout)", a.flags.timeout)
		err = a.within(ctx, limit, func(ctx context.Context) error {
			status, err = f(ctx, args)
			return err
		})
		return status, err
	})
}

func (a *app) act(ctx context.Context, args []string, f func(ctx context.Context, args []string) (int, error)) error {
	if a.flags.timeout <= 0 {
		return usagef("--timeout must be positive")
	}
	if a.flags.output != "table" && a.flags.output != "json" {
		return usagef("--output is table or json, not %q", a.flags.output)
	}
	if c := a.flags.color; c != "auto" && c != "always" && c != "never" {
		return usagef("--color is auto, always or never, not %q", c)
	}
	a.started = true
	status, err := f(ctx, args)
	a.status = status
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}

// ask gives f, which asks the log something, the time limit.
func (a *app) ask(ctx context.Context, f func(ctx context.Context) error) error {
	return a.within(ctx, fmt.Errorf("the log gives no answer for %v (--timeout)", a.flags.timeout), f)
}

// within returns limit where f fails because its time is over. The context shows no deadline: who sees one may fail by it a moment before the context ends.
func (a *app) within(ctx context.Context, limit error, f func(ctx context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer time.AfterFunc(a.flags.timeout, func() { cancel(limit) }).Stop()
	err := f(ctx)
	if err != nil && context.Cause(ctx) == limit {
		return limit
	}
	return err
}

func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes flags only, not %q", cmd.Name(), args[0])
	}
	return nil
}

// logger returns the log of warnings, or of more, on standard error. Time stamps are left to who keeps it.
func (a *app) logger() *slog.Logger {
	level := slog.LevelWarn
	switch {
	case a.flags.verbose == 1:
		level = slog.LevelInfo
	case a.flags.verbose > 1:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{
		Level: level,
		ReplaceAttr: func(groups []string, attr slog.Attr) slog.Attr {
			if attr.Key == slog.TimeKey && len(groups) == 0 {
				return slog.Attr{}
			}
			return attr
		},
	}))
}

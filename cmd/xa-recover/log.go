package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/config"
	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
)

func (a *app) logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Look into the decision log itself, and look after it",
		Long: `Look into the decision log itself, and look after it. The log is named by --log
or XA_LOG; no databases are needed.`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usagef("log has no command %q, only %s", args[0], logCommands)
			}
			return usagef("which log command? %s", logCommands)
		},
	}
	cmd.AddCommand(a.logInfoCommand(), a.logDumpCommand(), a.logVerifyCommand(), a.logCompactCommand(), a.logAdoptCommand(), a.logSchemaCommand())
	return cmd
}

const logCommands = "info, dump, verify, compact, adopt or schema"

// patientAction is an action that by default takes as long as it takes: a log may be large, and a pager slow.
func (a *app) patientAction(f func(ctx context.Context, args []string) (int, error)) func(*cobra.Command, []string) error {
	run := a.brief(f)
	return func(cmd *cobra.Command, args []string) error {
		if !cmd.Flags().Changed("timeout") {
			a.flags.timeout = math.MaxInt64
		}
		return run(cmd, args)
	}
}

// configuration is what the configuration file says; nothing where none is named.
func (a *app) configuration() (*config.File, error) {
	if a.file != nil {
		return a.file, nil
	}
	path := cmp.Or(a.flags.config, a.getenv("XA_CONFIG"))
	if path == "" {
		return &config.File{}, nil
	}
	var err error
	a.file, err = config.Read(path)
	return a.file, err
}

// logURL is the log's URL: the flag is stronger than the environment, and that than the file.
func (a *app) logURL() (string, error) {
	file, err := a.configuration()
	if err != nil {
		return "", err
	}
	url := cmp.Or(a.flags.log, a.getenv("XA_LOG"), file.Log.URL)
	if url == "" {
		return "", usagef("no decision log: name it with --log file:DIR, in XA_LOG, or in the file of --config")
	}
	return url, nil
}

// parseLog reads the log's URL. The file's password goes with the file's URL alone.
func (a *app) parseLog(url string) (connect.LogURL, error) {
	u, err := connect.ParseLog(url)
	if file := a.file; err == nil && file != nil && url == file.Log.URL {
		var password string
		password, err = file.Log.Password()
		u = u.WithPassword(password, file.Log.PasswordFile)
	}
	return u, err
}

// openResource makes the resource of that name and URL; the file's password goes with the file's URL alone.
func (a *app) openResource(name, url string) (drivers.Resource, error) {
	if a.file != nil {
		for _, r := range a.file.Resources {
			if r.Name == name && r.URL == url {
				return r.Open()
			}
		}
	}
	return connect.Resource(name, url)
}

// openLog opens the log at the URL to be written.
func (a *app) openLog(ctx context.Context, url string, opts connect.LogOptions) (txlog.Log, error) {
	u, err := a.parseLog(url)
	if err != nil {
		return nil, err
	}
	log, err := u.Open(ctx, opts)
	return log, misplacedLog(u.Dir, err)
}

// readLog opens the log at the URL to be read.
func (a *app) readLog(ctx context.Context, url string) (txlog.Log, error) {
	u, err := a.parseLog(url)
	if err != nil {
		return nil, err
	}
	log, err := u.Read(ctx)
	return log, misplacedLog(u.Dir, err)
}

// misplacedLog tells of a log in files that can't be opened at all what to do.
func misplacedLog(dir string, err error) error {
	switch {
	case dir == "" || errors.Is(err, txlog.ErrCorrupt):
	case errors.Is(err, fs.ErrNotExist):
		return logError{err, fmt.Sprintf("there is no log in %s: is the path right? The application makes its log when it starts. "+
			"If this one is lost: xa-recover resolve --help, at --adopt", dir)}
	case errors.Is(err, syscall.ENOTDIR):
		return logError{err, fmt.Sprintf("%s is no directory: the log is named by its directory", dir)}
	}
	return err
}

// logError is an error with another text.
type logError struct {
	error
	text string
}

func (e logError) Error() string { return e.text }
func (e logError) Unwrap() error { return e.error }

// ownLog opens the log to be written. Where a live process owns it, only the owner is returned.
func (a *app) ownLog(ctx context.Context, url string, retention time.Duration) (log txlog.Log, owner string, err error) {
	log, err = a.open.log(ctx, url, connect.LogOptions{Logger: a.logger(), Retention: retention})
	if errors.Is(err, txlog.ErrOwned) {
		return nil, holder(err), nil
	}
	return log, "", err
}

// ownerOf asks a log that was opened to be read who owns it now, "" where nobody does or the log can't tell.
func ownerOf(log txlog.Log) string {
	if l, ok := log.(interface{ Owner() string }); ok {
		return l.Owner()
	}
	return ""
}

// holder takes from an error that is ErrOwned who the owner is: the rest of its text.
func holder(err error) string {
	if _, owner, ok := strings.Cut(err.Error(), txlog.ErrOwned.Error()+": "); ok {
		return owner
	}
	return "pid unknown"
}

// damageOf is what a log says of its damage, or else what the error says.
func damageOf(log txlog.Log, err error) error {
	if l, ok := log.(interface{ Info() filelog.Info }); ok {
		return cmp.Or(l.Info().Damage, err)
	}
	return err
}

// print writes a result to standard output: as JSON, or as write does it for people.
func (a *app) print(v any, write func(io.Writer)) error {
	var b strings.Builder
	if a.flags.output == "json" {
		e := json.NewEncoder(&b)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		if err := e.Encode(v); err != nil {
			return err
		}
	} else {
		write(&b)
		if a.wantsColor() {
			s := colored(b.String())
			b.Reset()
			b.WriteString(s)
		}
	}
	if _, err := io.WriteString(a.stdout, b.String()); err != nil {
		return writeError(err)
	}
	return nil
}

func writeError(err error) error { return fmt.Errorf("write the result: %w", err) }

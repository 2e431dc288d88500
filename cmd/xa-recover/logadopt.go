package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
)

// adoptResult is what log adopt did.
type adoptResult struct {
	Command string `json:"command"` // "log adopt"
	Status  string `json:"status"`  // "adopted", "nothing_to_adopt" or "owned"; exit status 0, 0 or 3
	LogID   string `json:"log_id,omitempty"`
	Owner   string `json:"owner,omitempty"`
}

func (a *app) logAdoptCommand() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use:   "adopt",
		Short: "Say that a copied or moved log is the only one now",
		Long: `Say that a log in files, which was copied or moved here, is the only one now.

` + adoptMeaning + `
Without a terminal the word is given by --yes.`,
		Args: noArguments,
		RunE: a.patientAction(func(ctx context.Context, _ []string) (int, error) {
			return a.logAdopt(ctx, yes)
		}),
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "it is: don't ask")
	return cmd
}

const adoptMeaning = `A copy has missed what was decided in the original since. What it has no
decision of may have been committed, and is left in doubt. To adopt it is a
person's word that the original made no decision after the copy was taken, and
never will: that it was stopped before, and is gone or kept away from the
application. If that is not so, this log rolls back what that one committed.
`

// adoptable is a log that may be a copy.
type adoptable interface {
	txlog.Witness
	Adopt(ctx context.Context) error
}

func (a *app) logAdopt(ctx context.Context, yes bool) (int, error) {
	url, err := a.logURL()
	if err != nil {
		return 0, err
	}
	log, owner, err := a.ownLog(ctx, url, connect.Forever)
	if err != nil {
		return 0, err
	}
	r := &adoptResult{Command: "log adopt", Status: "owned", Owner: owner}
	if owner != "" {
		return statusInDoubt, a.print(r, r.write)
	}
	defer log.Close()
	r.LogID = log.ID()
	l, ok := log.(adoptable)
	var why error
	if ok {
		why = l.Witnessed()
	}
	if why == nil {
		r.Status = "nothing_to_adopt"
		return statusSettled, a.print(r, r.write)
	}
	if !yes {
		if err := a.confirm(ctx, fmt.Sprintf("%s\n\n%s\nAdopt the log %s? Type yes: ", text(why), adoptMeaning, r.LogID)); err != nil {
			return statusFailure, err
		}
	}
	if err := errors.Join(l.Adopt(ctx), log.Close()); err != nil {
		return statusFailure, err
	}
	r.Status = "adopted"
	return statusSettled, a.print(r, r.write)
}

// confirm asks the person at the terminal.
func (a *app) confirm(ctx context.Context, question string) error {
	if a.stdin == nil {
		return usagef("this wants a person's word: run it at a terminal, or with --yes")
	}
	fmt.Fprint(a.stderr, question)
	answer := make(chan string, 1)
	go func() { // nothing ends a read from a terminal: it ends with the program
		line, _ := bufio.NewReader(a.stdin).ReadString('\n')
		answer <- strings.TrimSpace(line)
	}()
	select {
	case line := <-answer:
		if line == "yes" {
			return nil
		}
		return errors.New("not confirmed: nothing was done (--yes does not ask)")
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *adoptResult) write(w io.Writer) {
	switch r.Status {
	case "owned":
		fmt.Fprintf(w, "The log is in the hands of a live process (%s): end it first. Nothing was done.\n", r.Owner)
	case "nothing_to_adopt":
		fmt.Fprintf(w, "There is nothing to adopt: the log %s is no copy, or was adopted before.\n", r.LogID)
	case "adopted":
		fmt.Fprintf(w, "The log %s is adopted: what it has no decision of was never committed. Run xa-recover resolve.\n", r.LogID)
	}
}

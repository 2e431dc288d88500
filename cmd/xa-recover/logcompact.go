package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/txlog"
)

// compactResult is what log compact did.
type compactResult struct {
	Command string `json:"command"` // "log compact"
	Status  string `json:"status"`  // "compacted" or "owned"; exit status 0 or 3
	LogID   string `json:"log_id,omitempty"`
	Owner   string `json:"owner,omitempty"`
	Before  *size  `json:"before,omitempty"`
	After   *size  `json:"after,omitempty"`
}

// size is how much a log holds.
type size struct {
	Segments  int   `json:"segments,omitempty"` // of a log in files
	Archives  int   `json:"archives,omitempty"` // of a log in files
	Bytes     int64 `json:"bytes,omitempty"`    // of a log in files
	Unsettled int   `json:"unsettled"`
	Settled   int   `json:"settled"`
}

func (a *app) logCompactCommand() *cobra.Command {
	var retention time.Duration
	cmd := &cobra.Command{
		Use:   "compact",
		Short: "Drop settled decisions whose retention is over, now",
		Long: `Drop the settled decisions whose retention is over, and give their space back. A
live log does that by itself; this is for one that nobody has open, or for who
wants the space now. No decision that is not settled is ever dropped.

xa-recover does not know the application's own retention: where that is longer
than 24 hours, say so with --retention.

A log in files that a live process owns is left alone: exit status 3.`,
		Args: noArguments,
		RunE: a.patientAction(func(ctx context.Context, _ []string) (int, error) {
			return a.logCompact(ctx, retention)
		}),
	}
	cmd.Flags().DurationVar(&retention, "retention", 24*time.Hour, "how long settled decisions stay, at least")
	return cmd
}

func (a *app) logCompact(ctx context.Context, retention time.Duration) (int, error) {
	if retention <= 0 {
		return 0, usagef("--retention must be positive")
	}
	url, err := a.logURL()
	if err != nil {
		return 0, err
	}
	log, owner, err := a.ownLog(ctx, url, retention)
	if err != nil {
		return 0, err
	}
	r := &compactResult{Command: "log compact", Status: "owned", Owner: owner}
	if owner != "" {
		return statusInDoubt, a.print(r, r.write)
	}
	defer log.Close()
	r.LogID = log.ID()
	compactor, ok := log.(txlog.Compactor)
	if !ok {
		return statusFailure, errors.New("this log can't be compacted")
	}
	if r.Before, err = sizeOf(ctx, log); err != nil {
		return statusFailure, err
	}
	if err := compactor.Compact(ctx); err != nil {
		return statusFailure, err
	}
	if r.After, err = sizeOf(ctx, log); err != nil {
		return statusFailure, err
	}
	r.Status = "compacted"
	if err := a.print(r, r.write); err != nil {
		return statusFailure, err
	}
	return statusSettled, log.Close()
}

func sizeOf(ctx context.Context, log txlog.Log) (*size, error) {
	r, damage, err := inspect(ctx, log)
	if err = errors.Join(err, damage); err != nil {
		return nil, err
	}
	return &size{r.Segments, r.Archives, r.Bytes, r.Unsettled, r.Settled}, nil
}

func (r *compactResult) write(w io.Writer) {
	if r.Status == "owned" {
		fmt.Fprintf(w, "The log is in the hands of a live process (%s), which compacts it by itself. Nothing was done.\n", r.Owner)
		return
	}
	fmt.Fprintf(w, "Dropped %s; %d settled and %d unsettled are kept.\n",
		plural(r.Before.Settled-r.After.Settled, "settled decision", "settled decisions"), r.After.Settled, r.After.Unsettled)
	if r.After.Segments > 0 {
		fmt.Fprintf(w, "The log had %s, and has %s.\n", bytesText(r.Before.Bytes), bytesText(r.After.Bytes))
	}
}

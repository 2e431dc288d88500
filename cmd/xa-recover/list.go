package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"
)

func (a *app) listCommand() *cobra.Command {
	var all bool
	var metrics string
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List what is in doubt, oldest first",
		Long: `List what is in doubt in every database, oldest first, with what resolve would
do and why; and what is noted until it is forgotten. Nothing is changed, and no
permission to write the log is needed.`,
		Args: noArguments,
		RunE: a.action(func(ctx context.Context, _ []string) (int, error) {
			return a.list(ctx, all, metrics)
		}),
	}
	cmd.Flags().BoolVar(&all, "all", false, "also what belongs to other logs and other programs; it is never touched")
	cmd.Flags().StringVar(&metrics, "metrics", "", metricsUsage)
	return cmd
}

func (a *app) list(ctx context.Context, all bool, metrics string) (int, error) {
	s, err := a.read(ctx)
	if err != nil {
		return 0, cmp.Or(a.writeMetrics(metrics, nil, err), err)
	}
	defer s.Close()
	report, err := s.scan(ctx)
	r := newResult("list", report, s, a.now())
	if unwritten := a.writeMetrics(metrics, r, err); unwritten != nil {
		return statusFailure, unwritten
	}
	if all {
		r.addForeign(report, a.now())
	}
	r.addBlocking(ctx, s.resources)
	return a.tell(r, err)
}

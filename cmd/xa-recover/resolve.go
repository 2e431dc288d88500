package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/recovery"
)

func (a *app) resolveCommand() *cobra.Command {
	var dryRun bool
	var rebind []string
	cmd := &cobra.Command{
		Use:   "resolve",
		Short: "Settle what is in doubt",
		Long: `Settle what is in doubt: commit what the log says is committed, roll back the rest.

While a live process owns the log nothing is touched: that process settles what
is in doubt itself. Running resolve again is always right, at any time.`,
		Args: noArguments,
		RunE: a.action(func(ctx context.Context, _ []string) (int, error) {
			return a.resolve(ctx, dryRun, rebind)
		}),
	}
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "only tell what would be done")
	cmd.Flags().StringArrayVar(&rebind, "rebind", nil, "the database of resource `NAME` was moved or restored on purpose, and has all that the old one had")
	return cmd
}

func (a *app) resolve(ctx context.Context, dryRun bool, rebind []string) (int, error) {
	open := a.own
	if dryRun {
		open = a.read
	}
	s, err := open(ctx)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	for _, name := range rebind {
		if !slices.Contains(names(s), name) {
			return 0, usagef("--rebind: no resource is named %q, only %s", name, strings.Join(names(s), ", "))
		}
	}
	s.resolver.Rebind = rebind

	var report recovery.Report
	if dryRun || s.owner != "" {
		report, err = s.scan(ctx)
	} else {
		report, err = s.resolver.Resolve(ctx)
	}
	return a.tell(newResult("resolve", report, s, a.now()), err)
}

func names(s *session) []string {
	var names []string
	for _, res := range s.resources {
		names = append(names, res.Name)
	}
	return names
}

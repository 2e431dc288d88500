package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// completionLimit is how long a shell waits for what it could complete.
const completionLimit = 3 * time.Second

// completeIDs offers the transactions that list shows. What goes wrong is told by the command itself: the shell is offered nothing.
func (a *app) completeIDs(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := a.forShell(cmd)
	defer cancel()
	s, err := a.read(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer s.Close()
	report, err := s.scan(ctx)
	if err != nil && s.damage == nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return newResult("list", report, s, a.now()).offers(), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

// completeMoreIDs offers them for every argument.
func (a *app) completeMoreIDs(cmd *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.completeIDs(cmd, nil, word)
}

// offers are the IDs of the transactions, each with what a shell may show beside it.
func (r *result) offers() []string {
	var ids []string
	about := map[string]string{}
	offer := func(id, what string) {
		if _, ok := about[id]; !ok {
			ids = append(ids, id)
			about[id] = what
			return
		}
		about[id] += ", " + what
	}
	for _, b := range r.Branches {
		if xid, err := drivers.ParseXID(b.XID); err == nil && xid.FormatID == drivers.FormatID {
			offer(b.id, fmt.Sprintf("%s in %s, %s old", b.Decision, b.Resource, b.age()))
		}
	}
	for _, d := range r.Decisions {
		if _, ok := about[d.ID]; !ok && !d.Settled {
			offer(d.ID, d.Outcome+", unsettled")
		}
	}
	for _, n := range r.Notes {
		offer(n.ID, "noted: "+strings.ReplaceAll(n.Kind, "_", " "))
	}
	for i, id := range ids {
		ids[i] = id + "\t" + about[id]
	}
	return ids
}

// completeNoted offers the transactions of which something is noted.
func (a *app) completeNoted(cmd *cobra.Command, args []string, _ string) (ids []string, _ cobra.ShellCompDirective) {
	ctx, cancel := a.forShell(cmd)
	defer cancel()
	url, err := a.logURL()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	log, err := a.open.readLog(ctx, url)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer log.Close()
	notes, err := notesOf(ctx, log)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	r := &result{}
	for _, n := range notes {
		r.Notes = append(r.Notes, noteResult{ID: n.ID, Kind: n.Kind.String()})
	}
	return r.offers(), cobra.ShellCompDirectiveNoFileComp
}

// completeNames offers the names of the databases.
func (a *app) completeNames(*cobra.Command, []string, string) (names []string, _ cobra.ShellCompDirective) {
	named, _ := a.databases()
	for _, n := range named {
		names = append(names, n.name)
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeLogs offers the other logs that have branches in the databases.
func (a *app) completeLogs(cmd *cobra.Command, _ []string, _ string) (logs []string, _ cobra.ShellCompDirective) {
	ctx, cancel := a.forShell(cmd)
	defer cancel()
	s, err := a.read(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer s.Close()
	report, _ := s.scan(ctx)
	others, _ := othersOf(report.Branches(isForeign))
	for _, l := range others {
		logs = append(logs, l.LogID+"\t"+plural(l.Branches, "branch", "branches")+" in "+strings.Join(l.Resources, ", "))
	}
	return logs, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) forShell(cmd *cobra.Command) (context.Context, context.CancelFunc) {
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	a.flags.timeout = completionLimit
	return context.WithTimeout(ctx, completionLimit)
}

// notesOf reads what a log keeps for a person; none where it keeps none.
func notesOf(ctx context.Context, log txlog.Log) ([]txlog.Note, error) {
	keeper, ok := log.(txlog.Notes)
	if !ok {
		return nil, nil
	}
	var notes []txlog.Note
	for n, err := range keeper.Noted(ctx, "") {
		if err != nil {
			return nil, err
		}
		notes = append(notes, n)
	}
	return notes, nil
}

// complete lets a shell complete a flag's value.
func complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	_ = cmd.RegisterFlagCompletionFunc(flag, f) // it fails only for a flag that is not there, or twice
}

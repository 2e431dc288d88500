package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
)

// logResult is another log that has branches in the databases.
type logResult struct {
	LogID        string    `json:"log_id"`
	Transactions int       `json:"transactions"`
	Branches     int       `json:"branches"`
	Resources    []string  `json:"resources"` // that hold them
	Oldest       time.Time `json:"oldest,omitzero"`
	InUse        string    `json:"in_use,omitempty"` // a resource in which a live session holds one: the log is not lost
}

// strangers are the prepared transactions of other programs.
type strangers struct {
	branches          int
	resources, owners []string
}

// othersOf tells whose the branches are. A server may list those of all its databases under several names: each counts once.
func othersOf(branches []recovery.Branch) ([]logResult, strangers) {
	home := map[drivers.XID]bool{} // branches that the resource that they name has listed
	for _, b := range branches {
		if b.Raw == "" && b.Resource == b.XID.BQual {
			home[b.XID] = true
		}
	}
	byLog, seen := map[string]*logResult{}, map[string]bool{}
	var s strangers
	for _, b := range branches {
		log, _, ok := txid.Split(b.XID.GTRID)
		if b.Raw != "" || !ok || b.XID.FormatID != drivers.FormatID {
			s.add(b, seen)
			continue
		}
		l := byLog[log]
		if l == nil {
			l = &logResult{LogID: log}
			byLog[log] = l
		}
		if b.Held {
			l.InUse = b.Resource
		}
		if at := b.Oldest(); l.Oldest.IsZero() || at.Before(l.Oldest) {
			l.Oldest = at
		}
		if home[b.XID] && b.Resource != b.XID.BQual {
			continue
		}
		l.Branches += once(seen, b.XID.String())
		l.Transactions += once(seen, b.XID.GTRID)
		l.Resources = with(l.Resources, b.Resource)
	}
	var logs []logResult
	for _, log := range slices.Sorted(maps.Keys(byLog)) {
		logs = append(logs, *byLog[log])
	}
	return logs, s
}

func (s *strangers) add(b recovery.Branch, seen map[string]bool) {
	name := "raw " + b.Resource + " " + b.Raw
	if b.Raw == "" {
		name = b.XID.String()
	}
	s.branches += once(seen, name)
	s.resources = with(s.resources, b.Resource)
	if b.Owner != "" {
		s.owners = with(s.owners, oneLine(b.Owner))
	}
}

// once is 1 where the key is new.
func once(seen map[string]bool, key string) int {
	if seen[key] {
		return 0
	}
	seen[key] = true
	return 1
}

// with is the sorted list with the name in it.
func with(names []string, name string) []string {
	i, there := slices.BinarySearch(names, name)
	if there {
		return names
	}
	return slices.Insert(names, i, name)
}

// addForeign adds the branches of other logs and other programs, which are counted in any case.
func (r *result) addForeign(report recovery.Report, now time.Time) {
	r.all = true
	r.addBranches(report.Branches(isForeign), now)
}

func isForeign(b recovery.Branch) bool { return b.Action == recovery.Foreign }

// maxOtherLogs limits how many other logs get a line each.
const maxOtherLogs = 5

// writeOthers tells what is not this log's, and stands in the way all the same: "nothing is in doubt" must not be taken for "nothing is prepared".
func (r *result) writeOthers(w io.Writer, now time.Time) {
	for i, l := range r.Logs {
		if i == maxOtherLogs {
			fmt.Fprintf(w, "%s more: list --all shows them.\n", plural(len(r.Logs)-i, "other log has", "other logs have"))
			break
		}
		adopted := l.LogID == r.adopted
		fmt.Fprintf(w, "%s\n    %s\n", l.sentence(now, adopted), l.advice(adopted))
	}
	if there := slices.ContainsFunc(r.Logs, func(l logResult) bool { return l.LogID == r.adopted }); r.adopted != "" && !there && len(r.unreached()) == 0 {
		fmt.Fprintf(w, "No other branch of log %s is prepared in %s.\n", r.adopted, plural(len(r.Resources), "database", "databases"))
	}
	if r.strangers.branches > 0 {
		fmt.Fprintln(w, r.strangers.sentence())
	}
}

func (l logResult) sentence(now time.Time, adopted bool) string {
	are, wait := "are", "them"
	if l.Branches == 1 {
		are, wait = "is", "it"
	}
	which := plural(l.Branches, "branch", "branches") + " of another log, " + l.LogID + ","
	if adopted {
		which = plural(l.Branches, "more branch", "more branches") + " of log " + l.LogID
	}
	oldest := ""
	if !l.Oldest.IsZero() {
		oldest = ", the oldest for " + age(now, l.Oldest)
	}
	return fmt.Sprintf("%s %s prepared in %s%s: rows may wait for %s.", which, are, and(l.Resources), oldest, wait)
}

// advice is what is to be done about a log's branches.
func (l logResult) advice(adopted bool) string {
	switch {
	case l.InUse != "":
		return inUse(l.LogID, l.InUse)
	case adopted:
		return adoptHint(l.LogID) + " tells what can be done"
	}
	return "Another program's? It settles them itself. If that log's directory was lost or replaced: " + adoptHint(l.LogID)
}

func inUse(log, resource string) string {
	return fmt.Sprintf("log %s is in use: a live session in %s holds a branch of it. It is not lost: ask the program that owns it.", log, resource)
}

func adoptHint(log string) string { return "xa-recover resolve --adopt " + log + " --dry-run" }

func (s strangers) sentence() string {
	owner := ""
	if len(s.owners) > 0 {
		owner = ", owner " + and(s.owners)
	}
	return fmt.Sprintf("%s of other programs, in %s%s: ask them.", plural(s.branches, "prepared transaction", "prepared transactions"), and(s.resources), owner)
}

// and joins names as a sentence does.
func and(names []string) string {
	if n := len(names); n > 1 {
		return strings.Join(names[:n-1], ", ") + " and " + names[n-1]
	}
	return strings.Join(names, "")
}

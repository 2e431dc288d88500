package main

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// tell writes the result to standard output and returns the exit status. A run that was cut short before it asked any database
// has no result.
func (a *app) tell(r *result, failure error) (int, error) {
	if failure != nil && len(r.Resources) == 0 {
		return statusFailure, failure
	}
	if err := a.print(r, func(w io.Writer) { r.write(w, a.now()) }); err != nil {
		return statusFailure, err
	}
	return r.exitStatus(), failure
}

// write writes the result for people: paragraphs with a blank line between them.
func (r *result) write(w io.Writer, now time.Time) {
	var paragraphs []string
	add := func(write func(io.Writer)) {
		var b strings.Builder
		if write(&b); b.Len() > 0 {
			paragraphs = append(paragraphs, b.String())
		}
	}
	if r.Transaction != nil {
		add(r.writeWithheld)
		add(func(w io.Writer) { r.writeTransaction(w, now) })
		add(r.writeStates)
		add(func(w io.Writer) { r.writeNotes(w, now) })
		add(r.writeFailures)
	} else {
		add(r.writeWithheld)
		add(func(w io.Writer) { r.writeBranches(w, false) })
		add(func(w io.Writer) { r.writeBranches(w, true) })
		add(func(w io.Writer) { r.writeLogs(w, now) })
		add(func(w io.Writer) { r.writeDecisions(w, now) })
		add(func(w io.Writer) { r.writeNotes(w, now) })
		add(r.writeFailures)
		add(func(w io.Writer) {
			if r.writeSummary(w); !r.all {
				r.writeOthers(w, now)
			}
		})
	}
	io.WriteString(w, strings.Join(paragraphs, "\n"))
}

// writeBranches writes this log's branches, or the foreign ones.
func (r *result) writeBranches(w io.Writer, foreign bool) {
	t := table{}
	if foreign {
		t.row("", "RESOURCE", "AGE", "OWNER", "NOT OURS", "XID")
	} else {
		t.row("", "RESOURCE", "AGE", "DECISION", r.actionHead(), "XID")
	}
	for _, b := range r.Branches {
		switch isForeign := b.Action == actionName(recovery.Foreign); {
		case isForeign && foreign:
			t.row(b.blocking(), b.Resource, b.age(), orDash(b.Owner), b.Reason, b.name())
		case !isForeign && !foreign:
			t.row(r.why(b), b.Resource, b.age(), b.Decision, r.action(b), b.name())
		}
	}
	t.write(w)
}

func (r *result) actionHead() string {
	if r.Acted {
		return "RESULT"
	}
	return "NEXT"
}

// maxDecisions limits the table of decisions: behind a database that is down there may be thousands, all for one reason.
const maxDecisions = 20

// writeDecisions writes the decisions that can't be settled although no branch in doubt is the reason.
func (r *result) writeDecisions(w io.Writer, now time.Time) {
	t := table{}
	t.row("", "UNSETTLED", "AGE", "DECISION")
	more := 0
	for _, d := range r.Decisions {
		waits := slices.ContainsFunc(r.Branches, func(b branchResult) bool { return b.live && b.id == d.ID })
		switch {
		case d.Settled || waits:
		case len(t.rows) > maxDecisions:
			more++
		default:
			t.row(d.Reason, d.ID, age(now, d.At), d.Outcome)
		}
	}
	t.write(w)
	if more > 0 {
		fmt.Fprintf(w, "and %d more: --output json lists them all\n", more)
	}
}

// writeNotes writes what a person should know until it is forgotten.
func (r *result) writeNotes(w io.Writer, now time.Time) {
	t := table{}
	head := "NOTED"
	if r.dryRun {
		head = "WOULD BE NOTED"
	}
	t.row("", head, "AGE", "RESOURCE", "BY", "TRANSACTION")
	for _, n := range r.Notes {
		text := n.Text
		if r.Transaction != nil && n.Kind == txlog.Heuristic.String() && slices.ContainsFunc(r.Resources, func(res resourceResult) bool { return res.Name == n.Resource }) &&
			!slices.ContainsFunc(r.Branches, func(b branchResult) bool { return b.Resource == n.Resource }) {
			text = "" // it is the state of that database
		}
		t.row(text, strings.ReplaceAll(n.Kind, "_", " "), age(now, n.At), orDash(n.Resource), orDash(n.By), n.ID)
	}
	t.write(w)
}

// writeLogs writes whose the branches of other logs are.
func (r *result) writeLogs(w io.Writer, now time.Time) {
	if !r.all {
		return // a line at the end tells it
	}
	t := table{}
	t.row("", "OTHER LOG", "OLDEST", "TRANSACTIONS", "BRANCHES", "IN")
	for _, l := range r.Logs {
		use := ""
		if l.InUse != "" {
			use = inUse(l.LogID, l.InUse)
		}
		t.row(use, l.LogID, age(now, l.Oldest), strconv.Itoa(l.Transactions), strconv.Itoa(l.Branches), strings.Join(l.Resources, ", "))
	}
	if t.write(w); len(t.rows) > 1 {
		fmt.Fprintln(w, "These belong to other programs, which may be running, and settle them themselves with their own configuration.")
		fmt.Fprintln(w, "Only if such a log is destroyed: xa-recover resolve --adopt LOG --dry-run tells what can be done.")
	}
}

// writeWithheld writes which databases may not settle anything: it is above all that hangs on it.
func (r *result) writeWithheld(w io.Writer) {
	for _, res := range r.Resources {
		if res.Withheld != "" {
			fmt.Fprintf(w, "%s settles nothing: %s\n", res.Name, res.Withheld)
		}
	}
}

// writeFailures writes which databases did not answer, or are not what their name makes one think.
func (r *result) writeFailures(w io.Writer) {
	for _, res := range r.Resources {
		if res.Error != "" {
			fmt.Fprintf(w, "%s could not be asked: %s\n", res.Name, res.Error)
		}
		if res.Was != "" && res.Withheld == "" {
			r.writeRebound(w, res)
		}
		if res.SameAs != "" {
			fmt.Fprintf(w, "%s is the same database as %s, or on the same MySQL server: one name would do, and one branch in place of two.\n", res.Name, res.SameAs)
		}
	}
	r.writeUntold(w)
	if len(r.unreached()) > 0 {
		fmt.Fprintln(w, "xa-recover doctor looks into what can't be asked.")
	}
	r.writeUnverified(w)
}

// writeRebound writes that a name means another database now, and what speaks for its having all that the old one had.
func (r *result) writeRebound(w io.Writer, res resourceResult) {
	is := "is now"
	if !r.Acted {
		is = "would be noted as"
	}
	named, here := 0, 0
	for _, d := range r.Decisions {
		if d.Outcome == txlog.Committed.String() && slices.Contains(d.Resources, res.Name) {
			named++
			if slices.ContainsFunc(r.Branches, func(b branchResult) bool { return b.id == d.ID && b.Resource == res.Name }) {
				here++
			}
		}
	}
	hangs := "no decision hangs on that"
	if named > 0 {
		hangs = fmt.Sprintf("%d of %d unsettled decisions that name it have their branch prepared here", here, named)
	}
	fmt.Fprintf(w, "%s %s %s, was %s; %s.\n", res.Name, is, res.Identity, res.Was, hangs)
}

// writeTransaction writes what show found.
func (r *result) writeTransaction(w io.Writer, now time.Time) {
	tx := r.Transaction
	t := table{}
	t.row("", "transaction", tx.ID)
	if !tx.Begun.IsZero() {
		t.row("", "begun", when(now, tx.Begun))
	}
	decision := tx.Decision
	switch {
	case tx.Foreign:
		decision = "not known here"
	case tx.Decision == unknown:
	case tx.Decision == undecided && len(r.Notes) > 0:
		decision = "none in the log now"
	case tx.Settled:
		decision += ", settled"
	case tx.Decision != undecided:
		decision += ", not settled"
	}
	t.row("", "decision", decision)
	for _, d := range r.Decisions {
		t.row("", "decided", when(now, d.At))
		t.row("", "names", strings.Join(d.Resources, ", "))
	}
	if n := r.heuristicNotes(); n > 0 {
		t.row("", "status", plural(n, "heuristic outcome", "heuristic outcomes")+": a person must look")
	}
	t.row("", "next step", tx.Next)
	t.write(w)
}

// name is what can be pasted, or another program's own name for it.
func (b branchResult) name() string {
	if b.XID != "" {
		return b.XID
	}
	return strconv.Quote(b.Raw)
}

// action is what was done, or would be, as the column's head makes a sentence of it.
func (r *result) action(b branchResult) string {
	switch {
	case b.Action == actionName(recovery.Foreign):
		return "never touched"
	case b.Action == actionName(recovery.Live):
		return "wait"
	case b.Action == actionName(recovery.Left) && !r.Acted:
		return "stays"
	}
	return strings.TrimPrefix(strings.ReplaceAll(b.Action, "_", " "), "would ")
}

// why is the reason, with the answer that is behind it. That of all branches of a live owner stands at the end.
func (r *result) why(b branchResult) string {
	why := b.Reason + b.Error
	switch {
	case b.Action == actionName(recovery.Live) && r.Owner != "":
		why = ""
	case b.Reason != "" && b.Error != "":
		why = b.Reason + ": " + b.Error
	}
	if name := r.unsettles(b); name != "" {
		why = strings.TrimPrefix(why+"; then it stays unsettled, as "+name+" settles nothing", "; ")
	}
	if blocks := b.blocking(); blocks != "" {
		return strings.TrimPrefix(why+"; "+blocks, "; ")
	}
	return why
}

// unsettles names a resource that keeps the branch's decision from being settled, although the branch would be finished; "" where none does.
func (r *result) unsettles(b branchResult) string {
	if b.Action != actionName(recovery.WouldCommit) && b.Action != actionName(recovery.WouldRollBack) {
		return ""
	}
	i := slices.IndexFunc(r.Decisions, func(d decisionResult) bool { return d.ID == b.id })
	for _, res := range r.Resources {
		if res.Withheld != "" && (i < 0 || slices.Contains(r.Decisions[i].Resources, res.Name)) {
			return res.Name
		}
	}
	return ""
}

func (b branchResult) age() string {
	if b.AgeSeconds == nil {
		return "?"
	}
	return roundAge(time.Duration(*b.AgeSeconds) * time.Second)
}

func age(now, at time.Time) string {
	if at.IsZero() {
		return "?"
	}
	return roundAge(now.Sub(at))
}

// roundAge is an age in its largest unit.
func roundAge(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

func when(now, at time.Time) string {
	return at.UTC().Format(time.RFC3339) + " (" + age(now, at) + " ago)"
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return oneLine(s)
}

// table aligns columns. A note is a line of its own below its row: reasons are sentences, and beside an XID no
// terminal is wide enough for them.
type table struct {
	rows  [][]string
	notes []string
}

func (t *table) row(note string, cells ...string) {
	t.rows = append(t.rows, cells)
	t.notes = append(t.notes, note)
}

// longNote is the length from which a note is not repeated under the next row.
const longNote = 80

// write writes the table unless it has only a heading.
func (t *table) write(w io.Writer) {
	if len(t.rows) < 2 {
		return
	}
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	said := ""
	for n, row := range t.rows {
		for i, cell := range row[:len(row)-1] {
			fmt.Fprintf(w, "%-*s  ", widths[i], cell)
		}
		fmt.Fprintln(w, row[len(row)-1])
		switch note := t.notes[n]; {
		case note == "":
		case note == said && len(note) > longNote:
			fmt.Fprintln(w, "    as above")
		default:
			fmt.Fprintln(w, "    "+note)
			said = note
		}
	}
}

package main

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// result is what a command found and did: the JSON output, and what tables are made of. Fields are added, never renamed or
// removed. Times are RFC 3339 in UTC; a field that is unknown, or that says nothing, is left out. Lists
// are never null.
type result struct {
	Command string `json:"command"` // "resolve", "list", "show", "commit" or "rollback"
	Acted   bool   `json:"acted"`   // false: nothing was touched, whatever there was
	Status  string `json:"status"`  // "settled", "in_doubt", "heuristic" or, of the log, "damaged"; exit status 0, 3, 4 or 1
	LogID   string `json:"log_id"`
	Owner   string `json:"owner,omitempty"`  // the live process that owns the log, e.g. "pid 4711 since …"
	Damage  string `json:"damage,omitempty"` // of the log: what was found, and what is told of decisions is incomplete

	InDoubt   int `json:"in_doubt"`  // branches of this log that wait for their outcome
	Heuristic int `json:"heuristic"` // those of them that need a person
	Foreign   int `json:"foreign"`   // branches of other logs and other programs

	Only        []string         `json:"only,omitempty"`        // the transactions that resolve was told to settle: all else is not in here
	Transaction *transaction     `json:"transaction,omitempty"` // of show
	Notes       []noteResult     `json:"notes"`                 // what the log keeps for a person until it is forgotten, or, of commit and rollback --dry-run, would; oldest first
	NoNotes     bool             `json:"no_notes,omitempty"`    // the log keeps none: a heuristic outcome is told only once
	Logs        []logResult      `json:"logs,omitempty"`        // other logs that have branches here; not in show
	Resources   []resourceResult `json:"resources"`             // as given
	Branches    []branchResult   `json:"branches"`              // oldest first; foreign ones only with list --all, and in show
	Decisions   []decisionResult `json:"decisions"`             // that were not settled before; oldest first

	strangers strangers                // and what other programs have prepared
	adopted   string                   // the lost log whose transaction a person has decided
	dryRun    bool                     // it is what a person's decision would do
	all       bool                     // what is not ours is among the branches
	proven    map[string]txlog.Outcome // of one transaction, what databases prove, in show
}

// resourceResult is what one database answered.
type resourceResult struct {
	Name     string `json:"name"`
	Error    string `json:"error,omitempty"`    // why it could not be asked
	Identity string `json:"identity,omitempty"` // which database it is
	Was      string `json:"was,omitempty"`      // the identity that the log knew under the name until now, where that was another database
	SameAs   string `json:"same_as,omitempty"`  // the name of another resource that is the same database or, of MySQL, on the same server
	Withheld string `json:"withheld,omitempty"` // why its silence settles no decision
	Untold   string `json:"untold,omitempty"`   // why it can't tell what its branches stand in the way of
	Branches int    `json:"branches"`           // prepared branches that it listed, foreign ones included

	UntoldTables string `json:"untold_tables,omitempty"` // in show: why it can't tell which tables its branches have locked
}

// branchResult is one prepared branch.
type branchResult struct {
	XID        string    `json:"xid,omitempty"`
	Raw        string    `json:"raw,omitempty"` // another program's own name for it, where it is no XID
	Resource   string    `json:"resource"`      // the database that listed it
	Decision   string    `json:"decision"`      // "undecided", "committed" or "aborted"; "unknown" where the log is damaged
	Action     string    `json:"action"`        // what was done, or would be; see below
	Reason     string    `json:"reason,omitempty"`
	Error      string    `json:"error,omitempty"` // what the database or the log answered, where that is the reason
	Since      time.Time `json:"since,omitzero"`  // when it was prepared or, where the database does not tell, when its transaction began
	AgeSeconds *int64    `json:"age_seconds,omitempty"`
	Owner      string    `json:"owner,omitempty"`  // the database user who prepared it
	Holder     string    `json:"holder,omitempty"` // the living member of a shared log that has it in hand
	Held       bool      `json:"held"`             // a live session still holds it

	// What it stands in the way of, in list and show, where the database tells: what is left out is not known.
	Locks   *int  `json:"locks,omitempty"`    // that it holds
	Waiting *int  `json:"waiting,omitempty"`  // sessions that wait for them
	XminAge int64 `json:"xmin_age,omitempty"` // transactions by which it holds back the clean-up of old rows

	Tables []string `json:"tables,omitzero"` // that it has locked, in show; left out where that is not known, and empty where there are none

	id   string // of the global transaction
	live bool   // still in doubt after this run
}

// The values of action are those of recovery.Action in snake_case: foreign, live, would_commit, would_roll_back, committed,
// rolled_back, finished_elsewhere, left and heuristic.
func actionName(a recovery.Action) string { return strings.ReplaceAll(a.String(), " ", "_") }

// decisionResult is one decision of the log.
type decisionResult struct {
	ID         string    `json:"id"`
	Outcome    string    `json:"outcome"` // "committed" or "aborted"
	At         time.Time `json:"at,omitzero"`
	Resources  []string  `json:"resources"`            // that it names
	Settled    bool      `json:"settled"`              // it is settled now; where nothing was changed: resolve would settle it
	Reason     string    `json:"reason,omitempty"`     // why not
	Unverified []string  `json:"unverified,omitempty"` // resources that hold no branch of it, though nobody is known to have finished one
}

// noteResult is one thing to know of a transaction.
type noteResult struct {
	ID       string    `json:"id"`
	Kind     string    `json:"kind"`               // "heuristic", "committed_by_hand" or "aborted_by_hand"
	Resource string    `json:"resource,omitempty"` // the branch that it is about; none: the whole transaction
	By       string    `json:"by,omitempty"`
	Text     string    `json:"text,omitempty"`
	At       time.Time `json:"at,omitzero"`
}

func newResult(command string, report recovery.Report, s *session, now time.Time) *result {
	r := &result{
		Command: command, Acted: report.Acted, LogID: report.LogID, Owner: s.owner, Damage: text(s.damage),
		InDoubt: report.InDoubt(), Heuristic: report.Heuristic(),
		Foreign:   len(report.Branches(isForeign)),
		Resources: []resourceResult{}, Branches: []branchResult{}, Decisions: []decisionResult{}, Notes: []noteResult{}, NoNotes: report.NoNotes,
	}
	r.Logs, r.strangers = othersOf(report.Branches(isForeign))
	for _, n := range report.Notes {
		r.Notes = append(r.Notes, noteResult{
			ID: n.ID, Kind: strings.ReplaceAll(n.Kind.String(), " ", "_"), Resource: n.Resource, By: oneLine(n.By), Text: oneLine(n.Text), At: n.At.UTC()})
	}
	for _, res := range report.Resources {
		r.Resources = append(r.Resources, resourceResult{
			Name: res.Name, Error: text(res.Err), Identity: res.Identity, Was: res.Was, SameAs: res.SameAs, Withheld: oneLine(res.Withheld), Branches: len(res.Branches)})
	}
	r.addBranches(report.Branches(func(b recovery.Branch) bool { return !isForeign(b) }), now)
	for i := range r.Branches {
		if b := &r.Branches[i]; s.damage != nil && b.Decision == undecided {
			b.Decision = unknown
		}
	}
	for _, d := range report.Decisions {
		if d.At.IsZero() && report.Acted {
			d.At = now // this run wrote it
		}
		r.Decisions = append(r.Decisions, decisionResult{
			ID: d.ID, Outcome: d.Outcome.String(), At: d.At.UTC(), Resources: nonNil(d.Resources),
			Settled: d.Settled, Reason: d.Reason, Unverified: d.Unverified})
	}
	switch {
	case r.Damage != "":
		r.Status = damaged
	case r.Heuristic > 0 || r.heuristicNotes() > 0:
		r.Status = "heuristic"
	case !report.Clean():
		r.Status = "in_doubt"
	default:
		r.Status = "settled"
	}
	return r
}

// heuristicNotes counts the notes that need a person.
func (r *result) heuristicNotes() int {
	n := 0
	for _, note := range r.Notes {
		if note.Kind == txlog.Heuristic.String() {
			n++
		}
	}
	return n
}

func (r *result) addBranches(branches []recovery.Branch, now time.Time) {
	for _, b := range branches {
		out := branchResult{
			Raw: b.Raw, Resource: b.Resource, Decision: b.Decision.String(), Action: actionName(b.Action),
			Reason: b.Reason, Error: text(b.Err), Owner: b.Owner, Holder: b.Holder, Held: b.Held,
			id: b.XID.GTRID, live: b.InDoubt(),
		}
		if b.Raw == "" {
			out.XID = b.XID.String()
		}
		if since := b.Oldest(); !since.IsZero() {
			seconds := max(0, int64(now.Sub(since)/time.Second))
			out.Since, out.AgeSeconds = since.UTC(), &seconds
		}
		r.Branches = append(r.Branches, out)
	}
	slices.SortStableFunc(r.Branches, oldestFirst)
}

// oldestFirst keeps the branches of one transaction together, which are prepared within a moment, and puts what has no known age last.
func oldestFirst(a, b branchResult) int {
	if a.Since.IsZero() != b.Since.IsZero() {
		if a.Since.IsZero() {
			return 1
		}
		return -1
	}
	older := a.Since.Truncate(time.Second).Compare(b.Since.Truncate(time.Second))
	return cmp.Or(older, cmp.Compare(a.XID, b.XID), cmp.Compare(a.Raw, b.Raw))
}

// exitStatus is the exit status that the result means.
func (r *result) exitStatus() int {
	switch r.Status {
	case "settled":
		return statusSettled
	case damaged:
		return statusFailure
	case "heuristic":
		return statusHeuristic
	}
	return statusInDoubt
}

// keep leaves only the branches and decisions of one global transaction.
func (r *result) keep(id string) {
	r.Branches = slices.DeleteFunc(r.Branches, func(b branchResult) bool { return b.id != id })
	r.Decisions = slices.DeleteFunc(r.Decisions, func(d decisionResult) bool { return d.ID != id })
	r.Notes = slices.DeleteFunc(r.Notes, func(n noteResult) bool { return n.ID != id })
}

func (r *result) count(action recovery.Action) int {
	n := 0
	for _, b := range r.Branches {
		if b.Action == actionName(action) {
			n++
		}
	}
	return n
}

// unreached are the databases that could not be asked.
func (r *result) unreached() []resourceResult {
	return slices.DeleteFunc(slices.Clone(r.Resources), func(res resourceResult) bool { return res.Error == "" })
}

func (r *result) settledDecisions() int {
	n := 0
	for _, d := range r.Decisions {
		if d.Settled {
			n++
		}
	}
	return n
}

// unverified are the decisions that are settled although the named databases can't prove what became of their branches.
func (r *result) unverified() (ids, names []string) {
	for _, d := range r.Decisions {
		if !d.Settled || len(d.Unverified) == 0 {
			continue
		}
		ids = append(ids, d.ID)
		names = append(names, d.Unverified...)
	}
	slices.Sort(names)
	return ids, slices.Compact(names)
}

// text is an error's text, on one line, or "".
func text(err error) string {
	if err == nil {
		return ""
	}
	return oneLine(err.Error())
}

// oneLine keeps what others wrote from breaking a table, or a terminal.
func oneLine(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }), " ")
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

var undecided = txlog.Undecided.String()

// unknown is told of a decision that may be in what can't be read of a damaged log.
const unknown = "unknown"

// damaged is the status of a log of which something can't be read.
const damaged = "damaged"

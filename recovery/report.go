package recovery

import (
	"cmp"
	"slices"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// Report tells what one Scan or Resolve saw, did and left.
type Report struct {
	LogID     string
	Acted     bool // of Resolve; false: of Scan
	Resources []Resource
	// Decisions are those that were unsettled when it began, but what somebody alive has in hand, and those that it wrote itself; oldest first.
	Decisions []Decision
	// Notes are what the log keeps for a person until it is forgotten (see [txlog.Notes]), those of this pass among them.
	Notes []txlog.Note
	// NoNotes: the log keeps no notes, so that a heuristic outcome is told only once.
	NoNotes bool
	// InUse tells of adopted logs, by their identity, that they are not lost: nothing of them was adopted.
	InUse map[string]string
}

// Resource is what one database answered.
type Resource struct {
	Name string
	// Err tells why the database could not be asked; its branches are then unknown.
	Err error
	// Identity is the database's own (see [drivers.Identifier]), "" where it tells none.
	Identity string
	// Was is the identity of the database that the log knew under the name until now, where that was another one. Unless Withheld tells why
	// not, Resolve has noted the new one.
	Was string
	// SameAs is the name of another resource, an earlier one, that is the same database or, of MySQL, on the same server; "" where none is. No outcome
	// hangs on it: one name would do.
	SameAs string
	// Withheld tells why the database's silence settles no decision (rule P14), "" where it does.
	Withheld string
	// Branches are all prepared branches that the database listed, strangers included.
	Branches []Branch
}

// Branch is one prepared branch that a database listed.
type Branch struct {
	drivers.Prepared
	Resource string // the configured name of the database that listed it
	Decision txlog.Outcome
	Action   Action
	Reason   string // why, for a person; "" where the action says it all
	Holder   string // of a Live one: the member of a shared log that has it in hand, "" where that is this process
	Err      error  // what the database or the log answered, where that is the reason
}

// Action is what was done with a branch, or would be.
type Action uint8

const (
	// Foreign: another log's or another program's; never touched.
	Foreign Action = iota
	// Live: a transaction of this process, or of another living member of a shared log, works on it.
	Live
	// WouldCommit and WouldRollBack: what Resolve would do.
	WouldCommit
	WouldRollBack
	// Committed and RolledBack: done, durably.
	Committed
	RolledBack
	// FinishedElsewhere: it was gone when its turn came: another recovery, or its own session, has finished it.
	FinishedElsewhere
	// Left: still in doubt, for the given reason.
	Left
	// Heuristic: the database, or a person, finished it against the decision, or changed what it stands on: a person must look.
	Heuristic
)

// String returns the action in the words that a table shows, e.g. "would roll back".
func (a Action) String() string {
	switch a {
	case Foreign:
		return "foreign"
	case Live:
		return "live"
	case WouldCommit:
		return "would commit"
	case WouldRollBack:
		return "would roll back"
	case Committed:
		return "committed"
	case RolledBack:
		return "rolled back"
	case FinishedElsewhere:
		return "finished elsewhere"
	case Left:
		return "left"
	case Heuristic:
		return "heuristic"
	}
	return "invalid"
}

// InDoubt tells whether the branch is this log's and still waits for its outcome.
func (b Branch) InDoubt() bool {
	switch b.Action {
	case Live, WouldCommit, WouldRollBack, Left, Heuristic:
		return true
	}
	return false
}

// Decision is one decision that was unsettled.
type Decision struct {
	txlog.Decision
	// Settled: every database that it names has answered and holds nothing more of it, and Resolve has
	// settled it (Scan: would settle it).
	Settled bool
	// Reason tells why it was not settled.
	Reason string
	// Unverified are resources that hold no branch of it although nobody is known to have finished one, and that can't prove what became of it: as after a crash
	// between the last commit and the settling, or when the answer to a commit was lost. One that proves that it was rolled back is in Notes.
	Unverified []string
}

// Branches returns the branches of all resources that satisfy the condition.
func (r Report) Branches(keep func(Branch) bool) []Branch {
	var out []Branch
	for _, res := range r.Resources {
		for _, b := range res.Branches {
			if keep(b) {
				out = append(out, b)
			}
		}
	}
	return out
}

// InDoubt counts the branches of this log that still wait for their outcome.
func (r Report) InDoubt() int { return len(r.Branches(Branch.InDoubt)) }

// Heuristic counts the branches that need a person.
func (r Report) Heuristic() int {
	return len(r.Branches(func(b Branch) bool { return b.Action == Heuristic }))
}

// Unreached names the resources that could not be asked.
func (r Report) Unreached() []string {
	var names []string
	for _, res := range r.Resources {
		if res.Err != nil {
			names = append(names, res.Name)
		}
	}
	return names
}

// then is what two passes, one after the other, saw and did.
func (r Report) then(next Report) Report {
	if len(next.Resources) == 0 {
		return r // it got no further than the log
	}
	for i := range next.Resources {
		earlier, res := r.Resources[i], &next.Resources[i]
		res.Was = cmp.Or(res.Was, earlier.Was)
		listed := map[drivers.XID]bool{}
		for _, b := range res.Branches {
			listed[b.XID] = true
		}
		for _, b := range earlier.Branches {
			gone := b.Action != Foreign && (!b.InDoubt() || b.Action == Heuristic)
			if !listed[b.XID] && (gone || res.Err != nil) {
				res.Branches = append(res.Branches, b)
			}
		}
	}
	for _, d := range r.Decisions {
		if d.Settled {
			next.Decisions = append(next.Decisions, d)
		}
	}
	for _, n := range r.Notes {
		if next.NoNotes && !slices.Contains(next.Notes, n) {
			next.Notes = append(next.Notes, n)
		}
	}
	slices.SortStableFunc(next.Decisions, func(a, b Decision) int { return a.At.Compare(b.At) })
	return next
}

// Clean tells that nothing of this log is, or may be, in doubt: every database answered, none holds a
// branch of this log that waits, and every decision is settled.
func (r Report) Clean() bool {
	for _, d := range r.Decisions {
		if !d.Settled {
			return false
		}
	}
	return r.InDoubt() == 0 && len(r.Unreached()) == 0
}

// Oldest returns when the branch's transaction began or, where its engine tells, when it was prepared; zero when
// nobody knows.
func (b Branch) Oldest() time.Time {
	if !b.At.IsZero() {
		return b.At
	}
	return begun(b.XID.GTRID)
}

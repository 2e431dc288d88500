package recovery

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// settle forgets the decisions of which no database holds anything more (rule P6), until the log gives no answer in time.
func (p *pass) settle(ctx context.Context, report *Report) error {
	answers := answered(report, p.earlier)
	var failed, silent error // the first failure; and that the log gave no answer in time, and is not waited for again
	for _, d := range p.decisions {
		out := Decision{Decision: d}
		if out.Reason = answers.unfinished(d); out.Reason == "" {
			if d.Outcome == txlog.Committed {
				out.Unverified, out.Reason = p.verify(ctx, d, answers.uncommitted(d))
			} else {
				out.Reason = p.verifyAborted(ctx, d)
			}
			if out.Reason != "" {
				report.Decisions = append(report.Decisions, out)
				continue
			}
			err := silent
			if err == nil {
				err = p.settleOne(ctx, d.ID)
			}
			if errors.Is(err, silence(p.limit())) {
				silent = err
			}
			if err != nil {
				out.Reason = fmt.Sprintf("the log does not take that it is settled: %v", err)
				failed = cmp.Or(failed, fmt.Errorf("recovery: settle %s: %w", d.ID, err))
			}
			out.Settled = out.Reason == ""
		}
		report.Decisions = append(report.Decisions, out)
	}
	return cmp.Or(failed, ctx.Err())
}

func (p *pass) settleOne(ctx context.Context, id string) error {
	if !p.act {
		return nil
	}
	settling, _, stop := watched(ctx, p.limit())
	defer stop()
	return because(settling, p.Log.Settle(settling, id))
}

// answers are what the databases told, by what is asked of it.
type answers struct {
	resources map[string]*Resource
	inDoubt   map[string]string        // the ID of each transaction that has a branch in doubt, and a resource that holds one
	committed map[drivers.XID]struct{} // branches that this run has committed
}

func answered(report *Report, earlier Report) answers {
	a := answers{map[string]*Resource{}, map[string]string{}, map[drivers.XID]struct{}{}}
	for i := range report.Resources {
		r := &report.Resources[i]
		a.resources[r.Name] = r
		for _, b := range r.Branches {
			if _, told := a.inDoubt[b.XID.GTRID]; b.InDoubt() && !told {
				a.inDoubt[b.XID.GTRID] = b.Resource
			} else if b.Action == Committed {
				a.committed[b.XID] = struct{}{}
			}
		}
	}
	for _, b := range earlier.Branches(func(b Branch) bool { return b.Action == Committed }) {
		a.committed[b.XID] = struct{}{}
	}
	return a
}

// unfinished tells why the decision can't be forgotten yet, "" when it can.
func (a answers) unfinished(d txlog.Decision) string {
	for _, name := range d.Resources {
		switch r := a.resources[name]; {
		case r == nil:
			return fmt.Sprintf("it names resource %q, which is not configured", name)
		case r.Err != nil:
			return fmt.Sprintf("%q could not be asked", name)
		case r.Withheld != "":
			return fmt.Sprintf("%q settles nothing for now", name)
		}
	}
	if name, ok := a.inDoubt[d.ID]; ok {
		return fmt.Sprintf("%q still holds a branch of it", name)
	}
	return ""
}

// uncommitted names the resources of a committed decision in which this run committed no branch of it.
func (a answers) uncommitted(d txlog.Decision) []string {
	var names []string
	for _, name := range d.Resources {
		if _, ok := a.committed[drivers.XID{FormatID: drivers.FormatID, GTRID: d.ID, BQual: name}]; !ok {
			names = append(names, name)
		}
	}
	return names
}

// verify asks databases that hold no branch of a committed decision what has become of it: who has rolled it back by hand left no other trace. It
// returns those that can't prove it, and why the decision can't be settled yet.
func (p *pass) verify(ctx context.Context, d txlog.Decision, resources []string) (unverified []string, reason string) {
	for i, name := range resources {
		outcome, err := p.askFate(ctx, d, name)
		if err == nil && outcome == txlog.Aborted {
			err = p.find(ctx, d.ID, name, "rolled back by somebody else, against the decision to commit")
		}
		if err != nil {
			return append(unverified, resources[i:]...), fmt.Sprintf("%q can't tell what became of its branch: %v", name, err)
		}
		if outcome == txlog.Undecided {
			unverified = append(unverified, name)
		}
	}
	return unverified, ""
}

// askFate asks one database.
func (p *pass) askFate(ctx context.Context, d txlog.Decision, name string) (txlog.Outcome, error) {
	i := slices.IndexFunc(p.Resources, func(res drivers.Resource) bool { return res.Name == name })
	if i < 0 {
		return txlog.Undecided, nil // then the decision is not to be settled
	}
	return p.fate(ctx, p.Resources[i], d.ID, evidenceOf(d, name), p.limit())
}

// misplaced looks at the branches that a database listed although they name another resource. Where that
// resource listed them too, both are one server, and nothing is amiss.
func misplaced(resources []Resource) {
	listed := map[drivers.XID]bool{}
	byName := map[string]bool{}
	listers := map[drivers.XID][]string{}
	for _, r := range resources {
		byName[r.Name] = r.Err == nil
		for _, b := range r.Branches {
			listers[b.XID] = append(listers[b.XID], r.Name)
			if b.XID.BQual == r.Name {
				listed[b.XID] = true
			}
		}
	}
	for i := range resources {
		r := &resources[i]
		r.Branches = slices.DeleteFunc(r.Branches, func(b Branch) bool {
			return b.Action != Foreign && b.XID.BQual != r.Name && listed[b.XID]
		})
		for j := range r.Branches {
			b := &r.Branches[j]
			answered, configured := byName[b.XID.BQual]
			switch {
			case b.Action != Left || b.XID.BQual == r.Name:
			case !configured && len(listers[b.XID]) == 1:
				b.Reason += fmt.Sprintf("; it looks as if %s was renamed: then name it %s in the configuration again, until nothing is in doubt", r.Name, b.XID.BQual)
			case configured:
				b.Reason = fmt.Sprintf("it is a branch of resource %q, which did not answer", b.XID.BQual)
				if answered {
					b.Reason = fmt.Sprintf("it is a branch of resource %q, but was found in %q: are their URLs mixed up?", b.XID.BQual, r.Name)
				}
			}
		}
	}
}

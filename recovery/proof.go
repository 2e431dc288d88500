package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// evidenceOf is what the decision holds of the resource's branch.
func evidenceOf(d txlog.Decision, resource string) string {
	if i := slices.Index(d.Resources, resource); i >= 0 && i < len(d.Evidence) {
		return d.Evidence[i]
	}
	return ""
}

// fate is what one database proves of its branch of a transaction, if anything, within its limit of time.
func (p *pass) fate(ctx context.Context, res drivers.Resource, id, evidence string) (txlog.Outcome, error) {
	pr, ok := res.Driver.(drivers.Prover)
	if !ok {
		return txlog.Undecided, nil
	}
	p.mu.Lock()
	silent := p.silent[res.Name]
	p.mu.Unlock()
	if silent != nil {
		return txlog.Undecided, silent
	}
	asking, _, stop := watched(ctx, p.limit())
	defer stop()
	committed, proven, err := pr.Outcome(asking, res.DB, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: res.Name}, evidence)
	if err = because(asking, err); errors.Is(err, silence(p.limit())) && ctx.Err() == nil {
		p.mu.Lock()
		p.silent[res.Name] = err
		p.mu.Unlock()
	}
	switch {
	case err != nil || !proven:
		return txlog.Undecided, err
	case committed:
		return txlog.Committed, nil
	}
	return txlog.Aborted, nil
}

// proof is what all databases together prove of a transaction.
type proof struct {
	committed, aborted string // the name of a resource that has committed its branch, and of one that has rolled it back
	unasked            string // the name of one that could not be asked, with its answer
}

// proofOf asks each database once a pass.
func (p *pass) proofOf(ctx context.Context, id string) proof {
	p.mu.Lock()
	known, ok := p.proofs[id]
	p.mu.Unlock()
	if ok {
		return known
	}
	var found proof
	for _, res := range p.Resources {
		o, err := p.fate(ctx, res, id, "") // a decision with evidence needs no proof of what is to become of it
		switch {
		case err != nil:
			found.unasked = fmt.Sprintf("%q: %v", res.Name, err)
		case o == txlog.Committed:
			found.committed = res.Name
		case o == txlog.Aborted:
			found.aborted = res.Name
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.proofs[id] = found
	return found
}

// outcome is what is proven, and why; Undecided where nothing is.
func (f proof) outcome() (o txlog.Outcome, why string) {
	switch {
	case f.committed != "" && f.aborted != "":
		return txlog.Undecided, fmt.Sprintf("%q has committed it and %q has rolled it back: a person must look", f.committed, f.aborted)
	case f.committed != "":
		return txlog.Committed, fmt.Sprintf("its log is lost, and %q has committed it", f.committed)
	case f.aborted != "":
		return txlog.Aborted, fmt.Sprintf("its log is lost, and %q has rolled it back", f.aborted)
	case f.unasked != "":
		return txlog.Undecided, "its log is lost, and what would tell its outcome could not be asked: " + f.unasked
	}
	return txlog.Undecided, "its log is lost, and no database proves its outcome"
}

// Proven asks each database what has become of its branch of the transaction, and returns what they prove (see [drivers.Prover]), by the resource's
// name. What nothing proves, or who could not be asked, is left out. The decision may be an ID only: some databases need its evidence.
func (r *Resolver) Proven(ctx context.Context, d txlog.Decision) map[string]txlog.Outcome {
	p := r.pass(false)
	proven := map[string]txlog.Outcome{}
	p.everywhere(ctx, func(ctx context.Context, _ int, w *work) {
		o, err := p.fate(ctx, w.Resource, d.ID, evidenceOf(d, w.Name))
		if err == nil && o != txlog.Undecided {
			p.mu.Lock()
			proven[w.Name] = o
			p.mu.Unlock()
		}
	})
	return proven
}

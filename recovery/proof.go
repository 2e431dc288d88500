package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

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

// question is what a database was asked of any branch: how long it had to answer.
type question struct {
	resource string
	limit    time.Duration
}

// fate is what one database proves of its branch of a transaction, if anything, within a limit of time. The time until its turn comes does not count.
func (p *pass) fate(ctx context.Context, res drivers.Resource, id, evidence string, limit time.Duration) (txlog.Outcome, error) {
	pr, ok := res.Driver.(drivers.Prover)
	if !ok {
		return txlog.Undecided, nil
	}
	slots := p.slots[res.Name]
	select {
	case slots <- struct{}{}:
	case <-ctx.Done():
		return txlog.Undecided, because(ctx, ctx.Err())
	}
	defer func() { <-slots }()
	asked := question{res.Name, limit}
	p.mu.Lock()
	silent := p.silent[asked]
	p.mu.Unlock()
	if silent != nil {
		return txlog.Undecided, silent
	}
	asking, _, stop := watched(ctx, limit)
	defer stop()
	committed, proven, err := pr.Outcome(asking, res.DB, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: res.Name}, evidence)
	if err = because(asking, err); errors.Is(err, silence(limit)) && ctx.Err() == nil {
		p.mu.Lock()
		p.silent[asked] = err
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

// inquiry is the question to all databases after one transaction: the branches of many of them may want to know at once.
type inquiry struct {
	turn     chan struct{} // is full while somebody asks; guards what follows
	answered bool
	proof    proof
}

// proofOf asks each database once a pass.
func (p *pass) proofOf(ctx context.Context, id string) proof {
	p.mu.Lock()
	q := p.proofs[id]
	if q == nil {
		q = &inquiry{turn: make(chan struct{}, 1)}
		p.proofs[id] = q
	}
	p.mu.Unlock()
	select {
	case q.turn <- struct{}{}:
	case <-ctx.Done():
		return proof{unasked: because(ctx, ctx.Err()).Error()}
	}
	defer func() { <-q.turn }()
	if !q.answered {
		// One that gives no answer must leave time to finish branches in others, which stand still for as long.
		q.proof = p.inquire(ctx, id, p.limit()/3)
		q.answered = ctx.Err() == nil // else it tells nothing to others, whose time is not up
	}
	return q.proof
}

// inquire asks all databases at once.
func (p *pass) inquire(ctx context.Context, id string, limit time.Duration) proof {
	var found proof
	outcomes, errs := make([]txlog.Outcome, len(p.Resources)), make([]error, len(p.Resources))
	var wg sync.WaitGroup
	for i, res := range p.Resources {
		if _, ok := res.Driver.(drivers.Prover); !ok {
			continue
		}
		wg.Go(func() {
			outcomes[i], errs[i] = p.fate(ctx, res, id, "", limit) // evidence comes with a decision, and there is none
		})
	}
	wg.Wait()
	for i, res := range p.Resources {
		switch {
		case errs[i] != nil:
			found.unasked = fmt.Sprintf("%q: %v", res.Name, errs[i])
		case outcomes[i] == txlog.Committed:
			found.committed = res.Name
		case outcomes[i] == txlog.Aborted:
			found.aborted = res.Name
		}
	}
	return found
}

// outcome is what is proven, and how; Undecided where nothing is.
func (f proof) outcome() (o txlog.Outcome, how string) {
	switch {
	case f.contradictory():
		return txlog.Undecided, fmt.Sprintf("%q has committed it and %q has rolled it back: a person must look", f.committed, f.aborted)
	case f.committed != "":
		return txlog.Committed, fmt.Sprintf("%q has committed it", f.committed)
	case f.aborted != "":
		return txlog.Aborted, fmt.Sprintf("%q has rolled it back", f.aborted)
	case f.unasked != "":
		return txlog.Undecided, "what would tell its outcome could not be asked: " + f.unasked
	}
	return txlog.Undecided, "no database proves its outcome"
}

func (f proof) contradictory() bool { return f.committed != "" && f.aborted != "" }

// Proven asks each database what has become of its branch of the transaction, and returns what they prove (see [drivers.Prover]), by the resource's
// name. What nothing proves, or who could not be asked, is left out. The decision may be an ID only: some databases need its evidence.
func (r *Resolver) Proven(ctx context.Context, d txlog.Decision) map[string]txlog.Outcome {
	p := r.pass(false)
	proven := map[string]txlog.Outcome{}
	p.everywhere(ctx, func(ctx context.Context, _ int, w *work) {
		o, err := p.fate(ctx, w.Resource, d.ID, evidenceOf(d, w.Name), p.limit())
		if err == nil && o != txlog.Undecided {
			p.mu.Lock()
			proven[w.Name] = o
			p.mu.Unlock()
		}
	})
	return proven
}

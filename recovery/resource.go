package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
)

// resource lists what one database holds, and settles what is ours.
func (p *pass) resource(ctx context.Context, res drivers.Resource) Resource {
	out := Resource{Name: res.Name}
	// The database is read first, then the latch, then the log (rule P4): a branch that is listed belongs
	// to a transaction that was live when it prepared, so one that is no longer live now has been decided, or never will be here.
	listed, err := res.Driver.Prepared(ctx, res.DB)
	if err != nil {
		out.Err = err
		return out
	}
	if p.only != "" {
		listed = slices.DeleteFunc(listed, func(pr drivers.Prepared) bool { return !isOurs(pr) || pr.XID.GTRID != p.only })
	}
	if out.Withheld, err = p.identity(ctx, res); err != nil {
		out.Withheld = fmt.Sprintf("%q can't tell which database it is: %v", res.Name, err)
	}
	refused := p.claims.take(ctx, p.ours(listed))
	out.Branches = make([]Branch, len(listed))
	heldNow := make([]bool, len(listed))
	p.each(res.Name, len(listed), func(i int) {
		b := &out.Branches[i]
		*b = p.judge(ctx, res, listed[i], refused)
		if p.act && would(*b) {
			p.finish(ctx, res, b)
			heldNow[i] = errors.Is(b.Err, drivers.ErrHeld)
		}
	})
	var held []*Branch
	for i := range heldNow {
		if heldNow[i] {
			held = append(held, &out.Branches[i])
		}
	}
	if len(held) > 0 {
		p.waitForSessions(ctx, res, held)
	}
	return out
}

// perWorker is how many branches are worth one more connection: a handful is settled one after the other, in the order of the list.
const perWorker = 16

// each calls f for the indices below n, over as many connections as are worth it and allowed.
func (p *pass) each(resource string, n int, f func(i int)) {
	workers := min(positive(p.Parallel, defaultParallel), (n+perWorker-1)/perWorker)
	var next, done atomic.Int64
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
				if d := int(done.Add(1)); p.Progress != nil {
					p.Progress(resource, d, n)
				}
			}
		})
	}
	wg.Wait()
}

// ours returns the IDs of the branches that are this log's to settle.
func (p *pass) ours(listed []drivers.Prepared) []string {
	var ids []string
	for _, pr := range listed {
		if isOurs(pr) && p.concerns(pr.XID.GTRID) {
			ids = append(ids, pr.XID.GTRID)
		}
	}
	return ids
}

// isOurs tells whether this project made the branch, under whatever log.
func isOurs(pr drivers.Prepared) bool { return pr.Raw == "" && pr.XID.FormatID == drivers.FormatID }

// judge decides what is to become of a listed branch.
func (p *pass) judge(ctx context.Context, res drivers.Resource, pr drivers.Prepared, refused map[string]refusal) Branch {
	b := Branch{Prepared: pr, Resource: res.Name}
	switch {
	case !isOurs(pr):
		b.Reason = "of another program"
		return b
	case !p.concerns(pr.XID.GTRID):
		b.Reason = "of another log"
		return b
	}
	if r, ok := refused[pr.XID.GTRID]; ok {
		switch b.Action, b.Holder = Live, r.holder; {
		case r.err != nil:
			b.Action, b.Reason, b.Err = Left, "the log can't tell who works on it", r.err
		case r.holder != "":
			b.Reason = fmt.Sprintf("in the hands of %q, which is alive and shares the log", r.holder)
		default:
			b.Reason = "its transaction is live in this process"
		}
		return b
	}
	if b.Decision, b.Err = p.Log.Lookup(ctx, pr.XID.GTRID); b.Err != nil {
		b.Action, b.Reason = Left, "the log can't tell its decision"
		return b
	}
	p.weigh(ctx, &b)
	if p.verdict == txlog.Undecided && would(b) {
		if n, ok := p.byHand(pr.XID.GTRID, b.Decision); ok {
			b.Action, b.Reason = Left, overruled(n)
		} else if !p.Before.IsZero() && b.Oldest().After(p.Before) {
			b.Action, b.Reason = Left, "it is too young: left until it is older"
		}
	}
	if pr.XID.BQual != res.Name {
		// Left to the resource that it names, which lists it too where both are one server; see misplaced.
		b.Action = Left
		b.Reason = fmt.Sprintf("it is a branch of resource %q, which is not configured: name that database with --resource %s=URL", pr.XID.BQual, pr.XID.BQual)
	}
	return b
}

// weigh finds out, of a branch whose decision was read, what it means: Action and Reason.
func (p *pass) weigh(ctx context.Context, b *Branch) {
	b.Action = WouldRollBack
	if p.wanted(*b) == txlog.Committed {
		b.Action = WouldCommit
	}
	switch {
	case p.verdict != txlog.Undecided && p.verdict != b.Decision:
		b.Reason = fmt.Sprintf("by hand, against the decision %s", b.Decision)
	case p.verdict != txlog.Undecided:
		b.Reason = "by hand"
	case b.Decision != txlog.Undecided:
		b.Reason = fmt.Sprintf("the log says %s", b.Decision)
	case p.adopted(b.XID.GTRID):
		p.judgeAdopted(ctx, b)
	default:
		b.Reason = "the log has no decision: it never was committed"
		if w, ok := p.Log.(txlog.Witness); ok {
			if b.Err = w.Witnessed(); b.Err != nil {
				b.Action, b.Reason = Left, "the log has no decision, and may have missed it"
			}
		}
	}
}

// wanted is the outcome that the branch is to have, as far as that is decided: the log's decision, or a person's.
func (p *pass) wanted(b Branch) txlog.Outcome {
	if p.verdict != txlog.Undecided {
		return p.verdict
	}
	return b.Decision
}

func would(b Branch) bool { return b.Action == WouldCommit || b.Action == WouldRollBack }

// finish tells the database the outcome of a branch that was judged, and records in the branch what came of it.
func (p *pass) finish(ctx context.Context, res drivers.Resource, b *Branch) {
	if b.Decision == txlog.Undecided {
		// Whoever writes first is right: only after this may the branch be rolled back (rule P4).
		d := txlog.Decision{ID: b.XID.GTRID, Outcome: p.intent(ctx, b.XID.GTRID), Resources: p.names(), At: time.Now()}
		if b.Decision, b.Err = p.Log.Decide(ctx, d); b.Err != nil {
			b.Decision, b.Action, b.Reason = txlog.Undecided, Left, fmt.Sprintf("the log does not take the decision to %s", decideVerb(d.Outcome))
			return
		}
		p.decided(d, b.Decision)
	}
	var done, contradicted = RolledBack, drivers.ErrCommitted
	if p.wanted(*b) == txlog.Committed {
		done, contradicted = Committed, drivers.ErrRolledBack
		b.Err = res.Driver.CommitPrepared(ctx, res.DB, b.XID)
	} else {
		b.Err = res.Driver.RollbackPrepared(ctx, res.DB, b.XID)
	}
	if errors.Is(b.Err, drivers.ErrUnknownXID) {
		p.ask(ctx, res, b)
	}
	switch {
	case b.Err == nil:
		b.Action, b.Reason = done, ""
	case errors.Is(b.Err, contradicted) || errors.Is(b.Err, drivers.ErrHeuristic):
		p.heuristic(ctx, b)
	case errors.Is(b.Err, drivers.ErrHeld):
		b.Action, b.Reason = Left, "a live session still holds it: not yet"
	case errors.Is(b.Err, drivers.ErrUnknownXID):
		b.Action, b.Reason = FinishedElsewhere, "gone when its turn came"
	default:
		b.Action, b.Reason = Left, "the database refused, or did not answer"
	}
}

func decideVerb(o txlog.Outcome) string {
	if o == txlog.Committed {
		return "commit"
	}
	return "abort"
}

// ask finds out what an unknown XID means (rules P1 and P12): still listed, it is held by a session.
func (p *pass) ask(ctx context.Context, res drivers.Resource, b *Branch) {
	listed, err := res.Driver.Prepared(ctx, res.DB)
	if err != nil {
		b.Err = err
		return
	}
	for _, pr := range listed {
		if pr.XID == b.XID && pr.Raw == "" {
			b.Err = drivers.ErrHeld
		}
	}
}

// waitForSessions finishes branches that sessions still hold: it waits for the sessions to end, as those of a killed process
// do within milliseconds, then ends those that stay, as the server may take a vanished client's for alive for
// hours, and waits again.
func (p *pass) waitForSessions(ctx context.Context, res drivers.Resource, held []*Branch) {
	held = p.retryHeld(ctx, res, held)
	ender, ok := res.Driver.(drivers.SessionEnder)
	if !ok || len(held) == 0 || ctx.Err() != nil {
		return
	}
	for _, b := range held {
		if p.adopted(b.XID.GTRID) {
			continue // a lost log's claims are lost, too: this session may be a live coordinator's
		}
		// Its ID is claimed and its outcome durable: no coordinator of ours has any use for that session.
		if err := ender.EndSession(ctx, res.DB, b.XID); err != nil {
			b.Err = fmt.Errorf("%w: end its session: %w", drivers.ErrHeld, err)
		}
	}
	p.retryHeld(ctx, res, held)
}

// retryHeld tries again, less and less often, until all are finished or HeldWait is over; it returns the rest.
func (p *pass) retryHeld(ctx context.Context, res drivers.Resource, held []*Branch) []*Branch {
	ctx, cancel := context.WithTimeout(ctx, positive(p.HeldWait, defaultHeldWait))
	defer cancel()
	for pause := 5 * time.Millisecond; len(held) > 0; pause = min(2*pause, 250*time.Millisecond) {
		select {
		case <-ctx.Done():
			return held
		case <-time.After(pause):
		}
		rest := held[:0]
		for _, b := range held {
			was := b.Err
			p.finish(ctx, res, b)
			if b.Err != nil && ctx.Err() != nil {
				b.Err, b.Action, b.Reason = was, Left, "a live session still holds it: not yet"
			}
			if errors.Is(b.Err, drivers.ErrHeld) {
				rest = append(rest, b)
			}
		}
		held = rest
	}
	return nil
}

// names are the names of all configured resources: an abort's branches may be in any of them.
func (p *pass) names() []string {
	names := make([]string, len(p.Resources))
	for i, res := range p.Resources {
		names[i] = res.Name
	}
	return names
}

// begun is when the transaction of this ID began, zero where the ID does not tell.
func begun(gtrid string) time.Time {
	_, at, _ := txid.Split(gtrid)
	return at
}

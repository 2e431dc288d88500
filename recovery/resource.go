package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
)

// resource lists what one database holds, and settles what is ours.
func (p *pass) resource(ctx context.Context, w *work) Resource {
	out := Resource{Name: w.Name}
	// The database is read first, then the latch, then the log (rule P4): a branch that is listed belongs
	// to a transaction that was live when it prepared, so one that is no longer live now has been decided, or never will be here.
	listed, err := w.Driver.Prepared(ctx, w.DB)
	if err != nil {
		out.Err = because(ctx, err)
		return out
	}
	w.moved()
	p.see(w.Name, listed)
	if len(p.only) > 0 {
		listed = slices.DeleteFunc(listed, func(pr drivers.Prepared) bool { return !isOurs(pr) || !p.about(pr.XID.GTRID) })
	}
	if err = p.identity(ctx, w.Resource, &out); err != nil {
		out.Withheld = fmt.Sprintf("%q can't tell which database it is: %v", w.Name, because(ctx, err))
	}
	refused := p.claims.take(ctx, p.ours(listed))
	out.Branches = make([]Branch, len(listed))
	all := make([]*Branch, len(listed))
	var done atomic.Int64
	held := p.round(ctx, w, all, func(i int) {
		all[i] = &out.Branches[i]
		*all[i] = p.judge(ctx, w, listed[i], refused)
		switch {
		case p.act && would(*all[i]):
			p.finish(ctx, w, all[i])
		case all[i].Err == nil: // the log may be slow to tell the decisions of thousands
			w.moved()
		}
		if d := int(done.Add(1)); p.Progress != nil {
			p.Progress(w.Name, d, len(listed))
		}
	})
	if len(held) > 0 {
		p.waitForSessions(ctx, w, held)
	}
	return out
}

// round calls f for each branch, and finds out what the XIDs mean that were unknown then. It returns the branches that sessions hold.
func (p *pass) round(ctx context.Context, w *work, branches []*Branch, f func(i int)) (held []*Branch) {
	w.each(len(branches), f)
	var unknown []*Branch
	for _, b := range branches {
		switch {
		case errors.Is(b.Err, drivers.ErrUnknownXID):
			unknown = append(unknown, b)
		case errors.Is(b.Err, drivers.ErrHeld):
			held = append(held, b)
		}
	}
	if len(unknown) > 0 {
		held = append(held, p.ask(ctx, w, unknown)...)
	}
	return held
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
func (p *pass) judge(ctx context.Context, w *work, pr drivers.Prepared, refused map[string]refusal) Branch {
	b := Branch{Prepared: pr, Resource: w.Name}
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
	if ctx.Err() != nil {
		b.Action, b.Reason, b.Err = Left, "its turn did not come", because(ctx, ctx.Err())
		return b
	}
	if b.Decision, b.Err = p.lookup(ctx, pr.XID.GTRID); b.Err != nil {
		b.Action, b.Reason, b.Err = Left, "the log can't tell its decision", because(ctx, b.Err)
		return b
	}
	w.moved() // the databases may be slow to tell what they prove
	p.weigh(ctx, &b)
	w.moved()
	if p.verdict == txlog.Undecided && would(b) {
		if n, ok := p.byHand(b); ok {
			b.Action, b.Reason = Left, overruled(n)
		} else if !p.Before.IsZero() && b.Oldest().After(p.Before) {
			b.Action, b.Reason = Left, "it is too young: left until it is older"
		}
	}
	if pr.XID.BQual != w.Name {
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
	case p.verdict != txlog.Undecided && b.Decision != txlog.Undecided && p.verdict != b.Decision:
		b.Reason = fmt.Sprintf("by hand, against the decision %s", b.Decision)
	case p.verdict != txlog.Undecided:
		b.Reason = "by hand"
	case b.Decision != txlog.Undecided:
		b.Reason = fmt.Sprintf("the log says %s", b.Decision)
	case p.adopted(b.XID.GTRID):
		p.judgeAdopted(ctx, b)
	default:
		p.presume(ctx, b)
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

// intended is what a branch that would be finished would become.
func intended(b Branch) txlog.Outcome {
	if b.Action == WouldCommit {
		return txlog.Committed
	}
	return txlog.Aborted
}

// lookup returns the outcome that stands. What the pass has read of the log stands for ever.
func (p *pass) lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	p.mu.Lock()
	outcome, ok := p.known[id]
	p.mu.Unlock()
	if ok {
		return outcome, nil
	}
	return p.Log.Lookup(ctx, id)
}

// finish tells the database the outcome of a branch that was judged, and records in the branch what came of it.
func (p *pass) finish(ctx context.Context, w *work, b *Branch) {
	if b.Decision == txlog.Undecided {
		if b.Err = p.noteUnrecorded(ctx, b.XID.GTRID); b.Err != nil {
			b.Action, b.Reason, b.Err = Left, "the log does not take a note of what it lacks", because(ctx, b.Err)
			return
		}
		// Whoever writes first is right: only after this may the branch be rolled back (rule P4).
		d := txlog.Decision{ID: b.XID.GTRID, Outcome: intended(*b), Resources: p.names(), At: time.Now()}
		if b.Decision, b.Err = p.Log.Decide(ctx, d); b.Err != nil {
			b.Decision, b.Action, b.Reason = txlog.Undecided, Left, fmt.Sprintf("the log does not take the decision to %s", decideVerb(d.Outcome))
			b.Err = because(ctx, b.Err)
			return
		}
		p.decided(d, b.Decision)
	}
	b.Err = because(ctx, w.tell(ctx, b.Prepared, p.wanted(*b) == txlog.Committed))
	p.conclude(ctx, b)
	if b.Err == nil {
		w.moved()
		p.finished(*b)
	}
}

// finished takes note of a decision that is news.
func (p *pass) finished(b Branch) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_, known := p.known[b.XID.GTRID]
	if !known && !slices.ContainsFunc(p.late, func(d txlog.Decision) bool { return d.ID == b.XID.GTRID }) {
		p.late = append(p.late, txlog.Decision{ID: b.XID.GTRID, Outcome: b.Decision})
	}
}

// conclude records in the branch what the database's answer means.
func (p *pass) conclude(ctx context.Context, b *Branch) {
	var done, contradicted = RolledBack, drivers.ErrCommitted
	if p.wanted(*b) == txlog.Committed {
		done, contradicted = Committed, drivers.ErrRolledBack
	}
	switch {
	case b.Err == nil:
		if b.Action, b.Reason = done, ""; done == Committed {
			b.Reason = p.unrecordedReason(b.XID.GTRID)
		}
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

// ask finds out what unknown XIDs mean (rules P1 and P12): those that are still listed are held by sessions, and returned.
func (p *pass) ask(ctx context.Context, w *work, unknown []*Branch) (held []*Branch) {
	listed, err := w.Driver.Prepared(ctx, w.DB)
	there := map[drivers.XID]bool{}
	for _, pr := range listed {
		there[pr.XID] = there[pr.XID] || pr.Raw == ""
	}
	for _, b := range unknown {
		switch {
		case err != nil:
			b.Err = because(ctx, err)
		case there[b.XID]:
			b.Err = drivers.ErrHeld
			held = append(held, b)
		}
		p.conclude(ctx, b)
	}
	return held
}

// waitForSessions finishes branches that sessions still hold: it waits for the sessions to end, as those of a killed process
// do within milliseconds, then ends those that stay, as the server may take a vanished client's for alive for
// hours, and waits again.
func (p *pass) waitForSessions(ctx context.Context, w *work, held []*Branch) {
	held = p.retryHeld(ctx, w, held)
	ender, ok := w.Driver.(drivers.SessionEnder)
	if !ok || len(held) == 0 || ctx.Err() != nil {
		return
	}
	w.each(len(held), func(i int) {
		b := held[i]
		if p.adopted(b.XID.GTRID) {
			return // a lost log's claims are lost, too: this session may be a live coordinator's
		}
		// Its ID is claimed and its outcome durable: no coordinator of ours has any use for that session.
		if err := ender.EndSession(ctx, w.DB, b.XID); err != nil {
			b.Err = fmt.Errorf("%w: end its session: %w", drivers.ErrHeld, because(ctx, err))
			return
		}
		w.moved()
	})
	p.retryHeld(ctx, w, held)
}

// retryHeld tries again, less and less often, until all are finished or HeldWait is over; it returns the rest.
func (p *pass) retryHeld(ctx context.Context, w *work, held []*Branch) []*Branch {
	// Both waits, and ending the session between them, must have room in the limit of standing still.
	wait := min(positive(p.HeldWait, defaultHeldWait), positive(p.Timeout, defaultTimeout)/3)
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for pause := 5 * time.Millisecond; len(held) > 0; pause = min(2*pause, 250*time.Millisecond) {
		select {
		case <-ctx.Done():
			return held
		case <-time.After(pause):
		}
		was := make([]error, len(held))
		for i, b := range held {
			was[i] = b.Err
		}
		tried := held
		held = p.round(ctx, w, held, func(i int) { p.finish(ctx, w, tried[i]) })
		if ctx.Err() != nil {
			held = nil
			for i, b := range tried { // who waited in vain is as before
				if b.Err != nil && b.Action == Left {
					b.Err, b.Reason = was[i], "a live session still holds it: not yet"
					held = append(held, b)
				}
			}
		}
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

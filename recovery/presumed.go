package recovery

import (
	"context"
	"fmt"
	"slices"

	"github.com/xasql/xasql/txlog"
)

// presume finds out what is to become of a branch whose transaction is claimed, and of which the log knows nothing: no decision means abort. But no
// database commits before the decision is durable, so one that has committed tells that the log has lost a decision: its disk was restored from an old
// copy, or dropped what it had acknowledged; or a person has finished that branch. Then to roll back the rest would make half a transaction of it.
//
// That proof can't be wrong in the other direction. It is of one XID, which is random and not used again, and it stands in the database beside what
// the branch wrote, written by the same commit: a database that was restored, copied or mistaken for another proves no more than it holds. A
// coordinator that comes back late finds what recovery has written, or was first itself (rule P4).
//
// What proves nothing, or could not be asked, changes nothing: a file that is out of reach must not keep the rows of others locked, and that the log
// has lost something is the rare case. When it is back, [pass.verifyAborted] asks it before the abort is forgotten.
func (p *pass) presume(ctx context.Context, b *Branch) {
	id := b.XID.GTRID
	b.Reason = "the log has no decision to commit it"
	if w, ok := p.Log.(txlog.Witness); ok {
		if b.Err = w.Witnessed(); b.Err != nil {
			b.Action, b.Reason = Left, "the log has no decision, and may have missed it"
			return
		}
	}
	found := p.proofOf(ctx, id)
	if found.committed != "" {
		// A coordinator that comes back late may have decided after the log was asked.
		if b.Decision, b.Err = p.Log.Lookup(ctx, id); b.Err != nil {
			b.Action, b.Reason, b.Err = Left, "the log can't tell its decision", because(ctx, b.Err)
			return
		}
		if b.Decision != txlog.Undecided {
			p.weigh(ctx, b)
			return
		}
	}
	outcome, how := found.outcome()
	switch {
	case found.contradictory():
		b.Action = Left
		b.Reason = fmt.Sprintf("the log has no decision, and %s, and decide with xa-recover commit or rollback %s --force", how, id)
	case outcome == txlog.Committed:
		p.mu.Lock()
		p.unrecorded[id] = found.committed
		p.mu.Unlock()
		b.Action, b.Reason = WouldCommit, p.unrecordedReason(id)
	case outcome == txlog.Aborted || found.unasked != "":
		b.Reason += ", and " + how
	}
}

// unrecordedReason tells why a transaction is committed of which the log had no decision, "" where it had.
func (p *pass) unrecordedReason(id string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	resource, ok := p.unrecorded[id]
	if !ok {
		return ""
	}
	return fmt.Sprintf("the log has no decision, and %q has committed it: was the log restored from an old copy?", resource)
}

// noteUnrecorded keeps, before anything is done, that the log holds no decision although a database has committed: the log may lack more than that, and
// only a person can find out why.
func (p *pass) noteUnrecorded(ctx context.Context, id string) error {
	p.mu.Lock()
	resource, ok := p.unrecorded[id]
	p.mu.Unlock()
	if !ok {
		return nil
	}
	return p.find(ctx, id, resource,
		"it has committed its branch, and the log held no decision: was the log restored from an old copy?")
}

// verifyAborted asks, before the log forgets that a transaction was aborted, whether a database proves that it has committed it: one that could not be asked
// when that was presumed, or that somebody made commit. It returns why the decision can't be settled yet.
func (p *pass) verifyAborted(ctx context.Context, d txlog.Decision) (reason string) {
	p.mu.Lock()
	byHand := slices.ContainsFunc(p.notes, func(n txlog.Note) bool { return n.ID == d.ID && n.Kind == txlog.AbortedByHand })
	p.mu.Unlock()
	if byHand {
		return "" // who said so was told what contradicts it
	}
	found := p.proofOf(ctx, d.ID)
	if found.committed == "" && found.unasked != "" { // nobody waits for this answer
		found = p.inquire(ctx, d.ID, p.limit())
	}
	if found.committed != "" {
		if err := p.find(ctx, d.ID, found.committed, "committed by somebody else, against the decision to roll back"); err != nil {
			return err.Error()
		}
		return ""
	}
	if found.unasked != "" {
		return "what became of it could not be asked: " + found.unasked
	}
	return ""
}

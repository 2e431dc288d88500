package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// finder is who noted what recovery found by itself.
const finder = "recovery"

// readNotes reads what is to be remembered: a person's word that the log's decision does not bear out stops what would go against it.
func (p *pass) readNotes(ctx context.Context, watch *watch) error {
	keeper, ok := p.Log.(txlog.Notes)
	if p.noNotes = !ok; !ok {
		return nil
	}
	for n, err := range keeper.Noted(ctx, "") {
		if err != nil {
			return err
		}
		if watch.moved(); !p.about(n.ID) {
			continue
		}
		p.notes = append(p.notes, n)
	}
	return nil
}

// note keeps a note, durably unless the pass only looks, or the log keeps none.
func (p *pass) note(ctx context.Context, n txlog.Note) error {
	n.At = p.now()
	if keeper, ok := p.Log.(txlog.Notes); ok && p.act {
		ctx, cancel := p.limited(ctx)
		defer cancel()
		if err := keeper.Note(ctx, n); err != nil {
			return fmt.Errorf("note it in the log: %w", err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.ContainsFunc(p.notes, func(o txlog.Note) bool { return o.ID == n.ID && o.Kind == n.Kind && o.Resource == n.Resource }) {
		p.notes = append(p.notes, n)
	}
	return nil
}

// find notes a heuristic outcome that no branch in doubt tells of, and has it logged.
func (p *pass) find(ctx context.Context, id, resource, text string) error {
	n := txlog.Note{ID: id, Kind: txlog.Heuristic, Resource: resource, By: finder, Text: text}
	if err := p.note(ctx, n); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !slices.Contains(p.found, n) {
		p.found = append(p.found, n)
	}
	return nil
}

// now is when the pass does what it does.
func (p *pass) now() time.Time {
	if p.at.IsZero() {
		return time.Now()
	}
	return p.at
}

// heuristic makes the branch a heuristic one, remembered before it is reported: the next pass may find no trace of it.
func (p *pass) heuristic(ctx context.Context, b *Branch) {
	b.Action, b.Reason = Heuristic, fmt.Sprintf("the decision is %s, and a person must look", b.Decision)
	what := fmt.Sprintf("the decision is %s", b.Decision)
	switch {
	case errors.Is(b.Err, drivers.ErrCommitted):
		what = "committed by somebody else, against the decision to roll back"
	case errors.Is(b.Err, drivers.ErrRolledBack):
		what = "rolled back by somebody else, against the decision to commit"
	}
	text := fmt.Sprintf("%s; the database answered: %v", what, b.Err)
	if err := p.note(ctx, txlog.Note{ID: b.XID.GTRID, Kind: txlog.Heuristic, Resource: b.Resource, By: finder, Text: text}); err != nil {
		b.Err = fmt.Errorf("%w; %w", b.Err, err)
	}
}

// byHand returns a person's word on the branch's transaction that the decision does not bear out, or that would be acted against without one, if there
// is one.
func (p *pass) byHand(b Branch) (txlog.Note, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.notes {
		against := n.Kind == txlog.CommittedByHand && b.Decision != txlog.Committed || n.Kind == txlog.AbortedByHand && intended(b) == txlog.Committed
		if n.ID == b.XID.GTRID && against {
			return n, true
		}
	}
	return txlog.Note{}, false
}

// verbs are the commands that finish a transaction.
func verb(o txlog.Outcome) string {
	if o == txlog.Committed {
		return "commit"
	}
	return "rollback"
}

// overruled tells why what the log says is not done.
func overruled(n txlog.Note) string {
	v := verb(txlog.Aborted)
	if n.Kind == txlog.CommittedByHand {
		v = verb(txlog.Committed)
	}
	return fmt.Sprintf("%s has said %s at %s, and the log does not: finish it with xa-recover %s %s --force, or let the log be right with xa-recover forget %s",
		n.By, v, n.At.UTC().Format(time.RFC3339), v, n.ID, n.ID)
}

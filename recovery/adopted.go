package recovery

import (
	"context"
	"fmt"
	"slices"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
)

// concerns tells whether a transaction is this log's to settle: made under it, or under a log that it stands in for, or
// decided in it, as an adopted one is ever after.
func (p *pass) concerns(id string) bool {
	return txid.Belongs(id, p.Log.ID()) || p.adopted(id) || p.decidedHere[id]
}

// adopted tells whether the transaction was made under a log that is lost.
func (p *pass) adopted(id string) bool {
	for _, log := range p.Adopted {
		if log != p.Log.ID() && txid.Belongs(id, log) {
			return true
		}
	}
	return false
}

// heldBy is the adopted log whose branch a live session holds, if one does.
func (p *pass) heldBy(pr drivers.Prepared) (log string, held bool) {
	if !isOurs(pr) || !pr.Held || !p.adopted(pr.XID.GTRID) {
		return "", false
	}
	log, _, _ = txid.Split(pr.XID.GTRID)
	return log, true
}

// see takes note of adopted logs that are not lost: a live session holds a branch of them.
func (p *pass) see(resource string, listed []drivers.Prepared) {
	for _, pr := range listed {
		log, held := p.heldBy(pr)
		if !held {
			continue
		}
		if slices.Contains(p.names(), pr.XID.BQual) {
			resource = pr.XID.BQual // a server may list the branches of all its databases
		}
		p.mu.Lock()
		p.inUse[log] = fmt.Sprintf("log %s is in use: a live session in %s holds a branch of it. It is not lost: ask the program that owns it", log, resource)
		p.mu.Unlock()
	}
}

// lookForUsers looks into every database for live sessions of the adopted logs, before a branch of them is finished in any. Not every engine can show
// them, and who can't be asked shows none.
func (p *pass) lookForUsers(ctx context.Context) {
	if len(p.Adopted) == 0 {
		return
	}
	p.everywhere(ctx, func(ctx context.Context, _ int, w *work) {
		if listed, err := w.Driver.Prepared(ctx, w.DB); err == nil { // else the pass itself tells it
			p.see(w.Name, listed)
		}
	})
}

// useOf tells that the log of an adopted transaction is in use, "" where that is not known.
func (p *pass) useOf(id string) string {
	log, _, _ := txid.Split(id)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.inUse[log]
}

// judgeAdopted decides what is to become of a branch of a lost log of which nothing is decided here. Nothing is presumed: the lost log may have
// said committed.
func (p *pass) judgeAdopted(ctx context.Context, b *Branch) {
	if use := p.useOf(b.XID.GTRID); use != "" {
		b.Action, b.Reason = Left, use
		return
	}
	found := p.proofOf(ctx, b.XID.GTRID)
	outcome, how := found.outcome()
	if b.Reason = how; !found.contradictory() {
		b.Reason = "its log is lost, and " + how
	}
	switch outcome {
	case txlog.Committed:
		b.Action = WouldCommit
	case txlog.Aborted:
		b.Action = WouldRollBack
	default:
		b.Action = Left
		b.Reason += fmt.Sprintf(": only a person can say, with xa-recover commit or rollback %s --adopt", b.XID.GTRID)
	}
}

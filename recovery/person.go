package recovery

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/txlog"
)

// Verdict is a person's decision on one global transaction.
type Verdict struct {
	ID      string        // of the global transaction
	Outcome txlog.Outcome // Committed or Aborted
	By      string        // who says so, e.g. "ada@db7"
	Why     string
	At      time.Time // when; zero: now
	// Force does it against the log's decision, or another branch's known outcome, and although a database could not be asked. What
	// is done against what is known is noted as heuristic.
	Force bool
}

var (
	// ErrContradicts is returned when the log's decision, or the known outcome of a branch, says otherwise. Nothing was done.
	ErrContradicts = errors.New("contradicts what is known of the transaction")
	// ErrLive is returned when the transaction is live in this process, or in the hands of a living member of a shared log, or its log is
	// said to be lost, and a live session holds a branch of that. Nothing was done.
	ErrLive = errors.New("transaction is live")
	// ErrNotKnown is returned when no database holds a branch of the transaction, and the log has no decision. Nothing was done.
	ErrNotKnown = errors.New("transaction is not known")
	// ErrUnasked is returned when a database could not be asked, whose branch may say otherwise. Nothing was done.
	ErrUnasked = errors.New("a database could not be asked")
)

// Finish carries out a person's decision on one transaction of this log, or of one that is Adopted: one that a copied or a lost log leaves in
// doubt, or one that is to be finished against what is known. First what is said, by whom and why is noted in the log, as far as it keeps
// notes; then the decision is written, unless one stands; then every database is told, as by Resolve. A crash in between leaves
// a note that keeps Resolve from doing the contrary: call Finish again. To say again what stands is harmless.
//
// The Report is about this transaction alone; it is empty when the error is ErrContradicts, ErrLive, ErrNotKnown or ErrUnasked, or when the
// log could not record the decision.
func (r *Resolver) Finish(ctx context.Context, v Verdict) (Report, error) {
	return r.finish(ctx, v, true)
}

// Judge tells whether Finish would carry out the verdict, and what it would do. It changes nothing, and works on a log that was opened for reading. The errors
// are those of Finish, as far as nothing happens in between; the Report's Notes are those that would be there.
func (r *Resolver) Judge(ctx context.Context, v Verdict) (Report, error) {
	return r.finish(ctx, v, false)
}

func (r *Resolver) finish(ctx context.Context, v Verdict, act bool) (Report, error) {
	p := r.pass(act)
	p.only, p.verdict, p.at = []string{v.ID}, v.Outcome, v.At
	fail := func(err error) (Report, error) {
		return p.empty(), fmt.Errorf("recovery: %s %s: %w", verb(v.Outcome), v.ID, err)
	}
	if err := p.admissible(v); err != nil {
		return fail(err)
	}
	leave, err := p.join(ctx)
	if err != nil {
		return p.empty(), err
	}
	defer leave()
	defer p.claims.release()
	if err := p.read(ctx); err != nil {
		return p.empty(), err
	}
	if r, ok := p.claims.take(ctx, []string{v.ID})[v.ID]; ok {
		return fail(live(r))
	}
	k, err := p.learn(ctx, v.ID)
	if err == nil {
		err = k.allow(v)
	}
	if err == nil {
		err = p.record(ctx, v, k)
	}
	if err != nil {
		return fail(err)
	}
	return p.work(ctx)
}

func (p *pass) admissible(v Verdict) error {
	_, _, ok := txid.Split(v.ID)
	switch {
	case v.Outcome != txlog.Committed && v.Outcome != txlog.Aborted:
		return errors.New("Verdict.Outcome is neither Committed nor Aborted")
	case !ok:
		return errors.New("Verdict.ID is not the ID of a global transaction")
	case !txid.Belongs(v.ID, p.Log.ID()) && !p.adopted(v.ID):
		return errors.New("it was made under another log: use that log or, where it is lost, adopt it")
	}
	return nil
}

func live(r refusal) error {
	switch {
	case r.err != nil:
		return fmt.Errorf("the log can't tell who works on it: %w", r.err)
	case r.holder != "":
		return fmt.Errorf("%w: in the hands of %q, which shares the log", ErrLive, r.holder)
	}
	return fmt.Errorf("%w: in this process", ErrLive)
}

// knowledge is what is known of a transaction before a person's word on it is taken.
type knowledge struct {
	stands  txlog.Outcome // the log's decision
	proof   proof
	holders []string // resources that hold a prepared branch of it
	use     string   // that its log, which is said to be lost, is in use
	unasked error
}

// learn asks the log and the databases.
func (p *pass) learn(ctx context.Context, id string) (knowledge, error) {
	var k knowledge
	var err error
	asking, cancel := p.limited(ctx)
	defer cancel()
	if k.stands, err = p.Log.Lookup(asking, id); err != nil {
		return k, err
	}
	var mu sync.Mutex
	p.everywhere(ctx, func(ctx context.Context, _ int, res *work) {
		listed, err := res.Driver.Prepared(ctx, res.DB)
		mu.Lock()
		defer mu.Unlock()
		if err != nil {
			k.unasked = fmt.Errorf("%w: %q: %w", ErrUnasked, res.Name, because(ctx, err))
		}
		p.see(res.Name, listed)
		for _, pr := range listed {
			if !isOurs(pr) || pr.XID.GTRID != id || pr.XID.BQual != res.Name {
				continue
			}
			k.holders = append(k.holders, res.Name)
		}
	})
	slices.Sort(k.holders)
	if p.adopted(id) {
		k.use = p.useOf(id)
	}
	k.proof = p.proofOf(ctx, id)
	if k.proof.unasked != "" && k.unasked == nil {
		k.unasked = fmt.Errorf("%w: %s", ErrUnasked, k.proof.unasked)
	}
	return k, ctx.Err()
}

// against is what contradicts the outcome, in a person's words: the log, or the resource that has finished its branch otherwise; "" where nothing does.
func (k knowledge) against(o txlog.Outcome) string {
	other := k.proof.aborted
	if o == txlog.Aborted {
		other = k.proof.committed
	}
	switch {
	case k.stands != txlog.Undecided && k.stands != o:
		return "the log says " + k.stands.String()
	case other != "" && o == txlog.Committed:
		return fmt.Sprintf("%q has rolled its branch back", other)
	case other != "":
		return fmt.Sprintf("%q has committed its branch", other)
	}
	return ""
}

// allow tells whether the verdict may be carried out.
func (k knowledge) allow(v Verdict) error {
	switch against := k.against(v.Outcome); {
	case k.use != "":
		return fmt.Errorf("%w: %s", ErrLive, k.use)
	case v.Force || k.stands == v.Outcome:
		return nil
	case against != "":
		return fmt.Errorf("%w: %s", ErrContradicts, against)
	case k.unasked != nil:
		return k.unasked
	case k.stands == txlog.Undecided && len(k.holders) == 0:
		return fmt.Errorf("%w: no database holds a branch of it, and the log has no decision", ErrNotKnown)
	}
	return nil
}

// record writes the verdict down before anything is done. The person's word comes first: a decision alone would not tell whose it is, and a
// crash after the word alone is safe, see [pass.byHand].
func (p *pass) record(ctx context.Context, v Verdict, k knowledge) error {
	if k.stands == v.Outcome {
		return nil
	}
	against := k.against(v.Outcome)
	if p.noNotes && against != "" {
		return fmt.Errorf("%w: %s; and this log keeps no notes, so that what is done by force would be forgotten", ErrContradicts, against)
	}
	n := txlog.Note{ID: v.ID, Kind: txlog.CommittedByHand, By: v.By, Text: v.Why}
	if v.Outcome == txlog.Aborted {
		n.Kind = txlog.AbortedByHand
	}
	notes := []txlog.Note{n}
	if against != "" {
		n.Kind, n.Text = txlog.Heuristic, fmt.Sprintf("%s by hand, although %s", v.Outcome, against)
		for _, n.Resource = range k.holders {
			notes = append(notes, n)
		}
		if len(k.holders) == 0 {
			notes = append(notes, n)
		}
	}
	for _, n := range notes {
		if err := p.note(ctx, n); err != nil {
			return err
		}
	}
	if k.stands != txlog.Undecided || !p.act {
		return nil
	}
	d := txlog.Decision{ID: v.ID, Outcome: v.Outcome, Resources: p.names(), At: p.now()}
	ctx, cancel := p.limited(ctx)
	defer cancel()
	stands, err := p.Log.Decide(ctx, d)
	switch {
	case err != nil:
		return fmt.Errorf("record the decision: %w", err)
	case stands != v.Outcome:
		return fmt.Errorf("%w: at this very moment somebody else has written %s", ErrContradicts, stands)
	}
	p.decided(d, stands)
	return nil
}

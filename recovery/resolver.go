package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// Resolver looks for branches in doubt and settles them. The zero values of the optional fields are the
// documented defaults.
type Resolver struct {
	Log       txlog.Log          // required
	Resources []drivers.Resource // required: the databases to ask

	// Claim takes the latch of a transaction's ID (rule P4). It returns false while the transaction is live in this
	// process: its branches are then left alone. Otherwise the ID is the caller's until release is
	// called. nil: nothing is live in this process.
	Claim func(id string) (release func(), ok bool)
	// Member is the caller's membership of a log that is [txlog.Shared] (rule P13). nil: Resolve joins for as long as it works.
	Member txlog.Member

	// Timeout limits how long the work on one resource, or on the log, may stand still: without an answer to the first question, and then
	// without one branch finished, or one decision read or settled. Work that goes on takes as long as it takes, or as ctx allows. Zero: 30 s.
	Timeout time.Duration
	// HeldWait is how long to wait for a session that still holds a prepared branch (rule P12), before that
	// session is ended where the driver can, and then again before the branch is left for the next run; at most a third of Timeout. Zero: 3 s.
	HeldWait time.Duration
	// Parallel is how many branches of one resource are finished at once, each over a connection of its pool, when there are many; never over more than
	// half of what the pool may open. Zero: 8.
	Parallel int
	// Progress, if set, is called after each of a resource's branches; it may run concurrently.
	Progress func(resource string, done, total int)
	// Rebind names resources whose other identity is meant (rule P14): a person has moved or restored the database, and knows that
	// it holds every branch that the old one held.
	Rebind []string
	// Adopted are the identities of logs that are lost for good: a person knows that nobody has them any more. Their branches in the
	// databases are settled under Log, as far as a database proves the outcome; of the rest nothing is presumed, and [Resolver.Finish] takes a person's word.
	Adopted []string
	// Before leaves what is younger: branches that were prepared, or whose transaction began, after that time. Zero: none is too young.
	Before time.Time
	// Logger gets a line for each branch that was settled, and for those that were left; where many of one resource are left for the same reason, their number
	// in place of the rest. nil: slog.Default().
	Logger *slog.Logger
}

const (
	defaultTimeout  = 30 * time.Second
	defaultHeldWait = 3 * time.Second
	defaultParallel = 8
)

// Scan looks only: it lists what is in doubt, and tells what Resolve would do and why. It works on a log that was opened for reading. The
// error is about the log or ctx; what a database answered is in the Report.
func (r *Resolver) Scan(ctx context.Context) (Report, error) {
	return r.run(ctx, false)
}

// Resolve commits, rolls back and settles. When it returns, what the Report calls committed or rolled back
// is durable in its database. When ctx ends it stops between two steps, and the Report tells the
// rest as left; nothing is half done. The error is about the log or ctx; what a database answered is in the Report.
func (r *Resolver) Resolve(ctx context.Context) (Report, error) {
	return r.run(ctx, true)
}

func (r *Resolver) run(ctx context.Context, act bool) (Report, error) {
	p := r.pass(act)
	leave, err := p.join(ctx)
	if err != nil {
		return p.empty(), err
	}
	defer leave()
	defer p.claims.release()
	if err := p.read(ctx); err != nil {
		return p.empty(), err
	}
	return p.work(ctx)
}

func (r *Resolver) pass(act bool) *pass {
	return &pass{
		Resolver: r, act: act,
		claims:      claims{latch: r.Claim, limit: positive(r.Timeout, defaultTimeout), held: map[string]func(){}},
		decidedHere: map[string]bool{}, known: map[string]txlog.Outcome{}, proofs: map[string]proof{}, silent: map[string]error{},
	}
}

// work asks the databases, and finishes and settles what there is. The decisions have been read before: one written after a database was listed
// may have a branch there that the list does not show, and must not be settled by it.
func (p *pass) work(ctx context.Context) (Report, error) {
	report := p.empty()
	report.Resources = make([]Resource, len(p.Resources))
	p.everywhere(ctx, func(ctx context.Context, i int, w *work) {
		report.Resources[i] = p.resource(ctx, w)
	})
	misplaced(report.Resources)
	err := p.settle(ctx, &report)
	report.Notes, report.NoNotes = p.notes, p.noNotes
	p.log(ctx, report)
	return report, err
}

func (p *pass) empty() Report { return Report{LogID: p.Log.ID(), Acted: p.act} }

// pass is one run over all resources.
type pass struct {
	*Resolver
	act     bool
	only    string        // the one transaction that the pass is about; "": all
	verdict txlog.Outcome // a person's, on that one
	at      time.Time     // when it was given; zero: see now
	claims  claims

	live        []txlog.Decision // unsettled, but somebody works on them, or the pass is not about them
	decidedHere map[string]bool  // the IDs of all unsettled decisions, as read at the start
	noNotes     bool             // the log keeps none

	mu        sync.Mutex               // guards what follows while the resources are worked on
	decisions []txlog.Decision         // unsettled and not live, as read at the start; then those that this pass wrote
	known     map[string]txlog.Outcome // and what they say
	notes     []txlog.Note             // as read at the start, then those that this pass made
	proofs    map[string]proof         // what the databases were asked, by transaction
	silent    map[string]error         // databases that gave no answer in time when asked for what became of a branch: they are not waited for again
}

// read reads the notes, and the decisions that are not settled, and takes those that nobody works on: one that is live now may still commit
// branches after they were listed.
func (p *pass) read(ctx context.Context) error {
	if err := p.readLog(ctx); err != nil {
		return fmt.Errorf("recovery: read the log: %w", err)
	}
	return nil
}

func (p *pass) readLog(ctx context.Context) error {
	reading, watch, stop := watched(ctx, p.limit())
	defer stop()
	if err := p.readNotes(reading, watch); err != nil {
		return because(reading, err)
	}
	var all []txlog.Decision
	var ids []string
	for d, err := range p.Log.Unsettled(reading) {
		if err != nil {
			return because(reading, err)
		}
		watch.moved()
		p.decidedHere[d.ID] = true
		if p.only != "" && d.ID != p.only {
			p.live = append(p.live, d)
			continue
		}
		all, ids = append(all, d), append(ids, d.ID)
	}
	stop() // each claim has its own limit
	refused := p.claims.take(ctx, ids)
	for _, d := range all {
		if r, ok := refused[d.ID]; !ok {
			p.known[d.ID] = d.Outcome
			p.decisions = append(p.decisions, d)
		} else if p.live = append(p.live, d); r.err != nil {
			return r.err
		}
	}
	return nil
}

// decided remembers a decision that this pass asked for; the outcome is the one that stands.
func (p *pass) decided(d txlog.Decision, outcome txlog.Outcome) {
	if outcome != d.Outcome {
		return // somebody else decided otherwise meanwhile: the next pass reads that decision
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.known[d.ID]; !ok {
		p.known[d.ID] = d.Outcome
		p.decisions = append(p.decisions, d)
	}
}

// limit is how long anything may stand still.
func (p *pass) limit() time.Duration { return positive(p.Timeout, defaultTimeout) }

// limited returns a context for one call.
func (p *pass) limited(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, p.limit())
}

func (p *pass) logger() *slog.Logger {
	if p.Logger != nil {
		return p.Logger
	}
	return slog.Default()
}

// identity compares the database with the one that the log knows under the resource's name (rule P14). It returns why nothing
// may be forgotten because of what this database does not hold, or "".
func (p *pass) identity(ctx context.Context, res drivers.Resource) (mismatch string, err error) {
	now, err := Identify(ctx, res)
	if err != nil || now == "" {
		return "", err
	}
	reg, ok := p.Log.(txlog.Registrar)
	if !ok {
		return "", nil
	}
	known, err := reg.Registered(ctx, res.Name)
	if err != nil {
		return "", fmt.Errorf("read its identity from the log: %w", err)
	}
	if known == now {
		return "", nil
	}
	named := 0
	p.mu.Lock()
	for _, d := range slices.Concat(p.decisions, p.live) {
		// What is aborted may be forgotten whatever holds it: without a decision it is rolled back all the same.
		if d.Outcome == txlog.Committed && slices.Contains(d.Resources, res.Name) {
			named++
		}
	}
	p.mu.Unlock()
	_, shared := p.Log.(txlog.Shared) // others may be about to decide on it
	if known != "" && (named > 0 || shared) && !slices.Contains(p.Rebind, res.Name) {
		who := fmt.Sprintf("the one that %d unsettled decision(s) name", named)
		if shared {
			who = "the one that those who share this log mean by that name"
		}
		return fmt.Sprintf("%q is another database than %s (it was %q, it is %q): point the name back to it, or, if the database was moved or restored on purpose and has all that it had, run xa-recover resolve --rebind %s",
			res.Name, who, known, now, res.Name), nil
	}
	if !p.act {
		return "", nil
	}
	if err := reg.Register(ctx, res.Name, now); err != nil && !errors.Is(err, txlog.ErrReadOnly) {
		return "", fmt.Errorf("note its identity in the log: %w", err)
	}
	return "", nil
}

// Identify returns the database's own identity, or "" where its driver or server can't tell one.
func Identify(ctx context.Context, res drivers.Resource) (string, error) {
	id, ok := res.Driver.(drivers.Identifier)
	if !ok {
		return "", nil
	}
	s, err := id.Identify(ctx, res.DB)
	if errors.Is(err, drivers.ErrNotSupported) {
		return "", nil
	}
	return s, err
}

func positive[T ~int | ~int64](v, zero T) T {
	if v <= 0 {
		return zero
	}
	return v
}

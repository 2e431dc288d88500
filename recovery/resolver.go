package recovery

import (
	"context"
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
	// without one branch finished, or one decision read or settled. What might prove the outcome of an undecided transaction has a third of it to answer.
	// Work that goes on takes as long as it takes, or as ctx allows. Zero: 30 s.
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
	// Where a live session is seen to hold a branch of such a log, in whatever resource, the log is in use, and nothing of it is adopted.
	Adopted []string
	// Only are the transactions to settle, and to tell of; the others are left alone. Empty: all. Finish and Judge are about their own.
	Only []string
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

// mostPasses limits how often Resolve looks again for what was decided while it was at work.
const mostPasses = 3

// run makes a pass, and another one where branches turned up whose decision was written meanwhile: their transaction may have prepared others
// in databases that had been listed by then.
func (r *Resolver) run(ctx context.Context, act bool) (Report, error) {
	report, late, err := r.once(ctx, act, Report{})
	for passes := 1; len(late) > 0 && err == nil && passes < mostPasses; passes++ {
		var next Report
		next, late, err = r.once(ctx, act, report)
		report = report.then(next)
	}
	for _, d := range late {
		report.Decisions = append(report.Decisions, Decision{Decision: d, Reason: "it was written while this run was at work: the next run settles it"})
	}
	return report, err
}

// once makes one pass, after another one or the first. late are the decisions that were not there when it began, and of which it has finished a branch.
func (r *Resolver) once(ctx context.Context, act bool, earlier Report) (report Report, late []txlog.Decision, err error) {
	p := r.pass(act)
	p.earlier = earlier
	leave, err := p.join(ctx)
	if err != nil {
		return p.empty(), nil, err
	}
	defer leave()
	defer p.claims.release()
	if err := p.read(ctx); err != nil {
		return p.empty(), nil, err
	}
	p.lookForUsers(ctx)
	report, err = p.work(ctx)
	return report, p.late, err
}

func (r *Resolver) pass(act bool) *pass {
	return &pass{
		Resolver: r, act: act, only: r.Only,
		claims:      claims{latch: r.Claim, limit: positive(r.Timeout, defaultTimeout), held: map[string]func(){}},
		decidedHere: map[string]bool{}, known: map[string]txlog.Outcome{}, proofs: map[string]*inquiry{}, silent: map[question]error{},
		inUse: map[string]string{}, unrecorded: map[string]string{}, slots: r.places(),
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
	aliases(report.Resources)
	err := p.settle(ctx, &report)
	report.Notes, report.NoNotes = p.notes, p.noNotes
	report.InUse = p.inUse
	p.log(ctx, report)
	return report, err
}

func (p *pass) empty() Report { return Report{LogID: p.Log.ID(), Acted: p.act} }

// pass is one run over all resources.
type pass struct {
	*Resolver
	act     bool
	only    []string      // the transactions that the pass is about; none: all
	verdict txlog.Outcome // a person's, on that one
	at      time.Time     // when it was given; zero: see now
	claims  claims
	earlier Report                   // of the same run, if any
	slots   map[string]chan struct{} // of each resource: full while as many connections as may be are at work

	live        []txlog.Decision // unsettled, but somebody works on them, or the pass is not about them
	decidedHere map[string]bool  // the IDs of all unsettled decisions, as read at the start
	noNotes     bool             // the log keeps none

	mu        sync.Mutex               // guards what follows while the resources are worked on
	decisions []txlog.Decision         // unsettled and not live, as read at the start; then those that this pass wrote
	known     map[string]txlog.Outcome // and what they say
	late      []txlog.Decision         // not read at the start, and not this pass's own, although it has finished a branch by them
	notes     []txlog.Note             // as read at the start, then those that this pass made
	found     []txlog.Note             // heuristic outcomes that no branch in doubt tells of
	inUse     map[string]string        // adopted logs that are not lost, each with what tells so
	proofs    map[string]*inquiry      // what the databases were asked, by transaction
	// unrecorded are transactions of which the log knew nothing although a database proves that it has committed its branch, with its resource's name.
	unrecorded map[string]string
	silent     map[question]error // databases that gave no answer in time when asked for what became of a branch: they are not waited for again
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
		if !p.about(d.ID) {
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

// about tells whether the pass is about the transaction.
func (p *pass) about(id string) bool { return len(p.only) == 0 || slices.Contains(p.only, id) }

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

func positive[T ~int | ~int64](v, zero T) T {
	if v <= 0 {
		return zero
	}
	return v
}

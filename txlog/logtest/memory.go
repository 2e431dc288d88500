package logtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/xasql/xasql/txlog"
)

// Memory is a decision log in memory, for tests: it keeps every rule of [txlog.Log] but L2 towards the machine's crash, tells what
// happens to it, and fails on request in each way a real log can. What it holds lives as long as the
// Memory, over Close and Reopen alike. It also implements [txlog.Registrar].
type Memory struct {
	*storage

	// Guarded by storage.mu:
	closed  bool
	latched bool
	fault   DecideFault
	onEvent func(string)
	unknown map[string]bool // IDs whose Decide ended as unknown, until Reopen
}

// storage is what outlives an opening.
type storage struct {
	id string

	mu         sync.Mutex // guards what follows, and what the openings hold
	decisions  map[string]*memoryDecision
	seq        int
	identities map[string]string
	members    map[string]*memoryMember // by mark
	claims     map[string]*memoryMember // by ID
	notes      []txlog.Note
}

type memoryDecision struct {
	txlog.Decision
	seq     int // the order of deciding
	settled bool
}

// DecideFault is a way in which [Memory.FailDecide] makes a Decide fail.
type DecideFault uint8

const (
	// NotRecorded: the decision is surely not recorded, and the caller is told so (ErrNotDecided).
	NotRecorded DecideFault = iota + 1
	// LostRecorded: the decision is recorded, but the caller is told that it is unknown.
	LostRecorded
	// LostUnrecorded: the decision is not recorded, but the caller is told that it is unknown.
	LostUnrecorded
)

var errInjected = errors.New("injected fault")

// NewMemory returns an empty log with a new random identity.
func NewMemory() *Memory {
	return (&storage{
		id:         strings.ToLower(rand.Text()[:12]),
		decisions:  map[string]*memoryDecision{},
		identities: map[string]string{},
		members:    map[string]*memoryMember{},
		claims:     map[string]*memoryMember{},
	}).open()
}

func (s *storage) open() *Memory { return &Memory{storage: s, unknown: map[string]bool{}} }

// OnEvent makes f be called with one line after each operation that reached the log, before the operation
// returns:
//
//	log decide ID commit: committed
//	log decide ID commit: not decided
//	log decide ID commit: unknown
//	log lookup ID: undecided
//	log settle ID
//	log register RESOURCE IDENTITY
//
// f is called by the operation's own goroutine, with no lock held: it may block, and may use the log. nil
// ends the telling.
func (m *Memory) OnEvent(f func(string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.onEvent = f
}

// FailDecide makes the next Decide of an ID that is not decided yet fail. The log is then latched (rule L8) until
// [Memory.Reopen].
func (m *Memory) FailDecide(f DecideFault) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = f
}

// Reopen makes a latched or closed log work again, as opening a real log again would. What was
// recorded stands; what was unknown is known.
func (m *Memory) Reopen() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed, m.latched, m.fault = false, false, 0
	clear(m.unknown)
}

// ID returns the log's identity.
func (m *Memory) ID() string { return m.id }

// Decide records d unless a decision of d.ID stands already, and returns the outcome that stands.
func (m *Memory) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	o, err := m.decide(ctx, d)
	result := o.String()
	switch {
	case errors.Is(err, txlog.ErrNotDecided):
		result = "not decided"
	case err != nil:
		result = "unknown"
	}
	verb := map[txlog.Outcome]string{txlog.Committed: "commit", txlog.Aborted: "abort"}[d.Outcome]
	m.tell(fmt.Sprintf("log decide %s %s: %s", d.ID, verb, result))
	return o, err
}

func (m *Memory) decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return 0, notDecided(d.ID, txlog.ErrClosed)
	case d.ID == "" || d.Outcome != txlog.Committed && d.Outcome != txlog.Aborted:
		return 0, notDecided(d.ID, errors.New("a decision needs an ID, and an outcome of committed or aborted"))
	}
	if old := m.decisions[d.ID]; old != nil && !m.unknown[d.ID] {
		return old.Outcome, nil
	}
	switch {
	case m.unknown[d.ID]:
		return 0, fmt.Errorf("logtest: decide %q: outcome is unknown until the log is opened again", d.ID)
	case ctx.Err() != nil:
		return 0, notDecided(d.ID, ctx.Err())
	case m.latched:
		return 0, notDecided(d.ID, errors.New("an earlier write failed: open the log again"))
	}
	fault := m.fault
	m.fault = 0
	m.latched = fault != 0
	if fault == NotRecorded {
		return 0, notDecided(d.ID, errInjected)
	}
	if fault != LostUnrecorded {
		if d.At.IsZero() {
			d.At = time.Now()
		}
		d.Resources = slices.Clone(d.Resources)
		if d.Evidence = slices.Clone(d.Evidence); d.Outcome != txlog.Committed || len(d.Evidence) != len(d.Resources) {
			d.Evidence = nil
		}
		m.seq++
		m.decisions[d.ID] = &memoryDecision{Decision: d, seq: m.seq}
	}
	if fault != 0 {
		m.unknown[d.ID] = true
		return 0, fmt.Errorf("logtest: decide %q: outcome unknown: %w", d.ID, errInjected)
	}
	return d.Outcome, nil
}

func notDecided(id string, cause error) error {
	return fmt.Errorf("logtest: decide %q: %w: %w", id, txlog.ErrNotDecided, cause)
}

// Lookup returns the outcome that stands.
func (m *Memory) Lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	o, err := m.lookup(ctx, id)
	if err != nil {
		return 0, fmt.Errorf("logtest: lookup %q: %w", id, err)
	}
	m.tell(fmt.Sprintf("log lookup %s: %s", id, o))
	return o, nil
}

func (m *Memory) lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return 0, txlog.ErrClosed
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case m.unknown[id]:
		return 0, errors.New("its decide ended as unknown: open the log again to learn its outcome")
	}
	if d := m.decisions[id]; d != nil {
		return d.Outcome, nil
	}
	return txlog.Undecided, nil
}

// Settle takes a decision out of Unsettled. Its outcome stays readable for ever.
func (m *Memory) Settle(ctx context.Context, id string) error {
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return fmt.Errorf("logtest: settle %q: %w", id, txlog.ErrClosed)
	}
	if d := m.decisions[id]; d != nil && !m.unknown[id] {
		d.settled = true
	}
	m.mu.Unlock()
	m.tell("log settle " + id)
	return nil
}

// Unsettled iterates over the decisions that are not settled, oldest first.
func (m *Memory) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	return func(yield func(txlog.Decision, error) bool) {
		list, err := m.unsettled()
		if err != nil {
			yield(txlog.Decision{}, fmt.Errorf("logtest: unsettled: %w", err))
			return
		}
		for _, d := range list {
			if err := ctx.Err(); err != nil {
				yield(txlog.Decision{}, fmt.Errorf("logtest: unsettled: %w", err))
				return
			}
			if !yield(d, nil) {
				return
			}
		}
	}
}

func (m *Memory) unsettled() ([]txlog.Decision, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, txlog.ErrClosed
	}
	var open []*memoryDecision
	for _, d := range m.decisions {
		if !d.settled && !m.unknown[d.ID] {
			open = append(open, d)
		}
	}
	slices.SortFunc(open, func(a, b *memoryDecision) int { return cmp.Compare(a.seq, b.seq) })
	list := make([]txlog.Decision, len(open))
	for i, d := range open {
		list[i] = d.Decision
		list[i].Resources, list[i].Evidence = slices.Clone(d.Resources), slices.Clone(d.Evidence)
	}
	return list, nil
}

// Register notes that the resource is the database of this identity.
func (m *Memory) Register(ctx context.Context, resource, identity string) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("logtest: register %q: %w", resource, err)
	}
	m.mu.Lock()
	if m.closed {
		m.mu.Unlock()
		return fmt.Errorf("logtest: register %q: %w", resource, txlog.ErrClosed)
	}
	m.identities[resource] = identity
	m.mu.Unlock()
	m.tell("log register " + resource + " " + identity)
	return nil
}

// Registered returns the identity that was noted, or "" where none was.
func (m *Memory) Registered(ctx context.Context, resource string) (string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return "", fmt.Errorf("logtest: registered %q: %w", resource, txlog.ErrClosed)
	}
	return m.identities[resource], nil
}

// Close makes every method but ID, Close and Reopen return ErrClosed.
func (m *Memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

// ReadOnly returns the log as a reader sees it. It follows what the log does, except that it is
// closed on its own.
func (m *Memory) ReadOnly() txlog.Log { return &memoryReader{memory: m} }

func (m *Memory) tell(event string) {
	m.mu.Lock()
	f := m.onEvent
	m.mu.Unlock()
	if f != nil {
		f(event)
	}
}

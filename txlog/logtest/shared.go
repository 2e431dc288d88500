package logtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xasql/xasql/txlog"
)

// SharedMemory is one opening of a log in memory that any number of openings share: a [Memory] that also
// implements [txlog.Shared]. FailDecide, OnEvent, Reopen and Close concern this opening only.
//
// Leases are reckoned by [time.Now] alone, without a goroutine or a timer, so that they run by the fake clock of a
// testing/synctest bubble: a member renews its lease all the time, unless its opening is paused.
type SharedMemory struct {
	*Memory
	lease time.Duration

	// Guarded by storage.mu:
	paused    bool
	failClaim bool
}

// NewSharedMemory returns the first opening of a new log. A member that renews its lease no more stays alive for that long; 0 is
// ten seconds.
func NewSharedMemory(lease time.Duration) *SharedMemory {
	return &SharedMemory{Memory: NewMemory(), lease: cmp.Or(lease, 10*time.Second)}
}

// Another opens the same log once more, as another process does.
func (m *SharedMemory) Another() *SharedMemory {
	return &SharedMemory{Memory: m.open(), lease: m.lease}
}

// Pause keeps the members of this opening from renewing their leases, as if the process were stopped, or killed, now: they are alive
// for the length of the lease, and then no more until resume. What is called meanwhile works; Claim then renews
// the lease once.
func (m *SharedMemory) Pause() (resume func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.paused = true
	for _, member := range m.members {
		if member.log == m {
			member.renew()
		}
	}
	return func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.paused = false
	}
}

// FailClaim makes the next Claim of this opening return an error, although it has granted what there was to grant.
func (m *SharedMemory) FailClaim() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failClaim = true
}

// memoryMember is a member of a SharedMemory. storage.mu guards all but log and mark.
type memoryMember struct {
	log     *SharedMemory
	mark    string
	name    string
	expires time.Time // while the log is paused
	left    bool
}

func (n *memoryMember) alive() bool {
	return !n.left && (!n.log.paused || time.Now().Before(n.expires))
}

func (n *memoryMember) renew() { n.expires = time.Now().Add(n.log.lease) }

func (n *memoryMember) holder() txlog.Holder {
	return txlog.Holder{Mark: n.mark, Name: n.name, Alive: n.alive()}
}

// has returns who has the ID, nil if nobody does.
func (s *storage) has(id string) *memoryMember {
	if n := s.claims[id]; n != nil {
		return n
	}
	return s.members[txlog.Mark(id)]
}

// Join makes the caller a member. It tells the event "log join NAME"; names are "member 1", "member 2" and so on.
func (m *SharedMemory) Join(ctx context.Context) (txlog.Member, error) {
	n, err := m.join(ctx)
	if err != nil {
		return nil, fmt.Errorf("logtest: join: %w", err)
	}
	m.tell("log join " + n.name)
	return n, nil
}

func (m *SharedMemory) join(ctx context.Context) (*memoryMember, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, txlog.ErrClosed
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := &memoryMember{log: m, mark: newMark(), name: fmt.Sprint("member ", len(m.members)+1)}
	for m.members[n.mark] != nil {
		n.mark = newMark()
	}
	n.renew()
	m.members[n.mark] = n
	return n, nil
}

func newMark() string {
	b := make([]byte, txlog.MarkLen)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = txlog.MarkAlphabet[b[i]%byte(len(txlog.MarkAlphabet))]
	}
	return string(b)
}

// Holders returns who has each ID.
func (m *SharedMemory) Holders(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	err := ctx.Err()
	if m.closed {
		err = txlog.ErrClosed
	}
	if err != nil {
		return nil, fmt.Errorf("logtest: holders: %w", err)
	}
	holders := map[string]txlog.Holder{}
	for _, id := range ids {
		if n := m.has(id); n != nil {
			holders[id] = n.holder()
		}
	}
	return holders, nil
}

// Close ends the members of this opening, and makes every method but ID, Close and Reopen return ErrClosed.
func (m *SharedMemory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, member := range m.members {
		if member.log == m {
			member.left = true
		}
	}
	return nil
}

// ReadOnly returns the log as a reader sees it; see [Memory.ReadOnly].
func (m *SharedMemory) ReadOnly() txlog.Log {
	return &sharedReader{memoryReader{memory: m.Memory}, m}
}

// Mark is what the IDs of this member's transactions carry.
func (n *memoryMember) Mark() string { return n.mark }

// Claim takes the IDs. It tells an event for each: "log claim ID: granted" or "log claim ID: refused", and
// "log claim ID: unknown" if it was made to fail.
func (n *memoryMember) Claim(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	refused, err := n.claim(ctx, ids)
	for _, id := range slices.Sorted(slices.Values(ids)) {
		result := "granted"
		if _, no := refused[id]; no {
			result = "refused"
		}
		if err != nil {
			result = "unknown"
		}
		n.log.tell("log claim " + id + ": " + result)
	}
	if err != nil {
		return nil, fmt.Errorf("logtest: claim: %w", err)
	}
	return refused, nil
}

func (n *memoryMember) claim(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	m := n.log
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case m.closed:
		return nil, txlog.ErrClosed
	case n.left:
		return nil, errors.New("the member has left: join again")
	case ctx.Err() != nil:
		return nil, ctx.Err()
	}
	n.renew()
	refused := map[string]txlog.Holder{}
	for _, id := range ids {
		if has := m.has(id); has != nil && has != n && has.alive() {
			refused[id] = has.holder()
		} else {
			m.claims[id] = n
		}
	}
	if m.failClaim {
		m.failClaim = false
		return nil, errInjected
	}
	return refused, nil
}

// Leave ends the membership. It tells the event "log leave NAME".
func (n *memoryMember) Leave(context.Context) error {
	n.log.mu.Lock()
	n.left = true
	n.log.mu.Unlock()
	n.log.tell("log leave " + n.name)
	return nil
}

package recovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/txlog"
)

// claims are the transactions that one pass has taken, each once for all of its branches: from this process, by the latch of its ID
// (rule P4), and on a shared log from its other members (rule P13).
type claims struct {
	latch  func(id string) (release func(), ok bool)
	shared txlog.Shared  // nil: no other process writes this log
	member txlog.Member  // nil: the pass only looks, or the log is not shared
	limit  time.Duration // of asking the log about a claimBatch of IDs

	mu   sync.Mutex // guards held: also while the log is asked, as what one resource waits for the next one needs
	held map[string]func()
}

// refusal tells who works on a transaction: somebody in this process, or the named holder; or why nobody knows.
type refusal struct {
	holder string
	err    error
}

// take takes the transactions of these IDs, and returns those that it was refused.
func (c *claims) take(ctx context.Context, ids []string) map[string]refusal {
	c.mu.Lock()
	defer c.mu.Unlock()
	refused := map[string]refusal{}
	var fresh []string
	for _, id := range ids {
		if _, ok := c.held[id]; ok {
			continue
		}
		if release, ok := c.latched(id); ok {
			c.held[id] = release
			fresh = append(fresh, id)
		} else {
			refused[id] = refusal{}
		}
	}
	if c.shared == nil || len(fresh) == 0 {
		return refused
	}
	others, err := c.others(ctx, fresh)
	for _, id := range fresh {
		other, has := others[id]
		switch {
		case err != nil:
			refused[id] = refusal{err: err}
		case has:
			refused[id] = refusal{holder: other.Name}
		default:
			continue
		}
		c.held[id]()
		delete(c.held, id)
	}
	return refused
}

func (c *claims) latched(id string) (release func(), ok bool) {
	if c.latch == nil {
		return func() {}, true
	}
	return c.latch(id)
}

// claimBatch is how many IDs the log is asked about at once.
const claimBatch = 500

// others returns the living members that have some of the IDs; the rest is ours from now on, or, where the pass only looks, would be.
func (c *claims) others(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	all := map[string]txlog.Holder{}
	for batch := range slices.Chunk(ids, claimBatch) {
		others, err := c.ask(ctx, batch)
		if err != nil {
			return nil, err
		}
		maps.Copy(all, others)
	}
	return all, nil
}

func (c *claims) ask(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	ctx, cancel := context.WithTimeout(ctx, c.limit)
	defer cancel()
	if c.member != nil {
		return c.member.Claim(ctx, ids)
	}
	holders, err := c.shared.Holders(ctx, ids)
	for id, h := range holders {
		if !h.Alive {
			delete(holders, id)
		}
	}
	return holders, err
}

// release gives the latches back. What was claimed of other members stays claimed for as long as the member is there: nobody else needs to try what
// could not be finished here.
func (c *claims) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, release := range c.held {
		release()
	}
	clear(c.held)
}

// leaveTimeout limits how long a pass waits for its leaving a shared log. If that fails its lease expires.
const leaveTimeout = 5 * time.Second

// join makes the pass a member of a shared log, unless its caller is one.
func (p *pass) join(ctx context.Context) (leave func(), err error) {
	shared, ok := p.Log.(txlog.Shared)
	if !ok {
		return func() {}, nil
	}
	p.claims.shared = shared
	if !p.act {
		return func() {}, nil
	}
	if p.claims.member = p.Member; p.Member != nil {
		return func() {}, nil
	}
	joining, cancel := p.limited(ctx)
	defer cancel()
	member, err := shared.Join(joining)
	if err != nil {
		return nil, fmt.Errorf("recovery: join those who share the log: %w", err)
	}
	p.claims.member = member
	return func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveTimeout)
		defer cancel()
		_ = member.Leave(ctx)
	}, nil
}

package logtest

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/txlog"
)

// alteredShared is a shared log of which some methods are replaced.
type alteredShared struct {
	*SharedMemory
	decide  func(context.Context, txlog.Decision) (txlog.Outcome, error)
	settle  func(context.Context, string) error
	join    func(context.Context) (txlog.Member, error)
	holders func(context.Context, []string) (map[string]txlog.Holder, error)
}

func (a alteredShared) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	if a.decide != nil {
		return a.decide(ctx, d)
	}
	return a.SharedMemory.Decide(ctx, d)
}

func (a alteredShared) Settle(ctx context.Context, id string) error {
	if a.settle != nil {
		return a.settle(ctx, id)
	}
	return a.SharedMemory.Settle(ctx, id)
}

func (a alteredShared) Join(ctx context.Context) (txlog.Member, error) {
	if a.join != nil {
		return a.join(ctx)
	}
	return a.SharedMemory.Join(ctx)
}

func (a alteredShared) Holders(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	if a.holders != nil {
		return a.holders(ctx, ids)
	}
	return a.SharedMemory.Holders(ctx, ids)
}

// sharedHarness is a SharedMemory of which each opening is behind wrap, which may break it.
func sharedHarness(lease time.Duration, wrap func(*SharedMemory) txlog.Log) Harness {
	m := NewSharedMemory(lease)
	again := func(TB) txlog.Log {
		m.Reopen()
		return wrap(m)
	}
	return Harness{
		Log:      wrap(m),
		Reopen:   again,
		Crash:    again,
		ReadOnly: func(TB) txlog.Log { return m.ReadOnly() },
		Break:    func(TB) { m.FailDecide(LostRecorded) },
		Another:  func(TB) txlog.Log { return wrap(m.Another()) },
		Pause:    func(TB) func() { return m.Pause() },
		patience: time.Second,
	}
}

func TestSharedMemoryConforms(t *testing.T) {
	Run(t, func(TB) Harness {
		return sharedHarness(10*time.Millisecond, func(m *SharedMemory) txlog.Log { return m })
	})
}

// findsOut is a log over a database: it asks what became of a failed write, and goes on.
type findsOut struct{ *SharedMemory }

func (l findsOut) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	o, err := l.SharedMemory.Decide(ctx, d)
	l.mu.Lock()
	l.latched = false
	clear(l.unknown)
	stands := l.decisions[d.ID]
	l.mu.Unlock()
	if err != nil && stands != nil {
		return stands.Outcome, nil
	}
	return o, err
}

func TestALogThatFindsOutNeedNotLatch(t *testing.T) {
	for _, f := range []DecideFault{NotRecorded, LostRecorded} {
		Run(t, func(TB) Harness {
			h := sharedHarness(10*time.Millisecond, func(m *SharedMemory) txlog.Log { return findsOut{m} })
			h.FindsOut = true
			h.Break = func(TB) { h.Log.(findsOut).FailDecide(f) }
			return h
		})
	}
}

func TestALeaseRunsByTheClockOfTheBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewSharedMemory(0)
		other := m.Another()
		a, b := join(t, m), join(t, other)
		id := idOf(m, a.Mark(), 1)
		time.Sleep(time.Hour)
		refused(t, b, a, id)
		resume := m.Pause()
		time.Sleep(10*time.Second - 1)
		refused(t, b, a, id)
		time.Sleep(time.Nanosecond)
		granted(t, b, id)
		resume()
		refused(t, a, b, id)
		closeAll(t, other)
		granted(t, a, id)
	})
}

func TestSharedMemoryTellsClaims(t *testing.T) {
	m := NewSharedMemory(0)
	var got []string
	m.OnEvent(func(line string) { got = append(got, line) })
	a, b := join(t, m), join(t, m)
	granted(t, a, "y", "x")
	refused(t, b, a, "x")
	m.FailClaim()
	granted(t, b, "z") // the second time
	leave(t, b)
	want := []string{"log join member 1", "log join member 2", "log claim x: granted", "log claim y: granted", "log claim x: refused",
		"log claim z: unknown", "log claim z: granted", "log leave member 2"}
	if !slices.Equal(got, want) {
		t.Errorf("events are\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// claimer is a member whose Claim is replaced.
type claimer struct {
	*memoryMember
	claim func(context.Context, []string) (map[string]txlog.Holder, error)
}

func (c claimer) Claim(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	return c.claim(ctx, ids)
}

// brokenSharedLogs has for some rules shared logs that break it, and no other.
func brokenSharedLogs() map[string][]func() Harness {
	const lease = 10 * time.Millisecond
	wrapped := func(wrap func(*SharedMemory) txlog.Log) func() Harness {
		return func() Harness { return sharedHarness(lease, wrap) }
	}
	// claims replaces Claim, which it is given.
	claims := func(f func(n *memoryMember, ids []string) (map[string]txlog.Holder, error)) func() Harness {
		return wrapped(func(m *SharedMemory) txlog.Log {
			return alteredShared{SharedMemory: m, join: func(ctx context.Context) (txlog.Member, error) {
				member, err := m.Join(ctx)
				if err != nil {
					return nil, err
				}
				n := member.(*memoryMember)
				return claimer{n, func(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
					if m.isClosed() {
						return nil, txlog.ErrClosed
					}
					return f(n, ids)
				}}, nil
			}}
		})
	}
	named := func(mark func(m *SharedMemory, n *memoryMember) string) func() Harness {
		return wrapped(func(m *SharedMemory) txlog.Log {
			return alteredShared{SharedMemory: m, join: func(ctx context.Context) (txlog.Member, error) {
				member, err := m.Join(ctx)
				if err != nil {
					return nil, err
				}
				m.mu.Lock()
				defer m.mu.Unlock()
				n := member.(*memoryMember)
				delete(m.members, n.mark)
				n.mark = mark(m, n)
				m.members[n.mark] = n
				return n, nil
			}}
		})
	}
	return map[string][]func() Harness{
		"L1": {wrapped(func(m *SharedMemory) txlog.Log { // each opening believes that it is alone
			own := map[string]bool{}
			return alteredShared{SharedMemory: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
				o, err := m.Decide(ctx, d)
				m.mu.Lock()
				defer m.mu.Unlock()
				if err == nil && o == d.Outcome {
					own[d.ID] = true
				}
				if err == nil && !own[d.ID] && !strings.HasPrefix(d.ID, "one") {
					m.decisions[d.ID].Outcome, own[d.ID] = d.Outcome, true
					return d.Outcome, nil
				}
				return o, err
			}}
		})},
		"L6": {wrapped(func(m *SharedMemory) txlog.Log { // settles only what it has decided itself
			own := map[string]bool{}
			return alteredShared{SharedMemory: m,
				decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
					o, err := m.Decide(ctx, d)
					m.mu.Lock()
					defer m.mu.Unlock()
					own[d.ID] = true
					return o, err
				},
				settle: func(ctx context.Context, id string) error {
					m.mu.Lock()
					skip := !own[id] && id == "three"
					m.mu.Unlock()
					if skip {
						return nil
					}
					return m.Settle(ctx, id)
				}}
		})},
		"S1": {
			named(func(m *SharedMemory, n *memoryMember) string { return "a" + n.mark[1:] }),
			named(func(m *SharedMemory, n *memoryMember) string { // the fourth member of every opening has the same
				count := 0
				for _, other := range m.members {
					if other.log == m && !other.left {
						count++
					}
				}
				if count < 3 {
					return n.mark
				}
				return "FRTH0"
			}),
		},
		"S2": {
			claims(func(n *memoryMember, ids []string) (map[string]txlog.Holder, error) { // knows only what was claimed
				n.log.mu.Lock()
				for _, id := range ids {
					if n.log.claims[id] == nil && !strings.HasSuffix(id, "3") { // that one is of S5
						n.log.claims[id] = n
					}
				}
				n.log.mu.Unlock()
				return n.Claim(context.Background(), ids)
			}),
			claims(func(n *memoryMember, ids []string) (map[string]txlog.Holder, error) { // refuses all, or none
				refused, err := n.Claim(context.Background(), ids)
				if len(refused) > 0 {
					n.log.mu.Lock()
					defer n.log.mu.Unlock()
					maps.DeleteFunc(n.log.claims, func(id string, has *memoryMember) bool { return has == n && slices.Contains(ids, id) })
				}
				return refused, err
			}),
		},
		"S3": {
			claims(func(n *memoryMember, ids []string) (map[string]txlog.Holder, error) { // refuses what one has
				n.log.mu.Lock()
				again := slices.ContainsFunc(ids, func(id string) bool { return n.log.claims[id] == n && len(ids) == 2 && !n.log.closed })
				n.log.mu.Unlock()
				if again {
					return map[string]txlog.Holder{ids[0]: n.holder()}, nil
				}
				return n.Claim(context.Background(), ids)
			}),
			claims(func(n *memoryMember, ids []string) (map[string]txlog.Holder, error) { // looks first, and grants later
				if len(ids) > 3 {
					n.log.mu.Lock()
					for _, id := range ids {
						delete(n.log.claims, id)
					}
					n.log.mu.Unlock()
				}
				return n.Claim(context.Background(), ids)
			}),
			claims(func(n *memoryMember, ids []string) (map[string]txlog.Holder, error) { // what carries a mark is that member's for ever
				refused, err := n.Claim(context.Background(), ids)
				n.log.mu.Lock()
				defer n.log.mu.Unlock()
				for _, id := range ids {
					if owner := n.log.members[txlog.Mark(id)]; err == nil && owner != nil && owner != n && !owner.alive() {
						refused[id] = owner.holder()
					}
				}
				return refused, err
			}),
		},
		"S4": {
			wrapped(func(m *SharedMemory) txlog.Log { // to ask is to claim
				return alteredShared{SharedMemory: m, holders: func(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
					holders, err := m.Holders(ctx, ids)
					m.mu.Lock()
					defer m.mu.Unlock()
					for _, n := range m.members {
						for _, id := range ids {
							if n.log == m && err == nil && m.has(id) == nil {
								m.claims[id] = n
							}
						}
					}
					return holders, err
				}}
			}),
			func() Harness { // forgets what a member had claimed when it leaves
				return sharedHarness(lease, func(m *SharedMemory) txlog.Log {
					return alteredShared{SharedMemory: m, holders: func(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
						m.mu.Lock()
						maps.DeleteFunc(m.claims, func(_ string, n *memoryMember) bool { return n.left })
						m.mu.Unlock()
						return m.Holders(ctx, ids)
					}}
				})
			},
		},
		"S5": {
			func() Harness { // nobody renews, except by Claim
				return sharedHarness(200*time.Millisecond, func(m *SharedMemory) txlog.Log {
					m.Pause()
					return m
				})
			},
			func() Harness { // who was dead stays so
				h := sharedHarness(lease, func(m *SharedMemory) txlog.Log { return m })
				pause := h.Pause
				h.Pause = func(t TB) func() { pause(t); return func() {} }
				return h
			},
		},
		"S6": {func() Harness { // lets readers join
			h := sharedHarness(lease, func(m *SharedMemory) txlog.Log { return m })
			m := h.Log.(*SharedMemory)
			h.ReadOnly = func(TB) txlog.Log { return readingMember{m.ReadOnly().(*sharedReader), m} }
			return h
		}},
	}
}

// readingMember is a reader that joins.
type readingMember struct {
	*sharedReader
	m *SharedMemory
}

func (r readingMember) Join(ctx context.Context) (txlog.Member, error) { return r.m.Join(ctx) }

package logtest

import (
	"context"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"iter"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/xasql/xasql/txlog"
)

// TestEveryRuleHasItsCase compares the suite with the comments of txlog.Log, txlog.Shared and txlog.Notes.
func TestEveryRuleHasItsCase(t *testing.T) {
	want := map[string]string{}
	comments := typeComment(t, "../txlog.go", "Log") + typeComment(t, "../shared.go", "Shared") + typeComment(t, "../notes.go", "Notes")
	for _, m := range regexp.MustCompile(`(?m)^\t([LSN]\d+)\s+(.*(?:\n\t .*)*)`).FindAllStringSubmatch(comments, -1) {
		want[m[1]] = strings.Join(strings.Fields(m[2]), " ")
	}
	if len(want) < 22 {
		t.Fatalf("found %d rules in the comments of txlog.Log, txlog.Shared and txlog.Notes", len(want))
	}
	got := map[string]string{}
	for _, r := range rules() {
		got[r.number] = r.text
	}
	for _, number := range slices.Sorted(maps.Keys(want)) {
		if got[number] != want[number] {
			t.Errorf("%s of the contract is\n%s\nits case says\n%s", number, want[number], got[number])
		}
		delete(got, number)
	}
	for number := range got {
		t.Errorf("case %s has no rule", number)
	}
}

func typeComment(t *testing.T, path, name string) string {
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	for _, decl := range f.Decls {
		if g, ok := decl.(*ast.GenDecl); ok && g.Tok == token.TYPE && g.Specs[0].(*ast.TypeSpec).Name.Name == name {
			return g.Doc.Text() + "\n"
		}
	}
	return ""
}

// memoryHarness is a Memory behind wrap, which may break it.
func memoryHarness(wrap func(*Memory) txlog.Log) Harness {
	m := NewMemory()
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
	}
}

func TestMemoryConforms(t *testing.T) {
	for _, f := range []DecideFault{NotRecorded, LostRecorded, LostUnrecorded} {
		t.Run(fmt.Sprint("fault=", f), func(t *testing.T) {
			Run(t, func(TB) Harness {
				m := NewMemory()
				again := func(TB) txlog.Log { m.Reopen(); return m }
				return Harness{Log: m, Reopen: again, Crash: again, ReadOnly: func(TB) txlog.Log { return m.ReadOnly() }, Break: func(TB) { m.FailDecide(f) }}
			})
		})
	}
}

// altered is a log of which some methods are replaced.
type altered struct {
	txlog.Log
	decide func(context.Context, txlog.Decision) (txlog.Outcome, error)
	lookup func(context.Context, string) (txlog.Outcome, error)
	settle func(context.Context, string) error
	list   func(context.Context) iter.Seq2[txlog.Decision, error]
	id     func() string
	close  func() error
	note   func(context.Context, txlog.Note) error
	noted  func(context.Context, string) iter.Seq2[txlog.Note, error]
	forget func(context.Context, string) error
}

func (a altered) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	if a.decide != nil {
		return a.decide(ctx, d)
	}
	return a.Log.Decide(ctx, d)
}

func (a altered) Lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	if a.lookup != nil {
		return a.lookup(ctx, id)
	}
	return a.Log.Lookup(ctx, id)
}

func (a altered) Settle(ctx context.Context, id string) error {
	if a.settle != nil {
		return a.settle(ctx, id)
	}
	return a.Log.Settle(ctx, id)
}

func (a altered) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	if a.list != nil {
		return a.list(ctx)
	}
	return a.Log.Unsettled(ctx)
}

func (a altered) ID() string {
	if a.id != nil {
		return a.id()
	}
	return a.Log.ID()
}

func (a altered) Close() error {
	if a.close != nil {
		return a.close()
	}
	return a.Log.Close()
}

// brokenLogs has for each rule logs that break it, and no other.
func brokenLogs() map[string][]func() Harness {
	wrapped := func(wrap func(*Memory) txlog.Log) func() Harness {
		return func() Harness { return memoryHarness(wrap) }
	}
	plain := func(m *Memory) txlog.Log { return m }
	return map[string][]func() Harness{
		"L1": {wrapped(func(m *Memory) txlog.Log { // tells everybody what he wants to hear
			return altered{Log: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
				o, err := m.Decide(ctx, d)
				if err == nil && !m.isSettled(d.ID) {
					o = d.Outcome
				}
				return o, err
			}}
		})},
		"L2": {func() Harness { // loses the last decision in a crash
			h := memoryHarness(plain)
			m := h.Log.(*Memory)
			h.Crash = func(TB) txlog.Log {
				m.Reopen()
				for id, d := range m.decisions {
					if d.seq == m.seq {
						delete(m.decisions, id)
					}
				}
				return m
			}
			return h
		}},
		"L3": {wrapped(func(m *Memory) txlog.Log { // takes every failure for a definite no
			return altered{Log: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
				o, err := m.Decide(ctx, d)
				if err != nil {
					err = fmt.Errorf("%w: %w", txlog.ErrNotDecided, err)
				}
				return o, err
			}}
		})},
		"L4": {wrapped(func(m *Memory) txlog.Log { // takes an unknown outcome for none
			return altered{Log: m, lookup: func(ctx context.Context, id string) (txlog.Outcome, error) {
				o, err := m.Lookup(ctx, id)
				if m.isUnknown(id) {
					err = nil
				}
				return o, err
			}}
		})},
		"L5": {
			wrapped(func(m *Memory) txlog.Log { // forgets the second resource
				return altered{Log: m, list: changed(m, func(d txlog.Decision) txlog.Decision {
					if timed(d) {
						d.Resources = d.Resources[:min(1, len(d.Resources))]
					}
					return d
				})}
			}),
			wrapped(func(m *Memory) txlog.Log { // yields only commits where there is more than one
				return altered{Log: m, list: onlyCommits(m)}
			}),
			wrapped(func(m *Memory) txlog.Log { // reads a thousand, and no more
				return altered{Log: m, list: func(ctx context.Context) iter.Seq2[txlog.Decision, error] {
					return func(yield func(txlog.Decision, error) bool) {
						n := 0
						for d, err := range m.Unsettled(ctx) {
							if n++; n > 1000 || !yield(d, err) {
								return
							}
						}
					}
				}}
			}),
			wrapped(func(m *Memory) txlog.Log { // ends without a word when its context does
				return altered{Log: m, list: func(ctx context.Context) iter.Seq2[txlog.Decision, error] {
					return func(yield func(txlog.Decision, error) bool) {
						for d, err := range m.Unsettled(ctx) {
							if ctx.Err() != nil || !yield(d, err) {
								return
							}
						}
					}
				}}
			}),
		},
		"L6": {wrapped(func(m *Memory) txlog.Log { // forgets at once
			return altered{Log: m, settle: func(ctx context.Context, id string) error {
				if err := m.Settle(ctx, id); err != nil {
					return err
				}
				m.mu.Lock()
				defer m.mu.Unlock()
				delete(m.decisions, id)
				return nil
			}}
		}), wrapped(func(m *Memory) txlog.Log { return hastyCompactor{m} }), wrapped(func(m *Memory) txlog.Log { return poorHistorian{m} })},
		"L7": {
			func() Harness { // another identity at each opening
				h := memoryHarness(plain)
				m, n := h.Log.(*Memory), 0
				h.Reopen = func(TB) txlog.Log {
					m.Reopen()
					n++
					id := fmt.Sprint(m.ID(), n)
					return altered{Log: m, id: func() string { return id }}
				}
				return h
			},
			func() Harness { // made up again after a crash
				h := memoryHarness(plain)
				m := h.Log.(*Memory)
				h.Crash = func(TB) txlog.Log {
					m.Reopen()
					return altered{Log: m, id: func() string { return "another" }}
				}
				return h
			},
			func() Harness { // the same for all logs
				h := memoryHarness(plain)
				h.Log.(*Memory).id = "log"
				return h
			},
		},
		"L8": {wrapped(func(m *Memory) txlog.Log { // goes on after a failure
			return altered{Log: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
				o, err := m.Decide(ctx, d)
				m.mu.Lock()
				defer m.mu.Unlock()
				m.latched = false
				return o, err
			}}
		})},
		"L9": {wrapped(func(m *Memory) txlog.Log { // leaves it open whether a cancelled decision stands
			return altered{Log: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
				if err := ctx.Err(); err != nil {
					return 0, err
				}
				return m.Decide(ctx, d)
			}}
		}), wrapped(func(m *Memory) txlog.Log { // is unusable once a context has ended
			return altered{Log: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
				o, err := m.Decide(ctx, d)
				if ctx.Err() != nil {
					m.mu.Lock()
					defer m.mu.Unlock()
					m.latched = true
				}
				return o, err
			}}
		}), wrapped(func(m *Memory) txlog.Log { // records what it says it did not
			return altered{Log: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
				o, err := m.Decide(context.WithoutCancel(ctx), d)
				if err == nil && ctx.Err() != nil {
					return 0, notDecided(d.ID, ctx.Err())
				}
				return o, err
			}}
		})},
		"L10": {
			wrapped(func(m *Memory) txlog.Log { // answers after Close
				return altered{Log: m, lookup: func(ctx context.Context, id string) (txlog.Outcome, error) {
					o, err := m.Lookup(ctx, id)
					if m.isClosed() {
						err = nil
					}
					return o, err
				}}
			}),
			wrapped(func(m *Memory) txlog.Log { // can't be closed twice
				return altered{Log: m, close: func() error {
					if m.isClosed() {
						return txlog.ErrClosed
					}
					return m.Close()
				}}
			}),
		},
		"L12": {
			wrapped(func(m *Memory) txlog.Log { // cuts what is long
				return altered{Log: m, list: changed(m, func(d txlog.Decision) txlog.Decision {
					for i, e := range d.Evidence {
						d.Evidence[i] = e[:min(len(e), 255)]
					}
					return d
				})}
			}),
			wrapped(func(m *Memory) txlog.Log { // leaves out what is empty
				return altered{Log: m, list: changed(m, func(d txlog.Decision) txlog.Decision {
					d.Evidence = slices.DeleteFunc(d.Evidence, func(e string) bool { return e == "" })
					return d
				})}
			}),
			wrapped(func(m *Memory) txlog.Log { // keeps it in the memory of one opening
				return altered{Log: m, close: func() error {
					err := m.Close()
					m.mu.Lock()
					defer m.mu.Unlock()
					for _, d := range m.decisions {
						d.Evidence = nil
					}
					return err
				}}
			}),
			wrapped(func(m *Memory) txlog.Log { // refuses what it has no room for
				return altered{Log: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
					for _, e := range d.Evidence {
						if len(e) > 60_000 {
							return 0, notDecided(d.ID, fmt.Errorf("%d bytes of evidence", len(e)))
						}
					}
					return m.Decide(ctx, d)
				}}
			}),
			wrapped(func(m *Memory) txlog.Log { // keeps what matches no resource
				return altered{Log: m, decide: func(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
					o, err := m.Decide(ctx, d)
					m.mu.Lock()
					defer m.mu.Unlock()
					if kept := m.decisions[d.ID]; kept != nil && len(d.Evidence) < len(d.Resources) {
						kept.Evidence = slices.Clone(d.Evidence)
					}
					return o, err
				}}
			}),
		},
		"L11": {func() Harness { // settles for a reader
			h := memoryHarness(plain)
			m := h.Log.(*Memory)
			h.ReadOnly = func(TB) txlog.Log {
				r := m.ReadOnly()
				return altered{Log: r, settle: func(ctx context.Context, id string) error {
					_ = m.Settle(ctx, id)
					return r.Settle(ctx, id)
				}}
			}
			return h
		}},
	}
}

// hastyCompactor drops what is settled, whatever its retention.
type hastyCompactor struct{ *Memory }

func (c hastyCompactor) Compact(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.decisions, func(_ string, d *memoryDecision) bool { return d.settled })
	return nil
}

// poorHistorian lists only what is not settled.
type poorHistorian struct{ *Memory }

func (h poorHistorian) Entries(ctx context.Context) iter.Seq2[txlog.Entry, error] {
	return func(yield func(txlog.Entry, error) bool) {
		for d, err := range h.Unsettled(ctx) {
			if !yield(txlog.Entry{Decision: d}, err) {
				return
			}
		}
	}
}

func changed(m *Memory, f func(txlog.Decision) txlog.Decision) func(context.Context) iter.Seq2[txlog.Decision, error] {
	return func(ctx context.Context) iter.Seq2[txlog.Decision, error] {
		return func(yield func(txlog.Decision, error) bool) {
			for d, err := range m.Unsettled(ctx) {
				if !yield(f(d), err) {
					return
				}
			}
		}
	}
}

// timed reports whether the decision has such a time as only the case of L5 gives.
func timed(d txlog.Decision) bool { return d.At.Equal(at(d.At.Second())) }

func onlyCommits(m *Memory) func(context.Context) iter.Seq2[txlog.Decision, error] {
	return func(ctx context.Context) iter.Seq2[txlog.Decision, error] {
		return func(yield func(txlog.Decision, error) bool) {
			for d, err := range m.Unsettled(ctx) {
				if err == nil && timed(d) && d.Outcome == txlog.Aborted {
					continue
				}
				if !yield(d, err) {
					return
				}
			}
		}
	}
}

func (m *Memory) isSettled(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.decisions[id]
	return d != nil && d.settled
}

func (m *Memory) isUnknown(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unknown[id]
}

func (m *Memory) isClosed() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.closed
}

func TestEachBrokenLogIsCaughtByItsOwnCase(t *testing.T) {
	broken := brokenLogs()
	for _, others := range []map[string][]func() Harness{brokenSharedLogs(), brokenNoteLogs()} {
		for number, more := range others {
			broken[number] = append(broken[number], more...)
		}
	}
	for _, own := range rules() {
		if len(broken[own.number]) == 0 {
			t.Errorf("no log breaks %s", own.number)
		}
		for i, newHarness := range broken[own.number] {
			for _, r := range rules() {
				record := newRecorder(t)
				record.run(func() { runRule(record, r, func(TB) Harness { return newHarness() }) })
				if failed := record.Failed(); failed != (r.number == own.number) {
					t.Errorf("case %s with the %d. log that breaks %s: failed is %v\n%s", r.number, i+1, own.number, failed, record.text())
				} else if failed && !strings.Contains(record.text(), r.text) {
					t.Errorf("case %s fails without printing its rule:\n%s", r.number, record.text())
				}
			}
		}
	}
}

func TestAGapMustBeDeclared(t *testing.T) {
	for _, declared := range []bool{true, false} {
		record := newRecorder(t)
		gap := ""
		record.run(func() {
			gap = runRule(record, rules()[7], func(TB) Harness {
				h := memoryHarness(func(m *Memory) txlog.Log { return m })
				h.Break = nil
				if declared {
					h.Gaps = []string{"L8"}
				}
				return h
			})
		})
		if record.Failed() == declared || (gap != "") != declared {
			t.Errorf("a gap that is declared (%v): failed is %v, gap %q", declared, record.Failed(), gap)
		}
	}
}

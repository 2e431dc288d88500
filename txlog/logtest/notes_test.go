package logtest

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
)

func (a altered) Note(ctx context.Context, n txlog.Note) error {
	if a.note != nil {
		return a.note(ctx, n)
	}
	return a.Log.(txlog.Notes).Note(ctx, n)
}

func (a altered) Noted(ctx context.Context, id string) iter.Seq2[txlog.Note, error] {
	if a.noted != nil {
		return a.noted(ctx, id)
	}
	return a.Log.(txlog.Notes).Noted(ctx, id)
}

func (a altered) Forget(ctx context.Context, id string) error {
	if a.forget != nil {
		return a.forget(ctx, id)
	}
	return a.Log.(txlog.Notes).Forget(ctx, id)
}

// alteredSharedNotes is a shared log of which methods that concern notes are replaced.
type alteredSharedNotes struct {
	altered
	txlog.Shared
}

// forgetfulCompactor drops the notes.
type forgetfulCompactor struct{ *Memory }

func (c forgetfulCompactor) Compact(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.notes = nil
	return nil
}

// notedAs returns what m has noted as f makes it.
func notedAs(m *Memory, f func(id string, list []txlog.Note) []txlog.Note) func(context.Context, string) iter.Seq2[txlog.Note, error] {
	return func(ctx context.Context, id string) iter.Seq2[txlog.Note, error] {
		return func(yield func(txlog.Note, error) bool) {
			var list []txlog.Note
			for n, err := range m.Noted(ctx, "") {
				if err != nil {
					yield(n, err)
					return
				}
				list = append(list, n)
			}
			for _, n := range f(id, list) {
				if !yield(n, nil) {
					return
				}
			}
		}
	}
}

func only(id string, list []txlog.Note) []txlog.Note {
	return slices.DeleteFunc(list, func(n txlog.Note) bool { return id != "" && n.ID != id })
}

func (m *Memory) hasNote(like func(txlog.Note) bool) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.ContainsFunc(m.notes, like)
}

// drop drops notes behind the log's back.
func (m *Memory) drop(like func(txlog.Note) bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.notes = slices.DeleteFunc(m.notes, like)
}

// brokenNoteLogs has for each rule of notes logs that break it, and no other.
func brokenNoteLogs() map[string][]func() Harness {
	broken := map[string][]func() Harness{}
	for _, some := range []map[string][]func() Harness{brokenNotes(), brokenNoted(), brokenForget(), brokenSharedNotes()} {
		for number, more := range some {
			broken[number] = append(broken[number], more...)
		}
	}
	return broken
}

func private(wrap func(*Memory) txlog.Log) func() Harness {
	return func() Harness { return memoryHarness(wrap) }
}

func plain(m *Memory) txlog.Log { return m }

func brokenNotes() map[string][]func() Harness {
	noteAs := func(f func(m *Memory, n txlog.Note) error) func() Harness {
		return private(func(m *Memory) txlog.Log {
			return altered{Log: m, note: func(ctx context.Context, n txlog.Note) error {
				if m.isClosed() {
					return txlog.ErrClosed
				}
				return f(m, n)
			}}
		})
	}
	return map[string][]func() Harness{
		"N1": {
			func() Harness { // loses the last note in a crash
				h := memoryHarness(plain)
				m := h.Log.(*Memory)
				h.Crash = func(TB) txlog.Log {
					m.Reopen()
					m.notes = m.notes[:max(0, len(m.notes)-1)]
					return m
				}
				return h
			},
			private(func(m *Memory) txlog.Log { // what is settled needs no notes
				return altered{Log: m, settle: func(ctx context.Context, id string) error {
					m.drop(func(n txlog.Note) bool { return n.ID == id })
					return m.Settle(ctx, id)
				}}
			}),
			private(func(m *Memory) txlog.Log { return forgetfulCompactor{m} }),
			noteAs(func(m *Memory, n txlog.Note) error { // notes only on what is decided
				if o, _ := m.Lookup(context.Background(), n.ID); o == txlog.Undecided && n.ID == "never decided" {
					return nil
				}
				return m.Note(context.Background(), n)
			}),
		},
		"N2": {
			noteAs(func(m *Memory, n txlog.Note) error { // the last is kept
				m.drop(func(o txlog.Note) bool { return o.ID == n.ID && o.Kind == n.Kind && o.Resource == n.Resource })
				return m.Note(context.Background(), n)
			}),
			noteAs(func(m *Memory, n txlog.Note) error { // one of each kind
				if m.hasNote(func(o txlog.Note) bool { return o.ID == n.ID && o.Kind == n.Kind && n.ID == "t" }) {
					return nil
				}
				return m.Note(context.Background(), n)
			}),
			noteAs(func(m *Memory, n txlog.Note) error { // takes it for a mistake
				if m.hasNote(func(o txlog.Note) bool {
					return o.ID == n.ID && o.Kind == n.Kind && o.Resource == n.Resource && n.ID == "t"
				}) {
					return errors.New("duplicate key")
				}
				return m.Note(context.Background(), n)
			}),
		},
		"N5": {private(func(m *Memory) txlog.Log { // takes notes after it was closed, and loses them
			return altered{Log: m, note: func(ctx context.Context, n txlog.Note) error {
				if err := m.Note(ctx, n); !errors.Is(err, txlog.ErrClosed) {
					return err
				}
				return nil
			}}
		})},
	}
}

func brokenNoted() map[string][]func() Harness {
	notedBy := func(f func(id string, list []txlog.Note) []txlog.Note) func() Harness {
		return private(func(m *Memory) txlog.Log { return altered{Log: m, noted: notedAs(m, f)} })
	}
	return map[string][]func() Harness{
		"N3": {
			notedBy(func(id string, list []txlog.Note) []txlog.Note { // newest first
				slices.Reverse(list)
				return only(id, list)
			}),
			notedBy(func(_ string, list []txlog.Note) []txlog.Note { return list }), // all of them
			notedBy(func(id string, list []txlog.Note) []txlog.Note { // by transaction
				slices.SortStableFunc(list, func(a, b txlog.Note) int { return int(a.ID[0]) - int(b.ID[0]) })
				return only(id, list)
			}),
			notedBy(func(id string, list []txlog.Note) []txlog.Note { // loses who said it
				for i := range list {
					list[i].By = ""
				}
				return only(id, list)
			}),
			notedBy(func(id string, list []txlog.Note) []txlog.Note { // cuts the text
				for i := range list {
					list[i].Text = list[i].Text[:min(40, len(list[i].Text))]
				}
				return only(id, list)
			}),
			private(func(m *Memory) txlog.Log { // does not set the time
				return altered{Log: m, note: func(ctx context.Context, n txlog.Note) error {
					if n.At.IsZero() {
						n.At = time.Unix(0, 0)
					}
					return m.Note(ctx, n)
				}}
			}),
			private(func(m *Memory) txlog.Log { // ends without a word when its context does
				return altered{Log: m, noted: func(ctx context.Context, id string) iter.Seq2[txlog.Note, error] {
					return func(yield func(txlog.Note, error) bool) {
						for n, err := range m.Noted(ctx, id) {
							if ctx.Err() != nil || !yield(n, err) {
								return
							}
						}
					}
				}}
			}),
		},
		"N5": {
			private(func(m *Memory) txlog.Log { // yields nothing after it was closed, and no error
				return altered{Log: m, noted: func(ctx context.Context, id string) iter.Seq2[txlog.Note, error] {
					if m.isClosed() {
						return func(func(txlog.Note, error) bool) {}
					}
					return m.Noted(ctx, id)
				}}
			}),
			func() Harness { // shows readers nothing
				h := memoryHarness(plain)
				m := h.Log.(*Memory)
				h.ReadOnly = func(TB) txlog.Log {
					return altered{Log: m.ReadOnly(), noted: func(ctx context.Context, id string) iter.Seq2[txlog.Note, error] {
						return func(yield func(txlog.Note, error) bool) { yield(txlog.Note{}, txlog.ErrReadOnly) }
					}}
				}
				return h
			},
		},
	}
}

func brokenForget() map[string][]func() Harness {
	forgetAs := func(f func(m *Memory, id string) error) func() Harness {
		return private(func(m *Memory) txlog.Log {
			return altered{Log: m, forget: func(ctx context.Context, id string) error {
				if m.isClosed() {
					return txlog.ErrClosed
				}
				return f(m, id)
			}}
		})
	}
	return map[string][]func() Harness{
		"N4": {
			forgetAs(func(m *Memory, id string) error { // the first only
				first := true
				m.drop(func(n txlog.Note) bool {
					drop := first && n.ID == id
					first = first && !drop
					return drop
				})
				return nil
			}),
			forgetAs(func(m *Memory, _ string) error { // everything
				m.drop(func(txlog.Note) bool { return true })
				return nil
			}),
			forgetAs(func(m *Memory, id string) error { // takes it for a mistake
				if !m.hasNote(func(n txlog.Note) bool { return n.ID == id }) {
					return errors.New("no such note")
				}
				return m.Forget(context.Background(), id)
			}),
			func() Harness { // remembers after a crash
				var forgotten []txlog.Note
				h := memoryHarness(func(m *Memory) txlog.Log {
					return altered{Log: m, forget: func(ctx context.Context, id string) error {
						before := slices.Collect(maps.Keys(maps.Collect(m.Noted(ctx, id))))
						forgotten = append(forgotten, before...)
						return m.Forget(ctx, id)
					}}
				})
				m := h.Log.(altered).Log.(*Memory)
				h.Crash = func(TB) txlog.Log {
					m.Reopen()
					m.notes = append(m.notes, forgotten...)
					return m
				}
				return h
			},
			func() Harness { // takes no notes any more on what was forgotten
				forgotten := map[string]bool{}
				return memoryHarness(func(m *Memory) txlog.Log {
					return altered{Log: m,
						note: func(ctx context.Context, n txlog.Note) error {
							if forgotten[n.ID] {
								return nil
							}
							return m.Note(ctx, n)
						},
						forget: func(ctx context.Context, id string) error {
							err := m.Forget(ctx, id)
							forgotten[id] = err == nil
							return err
						}}
				})
			},
		},
		"N5": {func() Harness { // forgets for a reader
			h := memoryHarness(plain)
			m := h.Log.(*Memory)
			h.ReadOnly = func(TB) txlog.Log {
				r := m.ReadOnly()
				return altered{Log: r, forget: func(ctx context.Context, id string) error {
					_ = m.Forget(ctx, id)
					return r.(txlog.Notes).Forget(ctx, id)
				}}
			}
			return h
		}},
	}
}

// brokenSharedNotes are logs that are well as long as there is one opening.
func brokenSharedNotes() map[string][]func() Harness {
	shared := func(alter func(m *SharedMemory, own map[string]bool) altered) func() Harness {
		return func() Harness {
			return sharedHarness(10*time.Millisecond, func(m *SharedMemory) txlog.Log {
				a := alter(m, map[string]bool{})
				a.Log = m
				return alteredSharedNotes{a, m}
			})
		}
	}
	noteOwn := func(m *SharedMemory, own map[string]bool) func(context.Context, txlog.Note) error {
		return func(ctx context.Context, n txlog.Note) error {
			m.mu.Lock()
			own[n.ID] = true
			m.mu.Unlock()
			return m.Note(ctx, n)
		}
	}
	return map[string][]func() Harness{
		"N1": {shared(func(m *SharedMemory, own map[string]bool) altered { // sees only what it has noted itself
			return altered{note: noteOwn(m, own), noted: notedAs(m.Memory, func(id string, list []txlog.Note) []txlog.Note {
				m.mu.Lock()
				defer m.mu.Unlock()
				return slices.DeleteFunc(only(id, list), func(n txlog.Note) bool { return n.ID == "noted" && !own[n.ID] })
			})}
		})},
		"N2": {shared(func(m *SharedMemory, own map[string]bool) altered { // each keeps a first one
			return altered{note: func(ctx context.Context, n txlog.Note) error {
				m.mu.Lock()
				key := n.ID + n.Kind.String() + n.Resource
				first := !own[key] && !m.closed
				if own[key] = true; first {
					if n.At.IsZero() {
						n.At = time.Now()
					}
					m.notes = append(m.notes, n)
				}
				m.mu.Unlock()
				if first {
					return nil
				}
				return m.Note(ctx, n)
			}}
		})},
		"N4": {shared(func(m *SharedMemory, own map[string]bool) altered { // forgets only what it has noted itself
			return altered{note: noteOwn(m, own), forget: func(ctx context.Context, id string) error {
				m.mu.Lock()
				skip := !own[id] && id == "three"
				m.mu.Unlock()
				if skip {
					return nil
				}
				return m.Forget(ctx, id)
			}}
		})},
	}
}

func TestALogWithoutNotesIsNotAskedForThem(t *testing.T) {
	type withoutNotes struct{ txlog.Log }
	for _, r := range noteRules() {
		record := newRecorder(t)
		gap := ""
		record.run(func() {
			gap = runRule(record, r, func(TB) Harness {
				return memoryHarness(func(m *Memory) txlog.Log { return withoutNotes{m} })
			})
		})
		if record.Failed() || gap != "not a log that keeps notes" {
			t.Errorf("%s of a log without notes: failed is %v, gap %q", r.number, record.Failed(), gap)
		}
	}
}

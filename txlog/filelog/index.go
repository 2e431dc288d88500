package filelog

import (
	"fmt"
	"slices"
	"time"

	"github.com/xasql/xasql/txlog"
)

// index is what the log knows, in memory: the unsettled decisions, those settled since the last compaction, registrations and notes. It
// holds only what is on the disk, but for settling.
type index struct {
	decisions   map[string]entry
	identities  map[string]string
	notes       map[string][]txlog.Note // by ID, in the order of noting
	residence   *residence              // nil where none is noted
	first, last *unsettled              // in the order of deciding
	open        int                     // how many are unsettled
	names       nameLists
	spare       *unsettled // to be used again, linked by next
}

// entry is one decision. There may be hundreds of thousands of settled ones: it is kept small.
type entry struct {
	unsettled *unsettled // nil once settled
	settledAt int64      // in nanoseconds since 1970
	sec       int64      // when it was decided
	nsec      uint32
	segment   uint32 // the one that the decision was written to; compaction may have moved it to a later one
	outcome   txlog.Outcome
	resources *[]string // shared with others
}

func (e entry) at() time.Time { return time.Unix(e.sec, int64(e.nsec)).UTC() }

// unsettled is what is known of a decision until it is settled.
type unsettled struct {
	txlog.Decision
	prev, next *unsettled
}

func newIndex() *index {
	return &index{decisions: map[string]entry{}, identities: map[string]string{}, notes: map[string][]txlog.Note{}}
}

// apply notes a record that was read from, or written to, the segment. A decision that contradicts an
// earlier one is an error, and changes nothing: the first stands.
func (x *index) apply(r *record, segment uint64) error {
	switch r.kind {
	case kindCommit, kindAbort, kindEvident:
		if e, ok := x.decisions[r.id]; ok {
			if e.outcome != r.kind.outcome() {
				return fmt.Errorf("%q is %s here and %s before", r.id, r.kind.outcome(), e.outcome)
			}
			return nil
		}
		u := x.link()
		names, evidence := r.named()
		resources := x.names.shared(names)
		u.Decision = txlog.Decision{ID: r.id, Outcome: r.kind.outcome(), Resources: *resources, At: r.at, Evidence: evidence}
		x.decisions[r.id] = entry{unsettled: u, segment: uint32(segment), outcome: u.Outcome,
			sec: r.at.Unix(), nsec: uint32(r.at.Nanosecond()), resources: resources}
	case kindSettle:
		x.settle(r.id, r.at)
	case kindRegister:
		x.identities[r.id] = r.resources[0]
	case kindNote:
		x.keepNote(r.note())
	case kindForget:
		delete(x.notes, r.id)
	case kindPlace:
		found, err := parseResidence(r)
		if err != nil {
			return err
		}
		x.residence = found
	}
	return nil
}

// settle reports whether the decision was unsettled.
func (x *index) settle(id string, at time.Time) bool {
	e := x.decisions[id]
	if e.unsettled == nil {
		return false
	}
	x.unlink(e.unsettled)
	e.unsettled, e.settledAt = nil, at.UnixNano()
	x.decisions[id] = e
	return true
}

func (x *index) link() *unsettled {
	u := x.spare
	if u == nil {
		u = &unsettled{}
	} else {
		x.spare = u.next
	}
	u.prev, u.next = x.last, nil
	if x.last == nil {
		x.first = u
	} else {
		x.last.next = u
	}
	x.last = u
	x.open++
	return u
}

func (x *index) unlink(u *unsettled) {
	if u.prev == nil {
		x.first = u.next
	} else {
		u.prev.next = u.next
	}
	if u.next == nil {
		x.last = u.prev
	} else {
		u.next.prev = u.prev
	}
	x.open--
	*u = unsettled{}
	if x.open < 1<<10 { // what a backlog needed is given back
		u.next, x.spare = x.spare, u
	} else {
		x.spare = nil
	}
}

// list returns the unsettled decisions, oldest first.
func (x *index) list() []txlog.Decision {
	list := make([]txlog.Decision, 0, x.open)
	for u := x.first; u != nil; u = u.next {
		list = append(list, u.Decision)
	}
	return list
}

// forget drops settled decisions that were written no later than to the segment.
func (x *index) forget(ids []string, segment uint64) {
	for _, id := range ids {
		if e, ok := x.decisions[id]; ok && e.unsettled == nil && uint64(e.segment) <= segment {
			delete(x.decisions, id)
		}
	}
}

// nameLists keeps one copy of the lists of resources that come again and again, as an application has few of them.
type nameLists struct {
	recent [8]*[]string
	next   int
}

// shared returns a list with the same names, which nobody changes.
func (n *nameLists) shared(names []string) *[]string {
	for _, list := range n.recent {
		if list != nil && slices.Equal(*list, names) {
			return list
		}
	}
	list := slices.Clone(names)
	n.recent[n.next%len(n.recent)] = &list
	n.next++
	return &list
}

// interner returns a function that makes strings of bytes, and keeps one copy of those that come again, as the
// names of resources do.
func interner() func([]byte) string {
	seen := map[string]string{}
	return func(b []byte) string {
		if s, ok := seen[string(b)]; ok {
			return s
		}
		s := string(b)
		if len(seen) < 1024 {
			seen[s] = s
		}
		return s
	}
}

func clone(d txlog.Decision) txlog.Decision {
	d.Resources, d.Evidence = slices.Clone(d.Resources), slices.Clone(d.Evidence)
	return d
}

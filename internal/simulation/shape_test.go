package simulation

import (
	"fmt"
	"slices"

	"github.com/xasql/xasql/internal/memdb"
)

// shape is what runs without faults.
type shape struct {
	name     string
	styles   []memdb.Style // of the databases: one branch each
	txs      int           // at once
	reads    bool          // the last branch only reads
	poison   bool          // the engine aborts the last branch of t1, and the application ignores its statement's error
	resolver bool          // after a crash recovery.Resolver recovers, as xa-recover does; else a new manager
	reverse  bool          // among calls at once the last database's come first
	hand     bool          // a person finishes branches
	swapped  bool          // the process after a crash is given another database by the first one's name
	disk     bool          // the log is one in files, on a disk in memory
	shared   bool          // the log is shared with two more living processes, which recover all the time
}

// The styles of engine.
var (
	plain = memdb.Style{AbortOnError: true}                                        // as PostgreSQL
	bound = memdb.Style{SessionBound: true, ReadOnlyVotes: true, NoIdentity: true} // as MariaDB
	proof = memdb.Style{Proof: true, ReadOnlyVotes: true}                          // as SQLite
	mixed = []memdb.Style{plain, bound, proof}

	evident = memdb.Style{AbortOnError: true, Proof: true, Evidence: true} // as PostgreSQL, with what proves a branch's outcome
)

// shapes are all shapes, by what they are made of.
func shapes() []shape {
	var out []shape
	for _, styles := range []struct {
		name string
		of   []memdb.Style
	}{{"plain", slices.Repeat([]memdb.Style{plain}, 3)}, {"bound", slices.Repeat([]memdb.Style{bound}, 3)},
		{"proof", slices.Repeat([]memdb.Style{proof}, 3)}, {"mixed", mixed}} {
		for branches := 1; branches <= 3; branches++ {
			for txs := 1; txs <= 2; txs++ {
				s := shape{name: fmt.Sprintf("%s-%db%dt", styles.name, branches, txs), styles: styles.of[:branches], txs: txs}
				out = append(out, s, s.with("-resolver", func(s *shape) { s.resolver = true }))
				if branches > 1 {
					out = append(out, s.with("-reads", func(s *shape) { s.reads = true }))
					out = append(out, s.with("-poison", func(s *shape) { s.poison = true }))
					out = append(out, s.with("-hand", func(s *shape) { s.hand = true }))
					out = append(out, s.with("-shared", func(s *shape) { s.shared = true }))
				}
				if styles.name == "plain" || styles.name == "mixed" { // they can tell which database they are
					out = append(out, s.with("-swapped", func(s *shape) { s.swapped = true }))
				}
				if branches > 1 && styles.name == "mixed" {
					out = append(out, s.with("-reverse", func(s *shape) { s.reverse = true }))
				}
			}
		}
	}
	for _, styles := range []struct {
		name string
		of   []memdb.Style
	}{{"plain", slices.Repeat([]memdb.Style{plain}, 3)}, {"mixed", mixed}} {
		for _, n := range [][2]int{{2, 1}, {2, 2}, {3, 2}} {
			s := shape{name: fmt.Sprintf("%s-%db%dt-disk", styles.name, n[0], n[1]), styles: styles.of[:n[0]], txs: n[1], disk: true}
			out = append(out, s, s.with("-resolver", func(s *shape) { s.resolver = true }))
		}
	}
	e := shape{name: "evident-2b1t", styles: []memdb.Style{evident, evident}, txs: 1}
	return append(out, e, e.with("-resolver", func(s *shape) { s.resolver = true }), e.with("-hand", func(s *shape) { s.hand = true }),
		e.with("-hand-resolver", func(s *shape) { s.hand, s.resolver = true, true }), e.with("-shared", func(s *shape) { s.shared = true }))
}

func (s shape) with(suffix string, change func(*shape)) shape {
	s.name += suffix
	change(&s)
	return s
}

func (s shape) bound() bool {
	return slices.ContainsFunc(s.styles, func(st memdb.Style) bool { return st.SessionBound })
}

func shapeNamed(name string) (shape, bool) {
	all := shapes()
	i := slices.IndexFunc(all, func(s shape) bool { return s.name == name })
	if i < 0 {
		return shape{}, false
	}
	return all[i], true
}

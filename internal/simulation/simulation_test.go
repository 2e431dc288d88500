package simulation

import (
	"flag"
	"slices"
	"strings"
	"testing"
)

var (
	full   = flag.Bool("full", false, "run all placements of two events, for all shapes")
	replay = flag.String("schedule", "", "the schedule that TestReplay runs")
	only   = flag.String("shapes", "", "run these shapes only, separated by commas")
)

// TestOneEvent places every event at every point of every shape.
func TestOneEvent(t *testing.T) {
	var all []placements
	for _, s := range chosen() {
		all = append(all, placements{shape: s})
	}
	t.Log("all shapes:", explore(t, all))
}

// TestTwoEvents places every pair of events: for all shapes with -full, else for those with two branches and one transaction.
func TestTwoEvents(t *testing.T) {
	var all []placements
	for _, s := range chosen() {
		if *full || *only != "" || slices.Contains(pairsInCI, s.name) {
			all = append(all, placements{shape: s, pairs: true})
		}
	}
	t.Log("all shapes:", explore(t, all))
}

var pairsInCI = []string{"plain-2b1t", "mixed-2b1t", "bound-2b1t-resolver", "proof-2b1t"}

// TestReplay runs the one schedule that -schedule gives, and prints its calls.
func TestReplay(t *testing.T) {
	if *replay == "" {
		t.Skip("no -schedule was given")
	}
	s, err := parseSchedule(*replay)
	if err != nil {
		t.Fatal(err)
	}
	r := bubble(t, s)
	for i, p := range r.reached {
		mark := " "
		if slices.Contains(r.fired, i) {
			mark = "*"
		}
		t.Log(mark, p)
	}
	if len(r.violations) > 0 {
		t.Error(failure(s, r))
	}
}

// chosen are the shapes that -shapes names, or all.
func chosen() []shape {
	if *only == "" {
		return shapes()
	}
	var out []shape
	for name := range strings.SplitSeq(*only, ",") {
		s, ok := shapeNamed(name)
		if !ok {
			panic("no shape is named " + name)
		}
		out = append(out, s)
	}
	return out
}

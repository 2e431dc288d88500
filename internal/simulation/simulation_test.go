package simulation

import (
	"flag"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
)

var (
	full   = flag.Bool("full", false, "run all placements of two events, for all shapes")
	replay = flag.String("schedule", "", "the schedule that TestReplay runs")
	only   = flag.String("shapes", "", "run these shapes only, separated by commas")
)

// TestMain lets a panic show all goroutines, with their labels: the schedule is one.
func TestMain(m *testing.M) {
	debug.SetTraceback("all")
	os.Setenv("GODEBUG", strings.TrimPrefix(os.Getenv("GODEBUG")+",tracebacklabels=1", ","))
	os.Exit(m.Run())
}

// TestOneEvent places every event at every point of every shape; under the race detector, of a few shapes.
func TestOneEvent(t *testing.T) {
	few := []string{"plain-1b1t", "mixed-2b2t", "bound-2b1t-resolver", "mixed-2b2t-shared"}
	var all []placements
	for _, s := range chosen() {
		if !racing || *only != "" || slices.Contains(few, s.name) {
			all = append(all, placements{shape: s})
		}
	}
	t.Log("all shapes:", explore(t, all))
}

// TestTwoEvents places every pair of events: with -full or -shapes for all shapes, else for some.
func TestTwoEvents(t *testing.T) {
	every := func(placed, bool) bool { return true }
	some := map[string]func(placed, bool) bool{
		"plain-2b1t":          every,
		"bound-2b1t-resolver": every,
		"proof-2b1t":          every,
		"mixed-2b1t":          every,
		// A vote fails, and then a person finishes a branch.
		"mixed-2b1t-hand": func(e placed, second bool) bool {
			byHand := e.event == handCommit || e.event == handRollback
			return byHand && second || !second && e.op == "prepare"
		},
		// The disk fails, and then the machine stops.
		"plain-2b2t-disk": func(e placed, second bool) bool {
			stops := slices.Contains([]event{crashBefore, crashAfter, killAfter}, e.event)
			return stops && second || !stops && !second && e.place == "disk"
		},
		// The coordinator stands still at any step of its transaction, and at any step of the two recoveries one of all three stands still or crashes.
		"mixed-2b1t-shared": func(e placed, second bool) bool {
			halts := slices.Contains([]event{pauseShort, pauseLong, crashBefore, crashAfter}, e.event)
			return halts && (second || e.actor == "t1" && e.event != crashBefore && e.event != crashAfter)
		},
	}
	var all []placements
	for _, s := range chosen() {
		pair := some[s.name]
		switch {
		case *full || *only != "":
			pair = every
		case racing:
			pair = nil
		}
		if pair != nil {
			all = append(all, placements{s, pair})
		}
	}
	t.Log("all shapes:", explore(t, all))
}

// TestReplay runs the schedule that -schedule gives, and prints its calls. Without one it shows on some what it relies on: that a schedule's
// text names it, and that it runs the same way each time.
func TestReplay(t *testing.T) {
	texts := []string{
		"plain-1b1t: p1/t1/A.commit-one-phase#1=hang-after",
		"plain-2b1t: p1/t1/log.decide(t1)#1=latch-lost-after; p2/bg/A.commit-prepared(t1)#1=down",
		"bound-3b2t: p1/t2/B.prepare#1=power-after; p2/bg/B.end-session(t2)#1=crash-after",
		"mixed-3b2t-reverse: p1/t1/A.commit#1=lost-after",
		"proof-2b1t-hand: p1/t1/B.commit#1=hand-rollback",
		"mixed-3b2t-shared: p1/t1/log.decide(t1)#1=pause-long; p3/bg/C.rollback-prepared(t1)#1=crash-before",
		"mixed-3b2t-shared: p1/t1/A.commit#1=pause-long; p3/bg/log.claim#1=pause-long",
	}
	if *replay != "" {
		texts = []string{*replay}
	}
	for _, text := range texts {
		s, err := parseSchedule(text)
		if err != nil {
			t.Fatal(err)
		}
		if s.String() != text && *replay == "" {
			t.Errorf("%s is printed as %s", text, s)
		}
		r := bubble(t, s)
		for i, p := range r.reached {
			mark := " "
			if slices.Contains(r.fired, i) {
				mark = "*"
			}
			if *replay != "" {
				t.Log(mark, p)
			}
		}
		if len(r.violations) > 0 {
			t.Error(failure(s, r))
		}
		for range repeats {
			if again := bubble(t, s); !slices.Equal(again.reached, r.reached) {
				t.Errorf("%s went another way when it ran again", text)
			}
		}
	}
}

// repeats is how often a schedule that runs once more must run the same way.
const repeats = 20

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

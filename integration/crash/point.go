package crash

import "slices"

// Outcome is what must come of a transaction.
type Outcome string

const (
	Committed Outcome = "committed" // in both databases
	Aborted   Outcome = "aborted"   // in neither
	First     Outcome = "first"     // in the first database, the only one that it was about
	Told      Outcome = "told"      // in both or neither, as the application was told
)

// Twist is what else a point needs.
type Twist string

const (
	OnePhase  Twist = "one-phase" // the second database takes no part
	NoVote    Twist = "no-vote"   // the second branch refuses to prepare
	Unreached Twist = "unreached" // no branch hears of the commit in the transaction itself
	Compact   Twist = "compact"   // the log is compacted once the decision stands
	Written   Twist = "written"   // the log's file keeps what was not synced
)

// Point is where a transaction stops.
type Point struct {
	Name  string
	Stop  string   // the event
	Hold  []string // other events that wait for the release
	Twist Twist
	// Killed is what recovery must make of it when the application is killed there, and Lives what the application must
	// bring it to when a server is killed and the application goes on.
	Killed, Lives Outcome
	Doubt         string // the branches that are in doubt then: "", "a", "b" or "ab"
}

// Points returns the points of a transaction, in its order.
//
// The log's file forgets at SIGKILL what was not synced, as the disk does when the power fails; Written is the twist by which it does not.
func Points() []Point {
	second := func(event string) []string { return []string{event + " b"} }
	return []Point{
		{"begun", "begun", nil, "", Aborted, Told, ""},
		{"worked-one", "worked a", nil, "", Aborted, Told, ""},
		{"worked-both", "worked b", nil, "", Aborted, Told, ""},
		{"prepare-sent", "prepare-reply a", second("prepare-start"), "", Aborted, Aborted, "a"},
		{"prepared-one", "prepare-done a", second("prepare-start"), "", Aborted, Told, "a"},
		{"prepared-all", "decide-start", nil, "", Aborted, Committed, "ab"},
		{"log-unsynced", "log-sync", nil, "", Aborted, Committed, "ab"},
		{"log-written", "log-sync", nil, Written, Committed, Committed, "ab"},
		{"decided", "decide-done", nil, "", Committed, Committed, "ab"},
		{"commit-sent", "commit-reply a", second("commit-start"), "", Committed, Committed, "b"},
		{"committed-one", "commit-done a", second("commit-start"), "", Committed, Committed, "b"},
		{"committed-all", "settle", nil, "", Committed, Committed, ""},
		{"background", "finished a", second("finish"), Unreached, Committed, Committed, "b"},
		{"compact-written", "log-rename", []string{"decide-done"}, Compact, Committed, Committed, "ab"},
		{"compact-renamed", "log-remove", []string{"decide-done"}, Compact, Committed, Committed, "ab"},
		{"refused", "rollback-start a", nil, NoVote, Aborted, Aborted, "a"},
		{"rollback-sent", "rollback-reply a", nil, NoVote, Aborted, Aborted, ""},
		{"one-phase", "one-phase-reply a", nil, OnePhase, First, First, ""},
	}
}

// Recoveries returns the points of a recovery, in its order.
func Recoveries() []Point {
	return []Point{
		{Name: "listed", Stop: "listed b", Hold: []string{"listed a"}},
		{Name: "aborted", Stop: "aborted"},
		{Name: "between", Stop: "finished a", Hold: []string{"finish b"}},
		{Name: "unsettled", Stop: "settle"},
	}
}

// Find returns the point of that name, the zero Point for "".
func Find(points []Point, name string) Point {
	i := slices.IndexFunc(points, func(p Point) bool { return p.Name == name })
	if i < 0 {
		return Point{}
	}
	return points[i]
}

// Reaches tells whether recovery after a crash at p comes by the point r of [Recoveries].
func (p Point) Reaches(r Point) bool {
	switch r.Name {
	case "listed":
		return p.Doubt != ""
	case "aborted":
		return p.Doubt != "" && p.Killed == Aborted
	case "between":
		return p.Doubt == "ab"
	}
	return p.Doubt != "" || p.Killed == Committed
}

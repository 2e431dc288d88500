package integration

import (
	"os"
	"slices"
	"testing"

	"github.com/xasql/xasql/integration/crash"
	"github.com/xasql/xasql/integration/engines"
)

// matrixStop is where a transaction is stopped, and where the recovery of the crash there is stopped, if it is.
type matrixStop struct{ point, then crash.Point }

// matrixCase is a case, and what it is to tell.
type matrixCase struct {
	crash.Case
	matrixStop
	engines [2]engines.Engine
}

// matrixRound is what is killed at once, when all its cases are parked.
type matrixRound struct {
	kind        string // of kill, as counted
	cases       []matrixCase
	application bool                                    // is killed; otherwise it goes on
	servers     []engines.Engine                        // that are killed
	recover     func(*testing.T, *matrix, []matrixCase) // once the application was killed
}

// Whatever is killed at whatever point of the protocol, the application, a server or both at once: after recovery, by the application's
// restart or by xa-recover, the transaction is in both of its databases or in neither, as its decision log has it, nothing is left prepared,
// unsettled or locked, and what the application was told is true. Every pair of engines, one engine twice included. XA_MATRIX=full runs all
// combinations; without it both orders of a pair, the two ways of recovery and the places of a second crash share the cases among them.
func TestWhateverIsKilledWhereverTransactionsAreAllOrNothing(t *testing.T) {
	full := os.Getenv("XA_MATRIX") == "full"
	m := newMatrix(t)
	for _, r := range slices.Concat(m.applicationRounds(full), m.bothRounds(full), m.serverRounds(full)) {
		for wave := range slices.Chunk(r.cases, matrixWave) {
			r.cases = wave
			m.run(t, r)
		}
	}
	for _, kind := range m.kinds {
		t.Logf("%-50s %5d cases", kind, m.ran[kind])
	}
}

// matrixWave is how many cases are parked at once, so that each server holds some hundred connections and prepared branches of them.
const matrixWave = 260

// matrixStops returns where the cases are stopped: at every point, and twice; all such combinations, or those that leave recovery the most to do.
func matrixStops(full bool) (once, twice []matrixStop) {
	for _, p := range crash.Points() {
		once = append(once, matrixStop{point: p})
		for _, r := range crash.Recoveries() {
			if p.Reaches(r) && (full || p.Name == "decided" || p.Name == "prepared-all") {
				twice = append(twice, matrixStop{p, r})
			}
		}
	}
	return once, twice
}

// cases makes the cases of all pairs that satisfy the condition. Of a pair's two orders, which decide the branch that the point is
// about, each stop gets one, the other one where swap is set; or both.
func (m *matrix) cases(stops []matrixStop, both, swap bool, keep func(a, b engines.Engine) bool) []matrixCase {
	var cases []matrixCase
	for n, s := range stops {
		for i, a := range m.engines {
			for j, b := range m.engines[i:] {
				if !keep(a, b) {
					continue
				}
				turned := (n+i+j)%2 == 0 != swap
				if both || !turned {
					cases = append(cases, matrixCase{matrixStop: s, engines: [2]engines.Engine{a, b}})
				}
				if both && a != b || !both && turned {
					cases = append(cases, matrixCase{matrixStop: s, engines: [2]engines.Engine{b, a}})
				}
			}
		}
	}
	return cases
}

// applicationRounds kill the application alone.
func (m *matrix) applicationRounds(full bool) []matrixRound {
	all := func(a, b engines.Engine) bool { return true }
	var rounds []matrixRound
	for _, stops := range pairOf(matrixStops(full)) {
		rounds = append(rounds,
			matrixRound{kind: "application, then restart", cases: m.cases(stops, full, false, all), application: true, recover: matrixRestart},
			matrixRound{kind: "application, then xa-recover", cases: m.cases(stops, full, true, all), application: true, recover: matrixResolve})
	}
	return rounds
}

func pairOf(once, twice []matrixStop) [2][]matrixStop { return [2][]matrixStop{once, twice} }

// bothRounds kill the application and all servers at once.
func (m *matrix) bothRounds(full bool) []matrixRound {
	servers := func(a, b engines.Engine) bool { return a != sqlite || b != sqlite }
	var rounds []matrixRound
	for i, stops := range pairOf(matrixStops(full)) {
		ways := []func(*testing.T, *matrix, []matrixCase){matrixRestart, matrixResolve}
		if !full {
			ways = ways[i : i+1]
		}
		for _, way := range ways {
			rounds = append(rounds, matrixRound{kind: "application and servers", cases: m.cases(stops, full, i == 1, servers),
				application: true, servers: engines.All(), recover: way})
		}
	}
	return rounds
}

// serverRounds kill one server of every pair, the application goes on. The servers die in sets, so that a few rounds are enough for all pairs
// and either victim: each server is in two of four sets, no two servers in the same two.
func (m *matrix) serverRounds(full bool) []matrixRound {
	once, twice := matrixStops(full)
	stops := once
	if full {
		stops = slices.Concat(once, twice)
	}
	sets := [][2]int{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}
	servers := engines.All()
	dies := func(e engines.Engine, round int) bool {
		i := slices.Index(servers, e)
		return i >= 0 && slices.Contains(sets[i][:], round)
	}
	var rounds []matrixRound
	for round := range 4 {
		r := matrixRound{kind: "one server"}
		for _, e := range servers {
			if dies(e, round) {
				r.servers = append(r.servers, e)
			}
		}
		r.cases = m.cases(stops, full, round%2 == 1, func(a, b engines.Engine) bool {
			return dies(a, round) != dies(b, round) || a == b && dies(a, round)
		})
		rounds = append(rounds, r)
	}
	return rounds
}

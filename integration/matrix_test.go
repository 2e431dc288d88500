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

// Whatever is killed at whatever point of the protocol, the application, a server or both at once, the other server alive or not: after recovery, by the application's
// restart or by xa-recover, the transaction is in both of its databases or in neither, as its decision log has it, nothing is left prepared,
// unsettled or locked, and what the application was told is true. Every pair of engines, one engine twice included. XA_MATRIX=full runs all
// combinations; without it both orders of a pair, the two ways of recovery and the places of a second crash share the cases among them.
func TestWhateverIsKilledWhereverTransactionsAreAllOrNothing(t *testing.T) {
	full := os.Getenv("XA_MATRIX") == "full"
	m := newMatrix(t)
	rounds := slices.Concat(m.applicationRounds(full), m.bothRounds(full), m.serverRounds(full), m.oneAndApplicationRounds(full))
	left := 0
	for _, r := range rounds {
		left += len(r.cases)
	}
	for _, r := range rounds {
		for wave := range slices.Chunk(r.cases, matrixWave) {
			r.cases = wave
			m.run(t, r)
			left -= len(wave)
			t.Logf("%d cases to go", left)
		}
	}
	for _, kind := range m.kinds {
		t.Logf("%-50s %5d cases", kind, m.ran[kind])
	}
}

// matrixWave is how many cases are parked at once, so that each server holds some hundred connections and prepared branches of them.
const matrixWave = 270

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
		restart := m.cases(stops, full, false, all)
		resolve := restart
		if !full {
			restart, resolve = matrixShared(restart, len(stops))
		}
		rounds = append(rounds,
			matrixRound{kind: "application, then restart", cases: restart, application: true, recover: matrixRestart},
			matrixRound{kind: "application, then xa-recover", cases: resolve, application: true, recover: matrixResolve})
	}
	return rounds
}

// matrixShared shares the cases between two ways of recovery, so that each way has every stop with half of the pairs, in both orders.
func matrixShared(cases []matrixCase, stops int) (one, other []matrixCase) {
	pairs := len(cases) / stops
	for k, c := range cases {
		if (k%pairs+k/pairs/2)%2 == 0 {
			one = append(one, c)
		} else {
			other = append(other, c)
		}
	}
	return one, other
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

// serverRounds kill one server of every pair, the application goes on. Unless all are wanted each pair's possible victims die in it once.
func (m *matrix) serverRounds(full bool) []matrixRound {
	var rounds []matrixRound
	for round := range matrixRounds {
		keep := func(a, b engines.Engine) bool {
			victim, ok := matrixVictim(a, b, round)
			for earlier := range round {
				if before, again := matrixVictim(a, b, earlier); again && before == victim && !full {
					return false
				}
			}
			return ok
		}
		for _, stops := range matrixLives(full) {
			rounds = append(rounds, matrixRound{kind: "one server", cases: m.cases(stops, full, round%2 == 1, keep), servers: matrixVictims(round)})
		}
	}
	return rounds
}

// matrixLives returns the stops of a round each: those of the second process are apart, as the first one of a round is killed for them.
func matrixLives(full bool) [][]matrixStop {
	once, twice := matrixStops(full)
	if full {
		return [][]matrixStop{once, twice}
	}
	return [][]matrixStop{once}
}

// oneAndApplicationRounds kill the application and one server of every pair of two, at once; all combinations, or two rounds with every other pair.
func (m *matrix) oneAndApplicationRounds(full bool) []matrixRound {
	ways := []func(*testing.T, *matrix, []matrixCase){matrixRestart, matrixResolve}
	var rounds []matrixRound
	for round := range matrixRounds {
		for _, stops := range matrixLives(full) {
			r := matrixRound{kind: "application and one server", application: true, servers: matrixVictims(round), recover: ways[round%2]}
			r.cases = m.cases(stops, full, round%2 == 1, func(a, b engines.Engine) bool {
				_, ok := matrixVictim(a, b, round)
				return ok && a != b
			})
			if !full && (round == 1 || round == 2) { // each server dies in one of them, but for a PostgreSQL
				r.cases, _ = matrixShared(r.cases, len(stops))
			} else if !full {
				continue
			}
			rounds = append(rounds, r)
		}
	}
	return rounds
}

// matrixRounds is in how many rounds the servers die in sets, so that all pairs and either victim have their turn: each server is in two of the
// sets, no two servers in the same two.
const matrixRounds = 4

// matrixVictims returns the servers that die in a round.
func matrixVictims(round int) []engines.Engine {
	in := [][2]int{{0, 1}, {0, 2}, {0, 3}, {1, 2}, {1, 3}, {2, 3}}
	var victims []engines.Engine
	for i, e := range engines.All() {
		if in[i][0] == round || in[i][1] == round {
			victims = append(victims, e)
		}
	}
	return victims
}

// matrixVictim returns which of a pair's databases dies in the round; false: none, or both.
func matrixVictim(a, b engines.Engine, round int) (engines.Engine, bool) {
	victims := matrixVictims(round)
	first, second := slices.Contains(victims, a), slices.Contains(victims, b)
	if first {
		return a, !second || a == b
	}
	return b, second
}

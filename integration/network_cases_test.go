package integration

import (
	"fmt"
	"slices"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/faultproxy"
	"github.com/xasql/xasql/integration/ledger"
)

// netPoint is a statement of the protocol at which the network can fail.
type netPoint struct {
	name     string
	postgres string // what the request holds; "": there is none
	mysql    string
	mariadb  string
	way      netWay
}

// netWay is how a transaction gets to a point.
type netWay uint8

const (
	netWork         netWay = iota // before the decision
	netRollBack                   // the application's function fails
	netRollPrepared               // it is marked rollback-only when it has prepared
	netCommit                     // after the decision
	netOnePhase                   // there is but one branch
	netInDoubt                    // recovery commits it: the first COMMIT did not reach the server
	netPresumed                   // recovery rolls it back: the answer to PREPARE was lost
)

func netPoints() []netPoint {
	const pgList, myList = "WHERE database = pg_catalog.current_database()", "XA RECOVER"
	const maEnd = "XA PREPARE x'"
	return []netPoint{
		{"begin", "BEGIN NOT DEFERRABLE", "XA START", "XA START", netWork},
		{"work", "insert into entries", "insert into entries", "insert into entries", netWork},
		{"end", "pg_current_xact_id_if_assigned()::text", "XA END", "", netWork},
		{"prepare", "PREPARE TRANSACTION 'xasql.", maEnd, maEnd, netWork},
		{"roll back", "ROLLBACK; SELECT 1", "XA ROLLBACK", "XA ROLLBACK", netRollBack},
		{"roll back prepared", "ROLLBACK PREPARED", "XA ROLLBACK", "XA ROLLBACK", netRollPrepared},
		{"commit prepared", "COMMIT PREPARED", "XA COMMIT", "XA COMMIT", netCommit},
		{"commit in one phase", "'off'; COMMIT", "ONE PHASE", "ONE PHASE", netOnePhase},
		{"list at recovery", pgList, myList, myList, netInDoubt},
		{"commit at recovery", "COMMIT PREPARED", "XA COMMIT", "XA COMMIT", netInDoubt},
		{"roll back at recovery", "ROLLBACK PREPARED", "XA ROLLBACK", "XA ROLLBACK", netPresumed},
	}
}

// text is what the point's request holds on an engine, "" where it has none.
func (p netPoint) text(kind string) string {
	switch kind {
	case engines.Postgres:
		return p.postgres
	case engines.MySQL:
		return p.mysql
	}
	return p.mariadb
}

// inRecovery tells whether the point is reached by recovery, after the transaction has ended.
func (p netPoint) inRecovery() bool { return p.way == netInDoubt || p.way == netPresumed }

// netFault is what happens to the network. It lasts until the test heals it.
type netFault struct {
	name   string
	do     func(*faultproxy.Proxy)
	silent bool // the client hears nothing: it waits
}

func netFaults() []netFault {
	return []netFault{
		{"cut", (*faultproxy.Proxy).Cut, false},
		{"reset", (*faultproxy.Proxy).Reset, false},
		{"hang", (*faultproxy.Proxy).Hang, true},
		{"strand", (*faultproxy.Proxy).Strand, true},
	}
}

// netCase is one fault at one moment of one statement on one engine.
type netCase struct {
	engine engines.Engine
	point  netPoint
	when   faultproxy.When
	fault  netFault
	closed bool // the manager is closed as soon as the network is healed: recovery.Resolver finds all as it is left
}

func (c netCase) String() string {
	by := "manager"
	if c.closed {
		by = "resolver"
	}
	return fmt.Sprintf("%s: %s %s %s, recovered by the %s", c.engine, c.fault.name, c.when, c.point.name, by)
}

// netCases are all of an engine.
func netCases(e engines.Engine) []netCase {
	var cases []netCase
	for _, p := range netPoints() {
		if p.text(e.Kind) == "" {
			continue
		}
		for _, f := range netFaults() {
			for _, w := range []faultproxy.When{faultproxy.Before, faultproxy.During, faultproxy.Lost, faultproxy.After} {
				cases = append(cases, netCase{e, p, w, f, len(cases)%2 == 1})
			}
		}
	}
	return cases
}

// expect returns what Commit may answer. What it answers must be true besides.
func (c netCase) expect() []ledger.Outcome {
	passed := c.when == faultproxy.After
	switch c.point.way {
	case netCommit, netInDoubt:
		return []ledger.Outcome{ledger.Committed}
	case netOnePhase:
		if passed {
			return []ledger.Outcome{ledger.Committed}
		}
		return []ledger.Outcome{ledger.Unknown}
	case netWork:
		switch {
		case c.point.name == "prepare" && passed:
			return []ledger.Outcome{ledger.Committed} // the log is a local file
		case c.point.name == "begin" && c.fault.name == "reset" && !passed:
			// A branch goes on to the next connection of the pool, as nothing was done on the first.
			return []ledger.Outcome{ledger.Committed, ledger.RolledBack}
		}
	}
	return []ledger.Outcome{ledger.RolledBack}
}

// abandoned tells whether the caller's context ends when the fault has struck: nothing else would end the wait.
func (c netCase) abandoned() bool {
	return c.fault.silent && c.point.way == netWork && !slices.Contains(c.expect(), ledger.Committed)
}

// patience is the manager's Config.CompletionTimeout. It is low only where the transaction waits until it is over, since the answer does not come before the
// network is healed: elsewhere a disk that stands still for so long would change what Commit answers, or end the transaction before the fault has struck.
func (c netCase) patience() time.Duration {
	if !c.fault.silent || c.point.inRecovery() || c.point.way == netOnePhase && c.when == faultproxy.After {
		return netLimit
	}
	return 1500 * time.Millisecond
}

// late tells whether a PREPARE may reach its server, or be executed, after a recovery has looked: the next one finds it. Where the other branch is on a
// server, too, its PREPARE is cut off when the caller gives up.
func (c netCase) late(both bool) bool {
	return c.point.name == "prepare" && (c.when == faultproxy.Before && c.fault.name == "hang" || c.when == faultproxy.During || both && c.abandoned())
}

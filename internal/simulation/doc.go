// Package simulation is a test: it runs manager, recovery and log over databases in memory and a decision log, places faults at
// every call that they make, and checks after each run what was promised. The log is one in memory, or, in the shapes named disk, package filelog's over a
// disk in memory that loses what was not synced. It has no code of its own outside of its tests.
//
//	go test ./internal/simulation                            # what CI runs; -v prints the counts
//	go test ./internal/simulation -timeout 0 -full           # all placements of two events, for all shapes: hours
//	go test ./internal/simulation -run TestTwoEvents -shapes plain-3b1t,mixed-2b2t   # for some
//	go test ./internal/simulation -run TestReplay -v -schedule 'plain-2b1t: p1/t1/A.prepare#1=crash-after'
//
// # Words
//
// A shape is what runs without faults: how many branches and transactions, on which kinds of engine, recovered by whom. A point is one call that a
// process makes of a database or of the log: p1/t1/A.prepare#1 is process p1's first Prepare on database A for transaction t1. A
// schedule is a shape and the events that happen at points of it. The events are listed in event_test.go.
//
// # How it is deterministic
//
// A run lives in a testing/synctest bubble, whose clock moves only when all goroutines wait. Each actor of each process has, for each database,
// an instant of its own in every period of that clock, and makes its calls then: so no two
// calls are ever made at once, and the same schedule runs the same way each time. Other orders of calls are had by pausing
// processes. A crashed process's goroutines run on, but nothing that they call does anything any more.
//
// # What is checked
//
// After each run, when everybody has recovered: each transaction's writes are in all of its databases or in none (in all where Commit returned nil, in none
// where it returned ErrRolledBack); ErrHeuristic, by Commit or in a recovery's report, only where the schedule has a person finish a branch;
// nothing is prepared, no decision unsettled, none was settled while a database still held a branch of it; living processes got there by themselves, and a database that
// failed kept none from starting; no goroutine, no pinned or pooled connection is left over that should not be; no
// statement ran twice; a log in files can always be opened again. The checker is tested with made-up histories.
//
// # Limits
//
// Calls that may be made at once are made in one order, or, in the shapes so named, in its reverse; others by pauses only. A log call that hangs ends after 20 s by
// itself, where the caller sets no limit. Nothing takes time in the calls by which a transaction admits a database that did not answer at Open:
// it recovers then, alone, and who of several that wait comes next would be chance, or, where they wait for a mutex, would stop the bubble's clock. For the same reason two
// transactions run one after the other when an event came before them, and a manager is not closed while its background recovers.
//
// # Mutants
//
// mutants holds deliberate breaks of the rules P1 to P14, each a patch with a header; scripts/mutants.sh applies them one at
// a time to a copy of the tree, and fails if one is not caught. Its header names the test that must: this package's, or another's where the rule keeps a
// promise that no outcome shows, as that recovery leaves alone what is live, whose abort the log would settle the same way for all.
package simulation

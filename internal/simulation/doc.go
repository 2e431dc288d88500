// Package simulation is a test: it runs manager, recovery and log over databases and a decision log in memory, places faults at
// every call that they make, and checks after each run what was promised. It has no code of its own outside of its tests.
//
//	go test ./internal/simulation                            # what CI runs; -v prints the counts
//	go test ./internal/simulation -timeout 0 -full           # all placements of two events, for all shapes
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
// # Mutants
//
// mutants holds deliberate breaks of the rules P1 to P14, each a patch with a header; scripts/mutants.sh applies them one at
// a time to a copy of the tree, and fails if one is not caught.
package simulation

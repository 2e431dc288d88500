// Package logtest is the conformance suite of decision logs, and a log in memory for tests.
//
// [Run] has one case for each rule in the comment of [txlog.Log]. The author of a log calls it from a test:
//
//	func TestLog(t *testing.T) {
//		logtest.Run(t, func(t logtest.TB) logtest.Harness { ... })
//	}
//
// Where the log is [txlog.Shared] or [txlog.Notes] there is one for each rule of that, too. [KillTest] kills processes that decide, and [Benchmark]
// measures.
//
// [Memory] keeps the rules, tells every operation as a line of text, and fails on request: the tests of
// those who use a log are written with it. [SharedMemory] is one that several openings share.
//
// # Failure
//
// A case that fails prints its rule. What a log can't be asked to do (be broken on purpose, be opened
// read-only) is left out of its Harness; the cases that need it are then reported as gaps, and
// counted, never passed over in silence.
//
// # Concurrency
//
// A Memory is safe for concurrent use. Cases run one after another.
package logtest

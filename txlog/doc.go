// Package txlog is the contract of the decision log: what the author of a log reads. Package filelog is
// the embedded default, package sqllog a table that many processes share.
//
// A log is a durable write-once register for each global transaction. Whoever writes first is
// right, for the live coordinator and for recovery alike: that is all the consensus that two-phase
// commit needs. Abort is presumed: a transaction of which the log knows nothing has not committed.
//
// # Optional interfaces
//
// A Log may also implement [Shared], [Registrar], [Witness], [Historian], [Compactor] and [Notes].
//
// # Conformance
//
// The rules are numbered in the comment of [Log]; package logtest has one case a rule.
package txlog

// Package drivers is the contract between the transaction manager and a database engine:
// what package database/sql/driver is to database/sql. Application code needs only [Resource];
// the rest is for the author of a driver, and for package recovery.
//
// A [Driver] maps the two phases of a distributed commit to an engine's own primitives. It is
// stateless: everything that it knows of a [Branch] lives in that Branch, in the connection that the
// branch is pinned to, or in the database. Recovery, perhaps in another process on another machine,
// works from the database alone.
//
// # Optional interfaces
//
// A Driver may also implement these; the callers discover them by type assertion:
//
//   - [Checker]: is this server, as this user, fit for XA
//   - [Classifier]: what kind of failure is this error
//   - [Identifier]: which database is this
//   - [SessionEnder]: end a session that holds a prepared branch hostage
//   - [Finisher]: finish branches that were just listed, many of them
//   - [Prover]: what has become of a branch
//   - [Blocker]: what a prepared branch stands in the way of
//   - [Locker]: which tables a prepared branch has locked
//
// A Branch may also implement [ReadOnlyBranch], [Explainer] and [EvidentBranch].
//
// # Conformance
//
// The rules are numbered in the comments of [Driver] and [Branch]. Package drivertest has one case a
// rule; a driver that passes it works with package xa.
//
// # Concurrency
//
// A Driver is used by many goroutines at once. A Branch is used by one goroutine at a time.
package drivers

// Package recovery settles what a crash, or a lost connection, left in doubt. It is the only place that
// decides what becomes of a prepared branch that nobody works on: the manager's background work,
// xa.Open and the command xa-recover all run a [Resolver].
//
//	r := recovery.Resolver{Log: log, Resources: resources}
//	report, err := r.Resolve(ctx)
//
// # How it decides
//
// For each database on its own: list the prepared branches, keep those whose ID was made under this log
// and whose qualifier is this resource, leave those that are live in this process, or that another living member of a shared log
// has in hand, and ask the log.
// What is committed is committed; what is undecided is first written down as aborted and then rolled
// back, so that a coordinator that wakes up late finds Aborted too. Before that the databases are asked whose driver is a [drivers.Prover]: where
// one proves that it has committed, the log has lost a decision, so the rest is committed too, and it is noted for a person. A decision is settled
// when every database that it names has answered, is the same database as before, and holds nothing more of it.
//
// A branch that a database finished against the decision is a heuristic outcome: it is noted in the log, where the log keeps notes, and
// stays in every later [Report] until a person has it forgotten. What only a person can decide is decided by [Resolver.Finish].
//
// # Failure
//
// A database that is down, slow or refuses stops neither the others nor the call: the [Report] names
// it, and what was left and why. Running again is always right, at any time, twice at once, and after a crash of recovery itself.
//
// # Concurrency
//
// A Resolver is a value without state; its methods may run concurrently.
package recovery

// Package xa runs global transactions over several SQL databases: they commit in all of them or in none, whatever
// crashes when. It is what an application imports, as it imports database/sql.
//
// The application keeps its own pools. It wraps them in a [Manager], with a decision log, and runs functions in
// transactions with [Manager.Do]; a [Branch] for each database it touches has the methods of *sql.Tx. Code that knows only *sql.DB joins
// through [Manager.DB]; what is beyond database/sql, such as bulk loads, goes through [Branch.Raw].
//
//	log, err := filelog.Open("/var/lib/shop/xalog", nil)
//	m, err := xa.Open(ctx, xa.Config{Log: log, Resources: []xa.Resource{
//		{Name: "orders", DB: pg, Driver: postgres.New()},
//		{Name: "stock", DB: my, Driver: mysql.New()},
//	}})
//	err = m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error { … })
//
// # The protocol
//
// It is two-phase commit with presumed abort. A transaction that touches one database, or changes only one, commits in
// one phase, at the price of a plain COMMIT. Otherwise all branches are prepared in parallel; when
// all have voted yes, the decision is written to the log; then all are committed in parallel. The steps are in commit.go.
//
// A global transaction is atomic, not a global snapshot: another reader can see one database committed a moment before the next.
//
// # Failure
//
// errors.Is tells what became of a transaction: see [Tx.Commit]. A nil error means that the decision to commit is durable.
// What a crash or a lost connection leaves in doubt is settled by the manager's background, by the next [Open], or
// by the command xa-recover; until then the database keeps the branch's locks. Where a branch's fate is in doubt its connection is
// discarded, never given back to the pool.
//
// Connections are pinned: a transaction holds one of each pool that it enlists, from its first statement there to its end. Two
// transactions that enlist the same exhausted pools in opposite order wait for each other until
// one's timeout is over. Enlist in one order everywhere, or in one call with [Tx.Branches].
//
// # Concurrency
//
// A [Manager] and a [Tx] may be used by many goroutines at once; statements on one branch run one after the other.
package xa

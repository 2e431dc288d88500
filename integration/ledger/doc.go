// Package ledger is money in several databases, kept so that the databases alone tell whether every global transaction was
// all or nothing. A transfer writes one entry, and changes one account's balance, in each of its databases. Every
// entry says how many databases have one of the same transfer, and the amounts of a transfer add up to zero.
//
// A program that makes transfers tells what it learned of each, line by line ([Tell]); after it was killed and the
// databases were recovered, [Check] compares what was told with what the databases hold. Check uses nothing of
// the packages under test.
//
// # Failure
//
// Check returns every contradiction as a sentence; none means that nothing is wrong. A transfer of which nothing was told may have
// happened or not, but in all its databases alike.
//
// # Concurrency
//
// The functions keep no state. [Read] must not run beside transfers: it takes the two tables one after the other.
package ledger

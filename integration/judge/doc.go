// Package judge tells whether transfers between databases were all or nothing, from two things alone: what those who
// made them were told, and what the databases hold. It shares no code with the packages under test: its only means are
// database/sql and the clients of the engines, and a test holds that.
//
// A transfer writes entries, and changes the balances of the accounts that they name, in one or more databases. Before it does anything it tells
// what it is going to write, and afterwards how it ended ([Teller]). [Create] makes the tables, [Database.Book] reads them at one
// moment, [Check] compares, and [Judge] does all of it, after waiting for what is in doubt to be settled.
//
// # Failure
//
// A contradiction is a [Violation]; an error means that nothing was proved: a database does not answer, or what was told is damaged.
// A line that was told before its program was killed with SIGKILL is there; a machine that loses its power loses lines.
//
// # Concurrency
//
// The functions keep no state. Judge must run while nobody makes transfers.
package judge

// Package handletest compares a handle of package xa with the plain one, call by call: the same random sequence of database/sql's
// calls is made on both, and every outcome must be the same: values, columns and their types, errors and what they are.
//
//	handletest.Outside(t, handletest.Config{Seed: seed}, handletest.Side{DB: plain}, handletest.Side{DB: m.DB("orders"), Raw: xa.Raw})
//
// Each side has a table of its own, in a database of its own, that [Config.Create] has made. The statements are such as every engine
// knows; [Config.Rebind] gives them the engine's placeholders.
//
// # Failure
//
// The first difference fails the test, with the seed, the calls up to there, and both outcomes. What the sequence leaves open is closed;
// then neither pool may have a connection in use.
//
// # Concurrency
//
// One sequence is made by one goroutine. Sequences on different databases may run at once.
package handletest

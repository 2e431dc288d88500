// Package drivertest is the conformance suite of package drivers: a driver that passes it works with the
// transaction manager and with recovery.
//
//	func TestConformance(t *testing.T) {
//		drivertest.Run(t, func(t *testing.T) drivertest.Harness {
//			dsn, table := newTable(t) // an empty table of keys and values, dropped by t.Cleanup
//			return drivertest.Harness{
//				Driver:     mydb.New(),
//				Open:       func() (*sql.DB, error) { return sql.Open("mydb", dsn) },
//				Put:        "REPLACE INTO " + table + " (k, v) VALUES (?, ?)",
//				Insert:     "INSERT INTO " + table + " (k, v) VALUES (?, ?)",
//				Get:        "SELECT v FROM " + table + " WHERE k = ?",
//				Isolation:  []sql.IsolationLevel{sql.LevelReadCommitted, sql.LevelSerializable},
//				ReadOnlyTx: true,
//			}
//		})
//	}
//
// # Cases and rules
//
// There is one case for each numbered rule of [drivers.Driver] and [drivers.Branch], and one for each optional interface.
// A case's name begins with its rule, so -run 'TestConformance/D5' runs that case alone; the rule's
// text is printed when it fails. A test of this package holds that no rule lacks a case.
//
// Each case gets a fresh [Harness], opens pools of its own, and ends with the invariant: it left nothing prepared and no connection
// in use, and every pooled connection runs a plain statement that others see.
//
// # Gaps
//
// The suite never asks a driver's name. What an engine can't do is declared in the Harness; the suite
// then checks that it is refused as documented, rather than done halfway. What a Harness leaves nil, because there is no way to
// bring it about, is named in the case's log (go test -v).
//
// # Failure
//
// A case that fails still discards its connections and rolls back its own branches, so that the cases after it start
// from a database without them. Branches of others are never touched.
//
// # Concurrency
//
// The cases run one after another. Their XIDs are random: suites may share a server, where each has a table of its own.
// A case takes one or a few transactions; no case sleeps, and what needs waiting for is polled.
package drivertest

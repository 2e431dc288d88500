// Package crash names the points at which the crash matrix stops a transaction before something is killed, and what must come of the
// transaction then. The program that stops (command parking) and the test that kills have it in common.
//
// A point is an event of the protocol, as the program sees it: "prepare-start b" comes before the second branch is asked to
// prepare, "prepare-reply a" when the first one's server has answered and nobody has read that. At a point's Stop the transaction says that it
// is parked, and waits; at its Hold it waits silently. The events' names are those of [Points] and [Recoveries].
package crash

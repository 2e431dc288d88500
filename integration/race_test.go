//go:build race

package integration

// raceEnabled: the programs are built as the test is.
const raceEnabled = true

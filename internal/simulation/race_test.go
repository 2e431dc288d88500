//go:build race

package simulation

// racing: the race detector makes a run ten times slower, and looks for what the first schedules show: few run under it.
const racing = true

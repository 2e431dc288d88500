package simulation

import (
	"sync"
)

// runShared runs the transactions in one process, while two more that share its log recover all the time: one as xa-recover does, one as a
// manager without transactions of its own.
func (w *world) runShared() {
	var over sync.WaitGroup
	coordinator, other, tool := w.process("p1"), w.process("p2"), w.process("p3")
	done := make(chan struct{})
	ended := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	over.Go(func() { tool.resolve(ended) })
	om := other.open()
	if m := coordinator.open(); m != nil {
		w.transactions(coordinator, m)
		for _, p := range w.processes {
			p.awake()
		}
		w.settled(w.processes...)
		coordinator.close(m)
	}
	close(done)
	over.Wait()
	if om != nil {
		other.close(om)
	}
	for _, p := range w.processes {
		p.exit()
	}
	w.restart()
}

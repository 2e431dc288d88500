package xa

import (
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
)

// Trace is a set of hooks into the commit protocol, any of which may be nil. They are called synchronously, at the very
// point that their name tells: what a hook does delays the protocol there. Those of one
// transaction's branches may run concurrently.
type Trace struct {
	BranchStart   func(BranchEvent) // a branch has started, or failed to: Err
	PrepareStart  func(BranchEvent) // Prepare is about to be sent
	PrepareDone   func(BranchEvent) // its answer: Vote or Err
	DecideStart   func(TxEvent)     // all branches are prepared, the decision is about to be written
	DecideDone    func(TxEvent)     // the log's answer: Decision or Err
	CommitStart   func(BranchEvent) // the commit is about to be sent; OnePhase or phase two
	CommitDone    func(BranchEvent) // its answer
	RollbackStart func(BranchEvent) // the rollback is about to be sent
	RollbackDone  func(BranchEvent) // its answer
	Settled       func(TxEvent)     // every branch has confirmed, the log has been told
	TxDone        func(TxEvent)     // the transaction has ended; Err is what the caller gets
	Recovered     func(RecoveryEvent)
}

// BranchEvent is one step of one branch.
type BranchEvent struct {
	XID      drivers.XID
	Vote     drivers.Vote  // of PrepareDone
	OnePhase bool          // of CommitStart and CommitDone
	Elapsed  time.Duration // of the events that end in Done
	Err      error
}

// TxEvent is one step of a transaction.
type TxEvent struct {
	ID       string
	Decision txlog.Outcome // of DecideDone: the outcome that stands
	Err      error
}

// RecoveryEvent is the end of one recovery, in the background or by [Manager.Recover].
type RecoveryEvent struct {
	Report recovery.Report
	Err    error
}

// call runs a hook that may be nil.
func call[E any](hook func(E), event E) {
	if hook != nil {
		hook(event)
	}
}

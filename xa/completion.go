package xa

import (
	"fmt"
	"log/slog"
	"runtime/debug"
)

// AfterCompletion makes f be called once, when the transaction has ended and its outcome is known, whoever ended it: Commit,
// Rollback, Do, a panic, a timeout, or the manager's Close. err is what Commit returns for that outcome: nil when the
// decision to commit is durable, else [ErrRolledBack], [ErrOutcomeUnknown] or [ErrHeuristic], by errors.Is. What recovery makes of an unknown
// outcome later is not told.
//
// The hooks are called one after the other, in the order in which they were given, by the goroutine that ended the transaction, before
// its Commit or Rollback returns. A panic of a hook is logged, and changes nothing. After the end f is called at once.
func (t *Tx) AfterCompletion(f func(err error)) {
	t.mu.Lock()
	if t.state != ended {
		t.hooks = append(t.hooks, f)
		t.mu.Unlock()
		return
	}
	t.mu.Unlock()
	<-t.done
	t.tell(f)
}

// tell calls a hook, and survives it.
func (t *Tx) tell(hook func(err error)) {
	defer func() {
		if p := recover(); p != nil {
			t.m.cfg.Logger.Error("a hook of AfterCompletion has panicked", slog.String(keyID, t.id), slog.Any(keyError, fmt.Errorf("%v\n%s", p, debug.Stack())))
		}
	}()
	hook(t.err)
}

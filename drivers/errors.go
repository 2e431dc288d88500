package drivers

import "errors"

var (
	// ErrUnknownXID is returned when the database holds no such branch. It tells nothing of the
	// branch's outcome (rule P1).
	ErrUnknownXID = errors.New("no such prepared branch")
	// ErrHeld is returned when a live session still holds the branch: not yet, try again (rule P12).
	ErrHeld = errors.New("branch is held by a live session")
	// ErrRolledBack is returned when the engine has surely rolled the branch back.
	ErrRolledBack = errors.New("branch was rolled back by the database")
	// ErrCommitted is returned by a rollback when the engine proves that the branch was committed.
	ErrCommitted = errors.New("branch was committed")
	// ErrHeuristic is returned when a prepared branch can be finished only by overwriting what somebody else did around it, or
	// when the database has finished it on its own against the outcome asked for: nothing was changed, and a person must look.
	ErrHeuristic = errors.New("heuristic outcome: a person must look")
	// ErrNotSupported is returned when the engine can't do what was asked; the text tells the way out.
	ErrNotSupported = errors.New("not supported")
)

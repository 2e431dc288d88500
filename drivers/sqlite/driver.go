package sqlite

import (
	"fmt"

	"github.com/xasql/xasql/drivers"
)

// New returns the driver for SQLite. It holds nothing: one may serve any number of files, and two may serve the same one.
//
// It implements [drivers.Checker], [drivers.Classifier], [drivers.Identifier], [drivers.Prover] and, as far as can be told, [drivers.Blocker] too. A build that can't
// carry branches (see Limits) refuses every call with [drivers.ErrNotSupported], and says what is missing.
func New() drivers.Driver { return driver{} }

// ErrChanged is returned by Commit and CommitPrepared when somebody has changed the database around the fence since
// the branch was prepared. Nothing was applied, and the branch is still prepared: look at what the text names, and
// decide by hand. A rollback is always possible.
//
// It is [drivers.ErrHeuristic] as well.
var ErrChanged = fmt.Errorf("the database was changed since the branch was prepared: %w", drivers.ErrHeuristic)

package layout

import (
	"context"
	"database/sql"
	"iter"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/drivers/sqlite"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/txlog/sqllog"
	"github.com/xasql/xasql/xa"
)

// What programs compile against: it fails to compile when a signature changes.
var (
	_ func(context.Context, xa.Config) (*xa.Manager, error)                                        = xa.Open
	_ func(*xa.Manager, context.Context, *xa.TxOptions, func(context.Context, *xa.Tx) error) error = (*xa.Manager).Do
	_ func(*xa.Manager, context.Context, *xa.TxOptions) (*xa.Tx, error)                            = (*xa.Manager).Begin
	_ func(*xa.Manager, string) *sql.DB                                                            = (*xa.Manager).DB
	_ func(*xa.Manager, context.Context) (recovery.Report, error)                                  = (*xa.Manager).Recover
	_ func(*xa.Manager, context.Context) error                                                     = (*xa.Manager).Shutdown
	_ func(*xa.Manager) error                                                                      = (*xa.Manager).Close
	_ func(*xa.Tx) string                                                                          = (*xa.Tx).ID
	_ func(*xa.Tx, context.Context, string) (*xa.Branch, error)                                    = (*xa.Tx).Branch
	_ func(*xa.Tx, context.Context) error                                                          = (*xa.Tx).Commit
	_ func(*xa.Tx, context.Context) error                                                          = (*xa.Tx).Rollback
	_ func(*xa.Tx, error)                                                                          = (*xa.Tx).SetRollbackOnly
	_ func(context.Context, *xa.Tx) context.Context                                                = xa.NewContext
	_ func(context.Context) (*xa.Tx, bool)                                                         = xa.FromContext
	_ func(string, *filelog.Options) (*filelog.Log, error)                                         = filelog.Open
	_ func(string) (*filelog.Log, error)                                                           = filelog.OpenReadOnly
	_ func(context.Context, *sql.DB, sqllog.Dialect, *sqllog.Options) (*sqllog.Log, error)         = sqllog.Open
	_                                                                                              = []sqllog.Dialect{sqllog.Postgres, sqllog.MySQL, sqllog.SQLite}
	_                                                                                              = []txlog.Log{(*filelog.Log)(nil), (*sqllog.Log)(nil)}
	_ func(context.Context, *sql.DB) error                                                         = sqlite.Remove
	_ func(*recovery.Resolver, context.Context) (recovery.Report, error)                           = (*recovery.Resolver).Scan
	_ func(*recovery.Resolver, context.Context) (recovery.Report, error)                           = (*recovery.Resolver).Resolve
	_ func(string) (drivers.XID, error)                                                            = drivers.ParseXID
	_                                                                                              = []error{xa.ErrRolledBack, xa.ErrOutcomeUnknown, xa.ErrHeuristic, txlog.ErrCorrupt, txlog.ErrOwned, txlog.ErrReadOnly, txlog.ErrClosed}
	_                                                                                              = []error{drivers.ErrUnknownXID, drivers.ErrHeld, drivers.ErrRolledBack, drivers.ErrNotSupported}
	_                                                                                              = []drivers.Driver{postgres.New(), mysql.New(), sqlite.New()}
	_                                                                                              = []drivers.Vote{drivers.VotePrepared, drivers.VoteReadOnly}
	_                                                                                              = []txlog.Outcome{txlog.Undecided, txlog.Committed, txlog.Aborted}
	_                                                                                              = txlog.Decision{ID: "", Outcome: txlog.Committed, Resources: []string{}, At: time.Time{}}
	_                                                                                              = drivers.XID{FormatID: 0, GTRID: "", BQual: ""}
	_                                                                                              = drivers.Prepared{XID: drivers.XID{}, Raw: "", At: time.Time{}, Owner: ""}
	_                                                                                              = xa.TxOptions{Isolation: sql.LevelDefault, ReadOnly: false, Timeout: 0}
	_                                                                                              = xa.Config{Log: nil, Resources: []xa.Resource{{Name: "", DB: nil, Driver: nil}}, Timeout: 0, RecoveryInterval: 0, Logger: nil, Trace: nil}
	_                                                                                              = recovery.Resolver{Log: nil, Resources: []drivers.Resource{}}

	// What generated code and query builders take a branch as: sqlc's DBTX, gorm.ConnPool, bun.IConn, ent's ExecQuerier.
	_ interface {
		ExecContext(context.Context, string, ...any) (sql.Result, error)
		PrepareContext(context.Context, string) (*sql.Stmt, error)
		QueryContext(context.Context, string, ...any) (*sql.Rows, error)
		QueryRowContext(context.Context, string, ...any) *sql.Row
	} = (*xa.Branch)(nil)

	_ txlog.Log = logShape(nil)
	_ logShape  = txlog.Log(nil)
)

type logShape interface {
	ID() string
	Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error)
	Lookup(ctx context.Context, id string) (txlog.Outcome, error)
	Settle(ctx context.Context, id string) error
	Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error]
	Close() error
}

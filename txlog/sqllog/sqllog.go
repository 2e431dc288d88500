// Package sqllog is the decision log in a table that any number of processes share.
package sqllog

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"time"

	"github.com/xasql/xasql/txlog"
)

// Dialect is the SQL that the log's database speaks.
type Dialect struct{ name string }

// The dialects.
var (
	Postgres = Dialect{"postgres"}
	MySQL    = Dialect{"mysql"} // MariaDB too
	SQLite   = Dialect{"sqlite"}
)

// String returns "postgres", "mysql" or "sqlite".
func (d Dialect) String() string { return d.name }

// Options are the optional settings of [Open]. The zero value of each is its default.
type Options struct {
	// Existing refuses to create the log: the tables must be there. Default: they are made where they are not.
	Existing bool
	// ReadOnly opens the log to be read: nothing is changed, no lease is taken.
	ReadOnly bool
	// Logger is told what a person should know. Default slog.Default().
	Logger *slog.Logger
	// Retention is how long a settled decision stays readable, at least. Default 24 hours; negative: none.
	Retention time.Duration
	// Lease is how long a member that can't reach the log counts as alive. Default 10 seconds.
	Lease time.Duration
	// Name says who this is, for a person who looks at what it holds. Default: host name and pid.
	Name string
}

// Log is a decision log in tables of a database.
type Log struct{}

var errNotYet = errors.New("sqllog: not built yet")

// Open opens the log in the database.
func Open(ctx context.Context, db *sql.DB, d Dialect, opts *Options) (*Log, error) {
	return nil, errNotYet
}

// Schema returns the statements that make the log's tables, for those who run their own migrations.
func Schema(d Dialect) string { return "" }

func (l *Log) ID() string { return "" }
func (l *Log) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	return 0, errNotYet
}
func (l *Log) Lookup(ctx context.Context, id string) (txlog.Outcome, error) { return 0, errNotYet }
func (l *Log) Settle(ctx context.Context, id string) error                  { return errNotYet }
func (l *Log) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	return func(yield func(txlog.Decision, error) bool) { yield(txlog.Decision{}, errNotYet) }
}
func (l *Log) Close() error { return nil }

func (l *Log) Register(ctx context.Context, resource, identity string) error   { return errNotYet }
func (l *Log) Registered(ctx context.Context, resource string) (string, error) { return "", errNotYet }
func (l *Log) Join(ctx context.Context) (txlog.Member, error)                  { return nil, errNotYet }
func (l *Log) Holders(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	return nil, errNotYet
}
func (l *Log) Entries(ctx context.Context) iter.Seq2[txlog.Entry, error] {
	return func(yield func(txlog.Entry, error) bool) { yield(txlog.Entry{}, errNotYet) }
}
func (l *Log) Compact(ctx context.Context) error { return errNotYet }

// Member is one row of the members' table, as `log info` shows it.
type Member struct {
	txlog.Holder
	Since, Expires time.Time
}

// Info is what a person may want to know of a log.
type Info struct {
	ID        string
	Dialect   Dialect
	Version   int // of the schema
	Unsettled int
	Settled   int
	Members   []Member
}

// Info asks the database.
func (l *Log) Info(ctx context.Context) (Info, error) { return Info{}, errNotYet }

var (
	_ txlog.Log       = (*Log)(nil)
	_ txlog.Registrar = (*Log)(nil)
	_ txlog.Shared    = (*Log)(nil)
	_ txlog.Historian = (*Log)(nil)
	_ txlog.Compactor = (*Log)(nil)
	_                 = fmt.Sprint
	_                 = strings.Cut
)

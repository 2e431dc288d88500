package xa

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/txlog"
)

// Resource is one database that takes part in global transactions: a stable name, the application's own
// pool, and the engine's driver.
type Resource = drivers.Resource

// Config is what a [Manager] works with. The zero value of an optional field is its documented default.
type Config struct {
	// Log keeps the decisions. Required; the manager does not close it.
	Log txlog.Log
	// Resources are the databases. Required, at least one. Their pools stay the application's: the manager
	// borrows connections, and closes none of the pools.
	Resources []Resource

	// Timeout limits a transaction from Begin to its decision, where TxOptions sets none. Zero: 1 minute.
	Timeout time.Duration
	// CompletionTimeout limits how long Commit, once the decision stands, and a rollback wait for a database; what is not
	// done by then is done in the background. Zero: 10 seconds.
	CompletionTimeout time.Duration
	// RecoveryInterval is how often the background looks for branches in doubt when nothing tells it to. What it knows to be
	// unfinished it tries sooner, and less and less often. Zero: 30 seconds.
	RecoveryInterval time.Duration
	// RecoveryTimeout limits how long one recovery's work on one database, or on the log, may stand still, at Open too: a database that
	// is down delays Open by no more than this; what is being settled is settled first. Zero: 10 seconds.
	RecoveryTimeout time.Duration
	// Logger gets what an operator should know. nil: slog.Default().
	Logger *slog.Logger
	// Trace is called at each step of the protocol. nil: nobody listens.
	Trace *Trace
}

const (
	defaultTimeout           = time.Minute
	defaultCompletionTimeout = 10 * time.Second
	defaultRecoveryInterval  = 30 * time.Second
	defaultRecoveryTimeout   = 10 * time.Second
)

// withDefaults returns the configuration with its zero values filled in.
func (c Config) withDefaults() Config {
	setDefault(&c.Timeout, defaultTimeout)
	setDefault(&c.CompletionTimeout, defaultCompletionTimeout)
	setDefault(&c.RecoveryInterval, defaultRecoveryInterval)
	setDefault(&c.RecoveryTimeout, defaultRecoveryTimeout)
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	if c.Trace == nil {
		c.Trace = &Trace{}
	}
	return c
}

func setDefault(d *time.Duration, value time.Duration) {
	if *d == 0 {
		*d = value
	}
}

func (c Config) validate() error {
	if c.Log == nil {
		return errors.New("Config.Log is nil: open one, e.g. with filelog.Open")
	}
	if len(c.Resources) == 0 {
		return errors.New("Config.Resources is empty: name at least one database")
	}
	for name, d := range map[string]time.Duration{"Timeout": c.Timeout, "CompletionTimeout": c.CompletionTimeout,
		"RecoveryInterval": c.RecoveryInterval, "RecoveryTimeout": c.RecoveryTimeout} {
		if d < 0 {
			return fmt.Errorf("Config.%s is negative: leave it zero for the default", name)
		}
	}
	seen := map[string]bool{}
	for i, r := range c.Resources {
		if err := r.Validate(); err != nil {
			return fmt.Errorf("Config.Resources[%d].%w", i, err)
		}
		if seen[r.Name] {
			return fmt.Errorf("Config.Resources[%d].Name: two resources are named %q: a name stands for one database in the log and in every XID", i, r.Name)
		}
		seen[r.Name] = true
	}
	return nil
}

// TxOptions are a transaction's options. nil and the zero value mean the defaults.
type TxOptions struct {
	// Isolation is each branch's isolation level. Zero: the database's default. An engine
	// that can't have it refuses when the branch starts.
	Isolation sql.IsolationLevel
	// ReadOnly: the branches change nothing. Databases that know read-only transactions refuse
	// writes in them, and the commit costs no log write.
	ReadOnly bool
	// Timeout limits the transaction from Begin to its decision. When it is over, the transaction is rolled back. Zero: Config.Timeout.
	Timeout time.Duration
	// Retry makes Do try again after a definite abort. The zero value: never.
	Retry Retry
}

func (o *TxOptions) validate() error {
	if o == nil {
		return nil
	}
	if o.Timeout < 0 {
		return errors.New("TxOptions.Timeout is negative: leave it zero for the manager's default")
	}
	return o.Retry.validate()
}

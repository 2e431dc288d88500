// Command transfer moves money between accounts in two databases, in one global transaction.
//
//	go run ./examples/transfer                      # two SQLite files and the decision log, in ./demo/transfer
//	go run ./examples/transfer -amount 30 -kill after-decision
//	go run ./examples/transfer -resource berlin=postgres://me@localhost/bank -resource paris=mysql://me@localhost/bank
//
// It opens one account with 100 in each database that has none. A password goes into the environment: XA_BERLIN_PASSWORD.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"path/filepath"

	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

func main() {
	log.SetFlags(0)
	if err := run(context.Background(), parseFlags()); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, opts options) error {
	banks, err := openBanks(opts)
	if err != nil {
		return err
	}
	defer banks.close()
	if opts.balances { // plain SQL, as any other program reads
		return banks.printBalances(ctx)
	}

	// The manager needs a log for its decisions, and the databases that take part.
	decisions, err := filelog.Open(filepath.Join(opts.dir, "xalog"), nil)
	if err != nil {
		return err
	}
	defer decisions.Close()
	m, err := xa.Open(ctx, xa.Config{Log: decisions, Resources: banks.resources(), Trace: opts.kill.trace()})
	if err != nil {
		return err
	}
	defer m.Close()

	if err := banks.openAccounts(ctx); err != nil {
		return err
	}
	switch err := transfer(ctx, m, banks, opts.from, opts.to, opts.amount); {
	case errors.Is(err, xa.ErrRolledBack):
		return fmt.Errorf("nothing was moved: %w", err)
	case err != nil:
		return err
	}
	fmt.Printf("moved %d from %s to %s\n", opts.amount, opts.from, opts.to)
	return banks.printBalances(ctx)
}

// transfer takes an amount from one bank and gives it to another: in both, or in neither, whatever happens.
func transfer(ctx context.Context, m *xa.Manager, banks banks, from, to string, amount int64) error {
	return m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		// In one call, so that transfers in opposite directions don't wait for each other in a circle.
		b, err := tx.Branches(ctx, from, to)
		if err != nil {
			return err
		}
		if _, err := b[0].ExecContext(ctx, banks[from].addSQL, -amount); err != nil {
			return err
		}
		_, err = b[1].ExecContext(ctx, banks[to].addSQL, amount)
		return err
	})
}

// Command parking runs many global transactions at once, each to its own point of the commit protocol, and parks them there: a test
// can then kill this program, or the servers, with each of them at its point. The cases are package crash's, as JSON:
//
//	parking -step work cases.json
//
// It tells on its standard output, line by line, "parked ID" when a case has come to its point, what the application learned of the transaction (see
// package ledger), and "done ID" when the case's manager has shut down and nothing of its log is in doubt. The parked cases go on when the standard
// input ends. It ends with status 0 when all are done.
//
// The steps are work: the transactions themselves, each stopped at its Point; again: the recovery of what an earlier run left, stopped at Then;
// and recover: the same, and stopped nowhere.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/xasql/xasql/integration/crash"
)

func main() {
	step := flag.String("step", "work", "work, again or recover")
	flag.Parse()
	if err := run(context.Background(), *step, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "parking:", err)
		os.Exit(1)
	}
}

// atOnce is how many cases are under way to their points at a time: more would only wait for each other.
const atOnce = 8

func run(ctx context.Context, step, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var cases []crash.Case
	if err := json.Unmarshal(text, &cases); err != nil {
		return err
	}
	released := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(released)
	}()

	ways := make(chan struct{}, atOnce)
	errs := make([]error, len(cases))
	var wg sync.WaitGroup
	for i, c := range cases {
		ways <- struct{}{}
		t := newTrial(c, step, released, func() { <-ways })
		wg.Go(func() {
			if err := t.run(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: %w", c.ID, err)
				fmt.Fprintln(os.Stderr, errs[i])
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

package main

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/xasql/xasql/integration/judge"
)

// dump writes a database's book to a file, for when the database is gone.
func dump(d judge.Database, path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	book, err := d.Book(ctx)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(f)
	for _, id := range slices.Sorted(maps.Keys(book.Entries)) {
		for _, e := range book.Entries[id] {
			fmt.Fprintf(out, "entry %s %d %d\n", id, e.Account, e.Delta)
		}
	}
	for _, account := range slices.Sorted(maps.Keys(book.Balances)) {
		fmt.Fprintf(out, "account %d %d\n", account, book.Balances[account])
	}
	if err := out.Flush(); err != nil {
		return err
	}
	return f.Close()
}

// await returns when somebody ends the program.
func await() {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	<-interrupted
}

package main

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/xa"
)

// banks are the databases, by resource name. Each has one account, alice's.
type banks map[string]bank

type bank struct {
	xa.Resource
	addSQL string // adds its argument to the balance
}

// An overdraft breaks the CHECK, and so rolls back the whole transfer.
const (
	createSQL = `CREATE TABLE IF NOT EXISTS account (name VARCHAR(20) PRIMARY KEY, balance BIGINT NOT NULL CHECK (balance >= 0))`
	countSQL  = `SELECT COUNT(*) FROM account`
	insertSQL = `INSERT INTO account (name, balance) VALUES ('alice', 100)`
	readSQL   = `SELECT balance FROM account WHERE name = 'alice'`
	addSQL    = `UPDATE account SET balance = balance + ? WHERE name = 'alice'`
)

// openBanks opens the pools. An application would do that by itself, with sql.Open and the driver of its choice.
func openBanks(opts options) (banks, error) {
	if err := os.MkdirAll(opts.dir, 0o755); err != nil {
		return nil, err
	}
	urls := opts.urls
	if len(urls) == 0 {
		urls = map[string]string{
			"berlin": "sqlite:" + filepath.Join(opts.dir, "berlin.db"),
			"paris":  "sqlite:" + filepath.Join(opts.dir, "paris.db"),
		}
	}
	bs := banks{}
	for name, url := range urls {
		res, err := connect.Create(name, url)
		if err != nil {
			bs.close()
			return nil, err
		}
		b := bank{Resource: res, addSQL: addSQL}
		if strings.HasPrefix(url, "postgres") {
			b.addSQL = strings.Replace(addSQL, "?", "$1", 1)
		}
		bs[name] = b
	}
	return bs, nil
}

func (bs banks) close() {
	for _, b := range bs {
		b.DB.Close()
	}
}

func (bs banks) names() []string { return slices.Sorted(maps.Keys(bs)) }

func (bs banks) resources() []xa.Resource {
	var resources []xa.Resource
	for _, name := range bs.names() {
		resources = append(resources, bs[name].Resource)
	}
	return resources
}

// openAccounts gives alice 100 in every bank where she has no account yet.
func (bs banks) openAccounts(ctx context.Context) error {
	for _, name := range bs.names() {
		db := bs[name].DB
		if _, err := db.ExecContext(ctx, createSQL); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		var accounts int
		if err := db.QueryRowContext(ctx, countSQL).Scan(&accounts); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if accounts > 0 {
			continue
		}
		if _, err := db.ExecContext(ctx, insertSQL); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// printBalances prints each balance and their sum, e.g. "berlin 70 + paris 130 = 200".
func (bs banks) printBalances(ctx context.Context) error {
	var sum int64
	var terms []string
	for _, name := range bs.names() {
		balance, err := bs[name].balance(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		sum += balance
		terms = append(terms, fmt.Sprintf("%s %d", name, balance))
	}
	fmt.Printf("%s = %d\n", strings.Join(terms, " + "), sum)
	return nil
}

func (b bank) balance(ctx context.Context) (balance int64, err error) {
	err = b.DB.QueryRowContext(ctx, readSQL).Scan(&balance)
	return balance, err
}

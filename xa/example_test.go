package xa_test

import (
	"context"
	"database/sql"
	"errors"
	"log"

	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

var (
	ctx    = context.Background()
	pg, my *sql.DB // opened as ever, e.g. with sql.Open("pgx", dsn) and sql.Open("mysql", dsn)
)

// One transaction over PostgreSQL and MySQL.
func Example() {
	decisions, err := filelog.Open("/var/lib/shop/xalog", nil)
	if err != nil {
		log.Fatal(err)
	}
	m, err := xa.Open(ctx, xa.Config{Log: decisions, Resources: []xa.Resource{
		{Name: "orders", DB: pg, Driver: postgres.New()},
		{Name: "stock", DB: my, Driver: mysql.New()},
	}})
	if err != nil {
		log.Fatal(err)
	}
	err = m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		b, err := tx.Branches(ctx, "orders", "stock")
		if err != nil {
			return err
		}
		if _, err := b[0].ExecContext(ctx, "INSERT INTO orders (item) VALUES ($1)", "book"); err != nil {
			return err
		}
		_, err = b[1].ExecContext(ctx, "UPDATE stock SET n = n - 1 WHERE item = ?", "book")
		return err
	})
	if errors.Is(err, xa.ErrRolledBack) {
		log.Print("nothing was changed anywhere; it may be tried again: ", err)
	}
}

package postgres_test

import (
	"context"
	"log"
	"os"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// A service on pgxpool gives the manager the pool that it has, and gets the branch's own *pgx.Conn.
func ExampleConn() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("ORDERS_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close()
	db := stdlib.OpenDBFromPool(pool)
	defer db.Close()
	decisions, err := filelog.Open("/var/lib/shop/xalog", nil)
	if err != nil {
		log.Fatal(err)
	}
	defer decisions.Close()
	m, err := xa.Open(ctx, xa.Config{Log: decisions, Resources: []xa.Resource{{Name: "orders", DB: db, Driver: postgres.New()}}})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	err = m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		branch, err := tx.Branch(ctx, "orders")
		if err != nil {
			return err
		}
		return postgres.Conn(branch, func(conn *pgx.Conn) error {
			_, err := conn.CopyFrom(ctx, pgx.Identifier{"items"}, []string{"id", "name"}, pgx.CopyFromRows([][]any{{1, "book"}, {2, "lamp"}}))
			return err
		})
	})
	if err != nil {
		log.Print("nothing was changed: ", err)
	}
}

package postgres_test

import (
	"database/sql"
	"log"
	"os"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/postgres"
)

func ExampleNew() {
	// import _ "github.com/jackc/pgx/v5/stdlib", or _ "github.com/lib/pq" and say "postgres"
	db, err := sql.Open("pgx", os.Getenv("ORDERS_URL"))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	orders := drivers.Resource{Name: "orders", DB: db, Driver: postgres.New()}
	_ = orders // goes into xa.Config.Resources
}

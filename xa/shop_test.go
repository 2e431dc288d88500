package xa_test

import (
	"database/sql"
	"log"
	"os"
	"path/filepath"

	"github.com/xasql/xasql/drivers/sqlite"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// openShop returns the manager of the examples, over two SQLite files: orders, with its table orders, and stock, where
// there are five books. close ends it all.
func openShop() (m *xa.Manager, close func()) {
	dir, err := os.MkdirTemp("", "shop")
	check(err)
	decisions, err := filelog.Open(filepath.Join(dir, "xalog"), nil)
	check(err)
	orders := openFile(filepath.Join(dir, "orders.db"), "CREATE TABLE orders (item TEXT, n INTEGER)")
	stock := openFile(filepath.Join(dir, "stock.db"), "CREATE TABLE stock (item TEXT PRIMARY KEY, n INTEGER CHECK (n >= 0)); INSERT INTO stock VALUES ('book', 5)")
	m, err = xa.Open(ctx, xa.Config{Log: decisions, Resources: []xa.Resource{
		{Name: "orders", DB: orders, Driver: sqlite.New()},
		{Name: "stock", DB: stock, Driver: sqlite.New()},
	}})
	check(err)
	return m, func() {
		for _, c := range []interface{ Close() error }{m, orders, stock, decisions} {
			check(c.Close())
		}
		check(os.RemoveAll(dir))
	}
}

func openFile(path, schema string) *sql.DB {
	db, err := sql.Open("sqlite3", "file:"+path+"?_journal_mode=WAL&_busy_timeout=5000")
	check(err)
	_, err = db.Exec(schema)
	check(err)
	return db
}

// left returns how many of an item are in stock, and how many were ordered.
func left(m *xa.Manager, item string) (stock, ordered int) {
	check(m.DB("stock").QueryRow("SELECT n FROM stock WHERE item = ?", item).Scan(&stock))
	check(m.DB("orders").QueryRow("SELECT COALESCE(SUM(n), 0) FROM orders WHERE item = ?", item).Scan(&ordered))
	return stock, ordered
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

package gorm_test

import (
	"context"
	"database/sql"
	"fmt"
	"log"
	"os"
	"path/filepath"

	_ "github.com/mattn/go-sqlite3"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"

	xasqlite "github.com/xasql/xasql/drivers/sqlite"
	bank "github.com/xasql/xasql/integration/compat/gorm"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/xa"
)

// Two banks on GORM, in two databases, take part in one global transaction: only where they are opened does the code know of it.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "bank")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	decisions, err := filelog.Open(filepath.Join(dir, "log"), nil)
	if err != nil {
		log.Fatal(err)
	}
	defer decisions.Close()
	var resources []xa.Resource
	for _, name := range []string{"berlin", "paris"} {
		db, err := sql.Open("sqlite3", "file:"+filepath.Join(dir, name+".db")+"?_journal_mode=WAL&_busy_timeout=5000")
		if err != nil {
			log.Fatal(err)
		}
		defer db.Close()
		resources = append(resources, xa.Resource{Name: name, DB: db, Driver: xasqlite.New()})
	}
	m, err := xa.Open(ctx, xa.Config{Log: decisions, Resources: resources})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()

	// Here the application begins: m.DB(name) stands where a *sql.DB stood.
	open := func(name string) *bank.Bank {
		db, err := gorm.Open(sqlite.New(sqlite.Config{Conn: m.DB(name)}), &gorm.Config{})
		if err != nil {
			log.Fatal(err)
		}
		b := bank.New(db)
		if err := b.Migrate(ctx); err != nil {
			log.Fatal(err)
		}
		if err := b.Open(ctx, "alice", 100); err != nil {
			log.Fatal(err)
		}
		return b
	}
	berlin, paris := open("berlin"), open("paris")
	err = m.Do(ctx, nil, func(ctx context.Context, _ *xa.Tx) error {
		if err := berlin.Post(ctx, "t1", "alice", -30); err != nil {
			return err
		}
		return paris.Post(ctx, "t1", "alice", 30)
	})
	if err != nil {
		log.Fatal(err)
	}
	for _, b := range []*bank.Bank{berlin, paris} {
		balance, _, err := b.Statement(ctx, "alice")
		fmt.Println(balance, err)
	}
	// Output:
	// 70 <nil>
	// 130 <nil>
}

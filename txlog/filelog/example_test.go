package filelog_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
)

func Example() {
	dir, err := os.MkdirTemp("", "txlog")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	l, err := filelog.Open(dir, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	first, err := l.Decide(ctx, txlog.Decision{ID: "payment-1", Outcome: txlog.Committed, Resources: []string{"orders", "ledger"}})
	if err != nil {
		log.Fatal(err)
	}
	second, err := l.Decide(ctx, txlog.Decision{ID: "payment-1", Outcome: txlog.Aborted})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(first, second)
	for d := range l.Unsettled(ctx) {
		fmt.Println(d.ID, d.Outcome, d.Resources)
	}
	// Output:
	// committed committed
	// payment-1 committed [orders ledger]
}

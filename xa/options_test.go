package xa_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/xa"
)

// The options reach every branch, however it is started.
func TestOptionsReachTheBranch(t *testing.T) {
	run(t, func(w *world) {
		m := w.open()
		start := map[string]func(ctx context.Context, tx *xa.Tx) error{
			"Branch": func(ctx context.Context, tx *xa.Tx) error {
				b, err := tx.Branch(ctx, "orders")
				if err == nil {
					_, err = b.ExecContext(ctx, "PUT k v")
				}
				return err
			},
			"DB": func(ctx context.Context, _ *xa.Tx) error {
				_, err := m.DB("orders").ExecContext(ctx, "PUT k v")
				return err
			},
		}
		for name, f := range start {
			err := m.Do(w.Context(), &xa.TxOptions{ReadOnly: true}, f)
			w.refused(err, "read-only")
			err = m.Do(w.Context(), &xa.TxOptions{Isolation: sql.LevelLinearizable}, f)
			if !errors.Is(err, drivers.ErrNotSupported) || !errors.Is(err, xa.ErrRolledBack) {
				w.Errorf("%s, at a level that the engine lacks: %v", name, err)
			}
			var b *xa.BranchError
			if !errors.As(err, &b) || b.Op != "begin" {
				w.Errorf("%s: it was not refused at the branch's begin: %v", name, err)
			}
		}
		if n := len(w.orders.Rows()); n != 0 {
			w.Errorf("%d rows were written", n)
		}
	})
}

package xa_test

import (
	"errors"
	"testing"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/xa"
)

func TestHeuristicOutcomeIsNotedInTheLog(t *testing.T) {
	run(t, func(w *world) {
		w.oneSided = true
		w.cfg.Trace = &xa.Trace{DecideDone: func(xa.TxEvent) {
			for _, xid := range w.orders.Prepared() {
				w.orders.Finish(xid, false)
			}
		}}
		w.open()
		err := w.transfer()
		var failed *xa.Error
		if !errors.Is(err, xa.ErrHeuristic) || !errors.As(err, &failed) {
			w.Fatalf("got %v", err)
		}
		var notes []txlog.Note
		for n, err := range w.log.Noted(w.Context(), "") {
			if err != nil {
				w.Fatal(err)
			}
			notes = append(notes, n)
		}
		if len(notes) != 1 || notes[0].ID != failed.ID || notes[0].Kind != txlog.Heuristic || notes[0].Resource != "orders" || notes[0].Text == "" {
			w.Errorf("noted: %+v", notes)
		}
	})
}

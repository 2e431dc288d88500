package mysql

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
)

// On MariaDB a branch is finished from outside only when InnoDB shows that no session which had left before still has a transaction; where it does not
// show that, the time of handover passes first.
func TestBranchIsFinishedOnceItsSessionHasHandedOver(t *testing.T) {
	fresh, stale, ours := snapshot{}, snapshot{stale: true}, snapshot{leaving: []int64{7}}
	for _, tt := range []struct {
		name      string
		snapshots []snapshot
		held      bool
		waits     bool // for the whole time of handover
	}{
		{"nobody is leaving", []snapshot{fresh}, false, false},
		{"one leaves meanwhile", []snapshot{ours, ours, fresh}, false, false},
		{"one does not leave", []snapshot{ours}, true, true},
		{"others leave all the time", []snapshot{{leaving: []int64{7, 8}}, {leaving: []int64{8, 9}}, {leaving: []int64{9}}}, false, false},
		{"an old answer proves nothing", []snapshot{stale}, false, true},
		{"an old answer clears nobody", []snapshot{ours, stale}, true, true},
		{"an old answer comes first", []snapshot{stale, stale, ours}, true, true},
		{"part of an answer proves nothing", []snapshot{{more: mostTransactions}}, false, true},
		{"without PROCESS", nil, false, true},
	} {
		for _, listed := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				s := newMariaDB()
				s.recover, s.snapshots = []drivers.XID{xid}, slices.Clone(tt.snapshots)
				db := s.pool(t)
				defer db.Close()
				begun := time.Now()
				held, err := false, error(nil)
				if listed {
					var list []drivers.Prepared
					if list, err = New().Prepared(t.Context(), db); err == nil {
						held = list[0].Held
					}
				} else if err = New().CommitPrepared(t.Context(), db, xid); errors.Is(err, drivers.ErrHeld) {
					held, err = true, nil
				}
				if err != nil || held != tt.held {
					t.Errorf("%s: held %t (%v), want %t", tt.name, held, err, tt.held)
				}
				if waited := time.Since(begun); (waited == handover) != tt.waits || waited > handover {
					t.Errorf("%s: it took %v", tt.name, waited)
				}
				if finished := slices.Contains(s.sent, "XA COMMIT X"); !listed && finished == held {
					t.Errorf("%s: sent %q", tt.name, s.sent)
				}
				if begins, ends := s.count("START TRANSACTION"), s.count("ROLLBACK"); begins != 1 || ends != 1 {
					t.Errorf("%s: %d transactions begun, %d ended: %q", tt.name, begins, ends, s.sent)
				}
			})
		}
	}
}

func (s *server) count(prefix string) int {
	n := 0
	for _, statement := range s.sent {
		if strings.HasPrefix(statement, prefix) {
			n++
		}
	}
	return n
}

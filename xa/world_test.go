package xa_test

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/internal/txid"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

// world is a log and two databases in memory, which tell what happens to them. It lives in a synctest bubble: time
// is fake, and a goroutine that is left over at the end fails the test.
type world struct {
	*testing.T
	log           *logtest.Memory
	orders, stock *memdb.DB
	cfg           xa.Config
	m             *xa.Manager
	oneSided      bool // the test writes to one database only, or has a person decide

	mu     sync.Mutex // guards events
	events []string
}

// run runs f in a new world, and checks the invariant at its end.
func run(t *testing.T, f func(w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{T: t, log: logtest.NewMemory(), orders: memdb.New("orders"), stock: memdb.New("stock")}
		w.orders.Style.ReadOnlyVotes, w.stock.Style.ReadOnlyVotes = true, true
		w.orders.OnEvent(w.tell)
		w.stock.OnEvent(w.tell)
		w.log.OnEvent(w.tell)
		w.cfg = xa.Config{
			Log:              w.log,
			RecoveryInterval: time.Hour,
			Logger:           slog.New(slog.NewTextHandler(io.Discard, nil)),
		}
		for name, db := range map[string]*memdb.DB{"orders": w.orders, "stock": w.stock} {
			pool := db.Pool()
			t.Cleanup(func() { pool.Close() })
			w.cfg.Resources = append(w.cfg.Resources, xa.Resource{Name: name, DB: pool, Driver: db.Driver()})
		}
		slices.SortFunc(w.cfg.Resources, func(a, b xa.Resource) int { return strings.Compare(a.Name, b.Name) })
		f(w)
		w.invariant()
	})
}

// open opens the manager; what happens until then is not told.
func (w *world) open() *xa.Manager {
	w.Helper()
	m, err := xa.Open(w.Context(), w.cfg)
	if err != nil {
		w.Fatal(err)
	}
	w.m = m
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = nil
	return m
}

func (w *world) tell(event string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, event)
}

// transfer writes to both databases in one transaction.
func (w *world) transfer() error {
	return w.m.Do(w.Context(), nil, func(ctx context.Context, tx *xa.Tx) error {
		w.put(tx, "orders", "k", "v")
		w.put(tx, "stock", "k", "v")
		return nil
	})
}

func (w *world) put(tx *xa.Tx, resource, key, value string) {
	w.Helper()
	b, err := tx.Branch(w.Context(), resource)
	if err == nil {
		_, err = b.ExecContext(w.Context(), "PUT ? ?", key, value)
	}
	if err != nil {
		w.Errorf("put in %s: %v", resource, err)
	}
}

// invariant recovers until quiet and checks what must hold after every test.
func (w *world) invariant() {
	w.Helper()
	w.orders.Down(false)
	w.stock.Down(false)
	w.orders.Heal()
	w.stock.Heal()
	w.log.Reopen()
	if w.m != nil {
		synctest.Wait()
		if err := w.m.Close(); err != nil {
			w.Errorf("close: %v", err)
		}
	}
	resolver := recovery.Resolver{Log: w.log, Resources: w.cfg.Resources, Logger: w.cfg.Logger}
	report, err := resolver.Resolve(context.Background())
	if err != nil || !report.Clean() {
		w.Errorf("recovery left something: %+v, %v", report, err)
	}
	for d, err := range w.log.Unsettled(context.Background()) {
		w.Errorf("unsettled: %v, %v", d, err)
	}
	if o, s := w.orders.Rows(), w.stock.Rows(); !w.oneSided && !maps.Equal(o, s) {
		w.Errorf("half a transaction: orders has %v, stock has %v", o, s)
	}
	for _, db := range []*memdb.DB{w.orders, w.stock} {
		if st := db.Stats(); st.Prepared != 0 || st.Active != 0 {
			w.Errorf("a database still has %+v", st)
		}
		if v := db.Violations(); len(v) > 0 {
			w.Errorf("violations: %q", v)
		}
	}
	for _, r := range w.cfg.Resources {
		if n := r.DB.Stats().InUse; n != 0 {
			w.Errorf("%s: %d connections were not given back", r.Name, n)
		}
	}
}

// crashed leaves behind what a coordinator leaves that was killed: a transaction of this log, prepared in both databases.
func (w *world) crashed() (id string) {
	w.Helper()
	id = txid.New(w.log.ID(), "", time.Now())
	for _, r := range w.cfg.Resources {
		discard(w.held(r, id))
	}
	return id
}

func discard(conn *sql.Conn) {
	conn.Raw(func(any) error { return fmt.Errorf("%w", errBadConn) })
	conn.Close()
}

// newID returns an ID of this world's log.
func newID(w *world) string { return txid.New(w.log.ID(), "", time.Now()) }

// held leaves a prepared branch whose session still lives.
func (w *world) held(r xa.Resource, id string) *sql.Conn {
	w.Helper()
	conn, err := r.DB.Conn(w.Context())
	if err != nil {
		w.Fatal(err)
	}
	b, err := r.Driver.Begin(w.Context(), conn, drivers.XID{FormatID: drivers.FormatID, GTRID: id, BQual: r.Name}, nil)
	if err != nil {
		w.Fatal(err)
	}
	if _, err := conn.ExecContext(w.Context(), "PUT k v"); err != nil {
		w.Fatal(err)
	}
	if _, err := b.Prepare(w.Context()); err != nil {
		w.Fatal(err)
	}
	return conn
}

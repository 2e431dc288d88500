package simulation

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdisk"
	"github.com/xasql/xasql/recovery"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/xa"
)

// world is one run of a schedule: the databases and the log, which outlive processes, and what is known of it.
type world struct {
	shape     shape
	dbs       []*database
	memory    *logtest.Memory       // nil: the log is in files
	disk      *memdisk.Disk         // theirs; else nil
	shared    *logtest.SharedMemory // nil: the log is not shared
	decoy     *database             // another one; nil: there is none
	processes []*process

	mu      sync.Mutex // guards what follows
	events  map[point]event
	last    map[point]int // how many calls there were of each kind: the points with n = 0
	reached []point
	brief   map[point]bool // of those, the ones at which nothing takes time
	fired   int            // how many events have happened
	latched bool
	ids     map[string]string // names of transactions by ID
	history history
}

// result is what came of a run.
type result struct {
	reached    []point // in order
	brief      map[point]bool
	fired      []int // where in reached the events happened
	violations []string
}

func newWorld(s schedule) *world {
	w := &world{shape: s.shape, events: map[point]event{}, last: map[point]int{}, brief: map[point]bool{}, ids: map[string]string{}}
	for _, e := range s.events {
		w.events[e.point] = e.event
	}
	for i, style := range s.shape.styles {
		w.dbs = append(w.dbs, newDatabase(w.place(i), style))
	}
	if s.shape.swapped {
		w.decoy = newDatabase("decoy", s.shape.styles[0])
	}
	return w
}

// run runs a schedule. It is called in a bubble of its own.
func run(s schedule) result {
	w := newWorld(s)
	switch {
	case s.shape.disk:
		w.disk = memdisk.New()
		w.runAlone()
	case s.shape.shared:
		w.shared = logtest.NewSharedMemory(lease)
		w.memory = w.shared.Memory
		w.runShared()
	default:
		w.memory = logtest.NewMemory()
		w.runAlone()
	}
	w.finish()
	r := result{reached: w.reached, brief: w.brief, violations: w.history.check()}
	for _, e := range s.events {
		if i := slices.Index(w.reached, e.point); i >= 0 {
			r.fired = append(r.fired, i)
		} else {
			r.violations = append(r.violations, fmt.Sprintf("schedule: %s was never reached", e.point))
		}
	}
	return r
}

// runAlone runs the transactions in one process and, after its crash, others that recover, one after the other.
func (w *world) runAlone() {
	p := w.process("p1")
	if m := p.open(); m != nil {
		w.transactions(p, m)
		w.settled(p)
		p.close(m)
	}
	p.exit()
	w.restart()
}

// restart starts processes that recover, one after the other, until nothing is in doubt.
func (w *world) restart() {
	for n := len(w.processes) + 1; !w.quiet() && n < maxProcs; n++ {
		p := w.process(fmt.Sprint("p", n))
		if w.shape.resolver {
			p.resolve(func() bool { return w.quiet() })
		} else if m := p.open(); m != nil {
			if p.swapped() {
				time.Sleep(downTime) // it can't settle everything
			} else {
				w.settled(p)
			}
			p.close(m)
		}
		p.exit()
	}
}

// swapped tells whether the process was given another database by the name of one.
func (p *process) swapped() bool { return p.dbs[0] != p.w.dbs[0] }

// close closes a manager while its background waits: with something left to do too, it would be chance whether it did that or stopped.
func (p *process) close(m *xa.Manager) {
	for p.wait("end", 0); p.recovers(false); {
		p.wait("end", 0)
	}
	m.Close()
}

// open opens a manager, nil if that failed, as it may if the process crashed or the log did not answer. A database never keeps it from
// opening (rule P9).
func (p *process) open() *xa.Manager {
	cfg := xa.Config{Log: p.log, Resources: p.resources, RecoveryInterval: time.Minute, Logger: slog.New(slog.DiscardHandler),
		Trace: &xa.Trace{Recovered: func(e xa.RecoveryEvent) { p.reported(e.Report) }}}
	// No two of them end at the same instant.
	cfg.Timeout, cfg.CompletionTimeout, cfg.RecoveryTimeout = 47*time.Second, 11*time.Second, 13*time.Second
	if p.w.shape.shared {
		// A process that was paused comes back into the middle of the protocol.
		cfg.Timeout, cfg.CompletionTimeout, cfg.RecoveryTimeout, cfg.RecoveryInterval = 4*longPause+time.Second, 2*longPause, 2*longPause-time.Second, 20*time.Second
	}
	p.wait("bg", len(p.dbs))
	var m *xa.Manager
	err := error(errRefused)
	if p.log != nil {
		m, err = xa.Open(as("bg"), cfg)
	}
	if err != nil {
		if p.alive() && !p.w.logDisturbed() {
			p.w.violate("blocked: %s does not start: %v", p.name, err)
		}
		return nil
	}
	return m
}

// resolve recovers, less and less often, until there is nothing more to do, or the process has crashed.
func (p *process) resolve(done func() bool) {
	if p.log == nil {
		return
	}
	r := recovery.Resolver{Log: p.log, Resources: p.resources, HeldWait: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)}
	p.wait("bg", len(p.dbs))
	began := time.Now()
	for pause := time.Second; !p.isDead() && !p.w.isLatched() && !done(); pause = min(2*pause, time.Minute) {
		report, _ := r.Resolve(as("bg"))
		p.reported(report)
		if time.Since(began) > patience && !p.w.quiet() {
			p.w.violate("blocked: %s could not settle everything: %s", p.name, p.w.left())
			return
		}
		time.Sleep(pause)
	}
}

// reported looks for heuristic outcomes in what recovery reports.
func (p *process) reported(r recovery.Report) {
	p.mu.Lock()
	p.recovering = false
	p.recoveries++
	dead := p.dead
	p.mu.Unlock()
	if dead {
		return
	}
	p.w.mu.Lock()
	defer p.w.mu.Unlock()
	for _, b := range r.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Heuristic }) {
		p.w.history.tx(p.w.name(b.XID.GTRID)).reported = true
	}
	for _, d := range r.Decisions {
		if !d.Settled || !r.Acted || d.Outcome != txlog.Committed {
			continue
		}
		tx := p.w.history.tx(p.w.name(d.ID))
		for i := range p.w.dbs {
			name := string(rune('A' + i))
			noted := slices.ContainsFunc(r.Notes, func(n txlog.Note) bool { return n.ID == d.ID && n.Resource == name && n.Kind == txlog.Heuristic })
			if slices.Contains(d.Resources, name) && !slices.Contains(d.Unverified, name) && !noted {
				tx.verified = append(tx.verified, i)
			}
		}
	}
}

// transactions runs the shape's transactions at once: one after the other if something has happened before, since those who then have to
// admit a database would wait for each other, and it would be chance who is first.
func (w *world) transactions(p *process, m *xa.Manager) {
	w.mu.Lock()
	undisturbed := w.fired == 0
	w.mu.Unlock()
	if !undisturbed {
		p.betweenRecoveries()
	}
	var wg sync.WaitGroup
	for i := range w.shape.txs {
		name := fmt.Sprint("t", i+1)
		if undisturbed {
			wg.Go(func() { w.transaction(p, m, name) })
		} else {
			w.transaction(p, m, name)
		}
	}
	wg.Wait()
}

// betweenRecoveries waits until a database that was down is back, and the manager has just recovered in the background: a transaction that admits a
// database recovers too, and would wait for it.
func (p *process) betweenRecoveries() {
	time.Sleep(2 * downTime)
	recoveries := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.recoveries
	}
	began := time.Now()
	for n := recoveries(); recoveries() == n && p.alive() && time.Since(began) < patience; {
		time.Sleep(time.Second)
	}
}

// transaction writes its name to every database, and notes what it is told.
func (w *world) transaction(p *process, m *xa.Manager, name string) {
	p.wait(name, 0) // or it would be chance who gets which connection
	ctx := as(name)
	began := false
	err := m.Do(ctx, nil, func(ctx context.Context, tx *xa.Tx) error {
		began = true
		w.begun(name, tx.ID())
		for i := range w.dbs {
			b, err := tx.Branch(ctx, w.place(i))
			if err != nil {
				return err
			}
			query, last := "PUT "+name+" v", i == len(w.dbs)-1
			switch {
			case last && w.shape.poison && name == "t1":
				query = "POISON"
			case last && w.shape.reads:
				query = "COUNT"
			}
			var x interface {
				ExecContext(context.Context, string, ...any) (sql.Result, error)
			} = b
			if i%2 == 1 {
				x = m.DB(w.place(i)) // the other way into a branch
			}
			err = p.call(ctx, i, "statement", nil, func() error {
				_, err := x.ExecContext(ctx, query)
				return err
			})
			if err != nil && query != "POISON" {
				return err
			}
		}
		return nil
	})
	if began && !p.isDead() {
		w.told(name, err)
	}
}

// settled waits until nothing is in doubt, or all of these processes have crashed, or can't go on before the log is opened again. Living ones must get
// there.
func (w *world) settled(ps ...*process) {
	began := time.Now()
	for pause := time.Millisecond; !w.quiet() && slices.ContainsFunc(ps, (*process).alive); pause = min(2*pause, 10*time.Second) {
		if w.isLatched() && time.Since(began) > latchedFor {
			return
		}
		if time.Since(began) > patience {
			w.violate("blocked: a process lives, and does not settle everything: %s", w.left())
			return
		}
		time.Sleep(pause)
	}
}

// forgets checks, when a decision to commit is about to be settled, that no database holds anything more of it (rule P6): a log may
// drop it from now on.
func (w *world) forgets(id string) {
	if o, err := w.log().Lookup(context.Background(), id); err != nil || o != txlog.Committed {
		return
	}
	for i, db := range w.dbs {
		for _, xid := range db.Prepared() {
			if xid.GTRID == id {
				w.violate("forgotten: the decision on %s is settled, but %s still holds a branch of it", w.nameOf(id), w.place(i))
			}
		}
	}
}

// quiet tells whether nothing is in doubt, and every decision is settled.
func (w *world) quiet() bool { return w.left() == "" && !w.isLatched() }

func (w *world) left() string {
	var left string
	for i, db := range w.dbs {
		if xids := db.Prepared(); len(xids) > 0 {
			left += fmt.Sprintf("%s holds %v; ", w.place(i), xids)
		}
	}
	for d, err := range w.log().Unsettled(context.Background()) {
		left += fmt.Sprintf("unsettled %v %v; ", d, err)
	}
	return left
}

// finish lets the servers notice vanished clients, looks a last time with a recovery of its own, and collects the history's end.
func (w *world) finish() {
	for _, db := range w.dbs {
		db.Down(false)
		for _, xid := range db.Prepared() {
			w.violate("in doubt: %s", xid)
		}
		db.Crash()
	}
	p := w.process("last")
	report, err := (&recovery.Resolver{Log: w.log(), Resources: p.bare(), Logger: slog.New(slog.DiscardHandler)}).Resolve(as("bg"))
	if err != nil || !report.Clean() || len(report.Decisions) > 0 || len(report.Branches(func(recovery.Branch) bool { return true })) > 0 {
		w.violate("in doubt: the last recovery still found %+v, %v", report, err)
	}
	p.exit()
	for d := range w.log().Unsettled(context.Background()) {
		w.violate("unsettled: %v", d)
	}
	if w.decoy != nil {
		w.decoy.pool.Close()
	}
	for i, db := range w.dbs {
		if st := db.Stats(); st.Prepared+st.Active+st.Conns > 0 {
			w.violate("lost connection: %s has %+v", w.place(i), st)
		}
		for _, v := range db.Violations() {
			w.violate("misuse: %s", v)
		}
		for name := range maps.Keys(db.Rows()) {
			tx := w.history.tx(name)
			tx.applied = append(tx.applied, i)
		}
		db.pool.Close()
	}
	w.history.branches, w.history.reads, w.history.events = len(w.dbs), w.shape.reads, len(w.events)
	if w.shape.poison {
		w.history.tx("t1").poisoned = true
	}
}

// bare are the resources without a gate.
func (p *process) bare() []drivers.Resource {
	out := slices.Clone(p.resources)
	for i := range out {
		out[i].Driver = p.w.dbs[i].Driver()
	}
	return out
}

// wasWell tells whether nothing else happens at the database, so that its coordinator knows what is prepared there. w.mu is held.
func (w *world) wasWell(place int) bool {
	n := 0
	for p := range w.events {
		if p.place == w.place(place) {
			n++
		}
	}
	return n == 1
}

func (w *world) place(i int) string {
	if i == len(w.dbs) && len(w.processes) > 0 {
		return "log"
	}
	return string(rune('A' + i))
}

// reach counts the call, and returns the event that the schedule has for it. brief: nothing may take time there.
func (w *world) reach(p *point, brief bool) event {
	w.mu.Lock()
	defer w.mu.Unlock()
	kind := *p
	w.last[kind]++
	p.n = w.last[kind]
	w.reached = append(w.reached, *p)
	if brief {
		w.brief[*p] = true
	}
	ev := w.events[*p]
	if ev != "" {
		w.fired++
	}
	return ev
}

// logDisturbed tells whether an event has happened to the log.
func (w *world) logDisturbed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.reached, func(p point) bool { return (p.place == "log" || p.place == "disk") && w.events[p] != "" })
}

func (w *world) latch(f logtest.DecideFault) {
	w.memory.FailDecide(f)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latched = true
}

func (w *world) isLatched() bool {
	if w.disk != nil {
		l, ok := w.log().(*filelog.Log)
		return ok && l.Info().Latched != nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latched
}

func (w *world) begun(name, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ids[id] = name
}

func (w *world) nameOf(id string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.name(id)
}

func (w *world) name(id string) string {
	if n := w.ids[id]; n != "" {
		return n
	}
	return "?"
}

// of names an operation on a transaction.
func (w *world) of(op, id string) string { return op + "(" + w.nameOf(id) + ")" }

// told notes what the application was told of its transaction.
func (w *world) told(name string, err error) {
	answer := other
	switch {
	case err == nil:
		answer = committed
	case errors.Is(err, xa.ErrHeuristic):
		answer = heuristic
	case errors.Is(err, xa.ErrOutcomeUnknown):
		answer = unknown
	case errors.Is(err, xa.ErrRolledBack):
		answer = rolledBack
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	tx := w.history.tx(name)
	tx.told = answer
	tx.err = err
}

func (w *world) violate(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.history.seen = append(w.history.seen, fmt.Sprintf(format, args...))
}

// byHand lets a person finish the branch that a call is about.
func (w *world) byHand(place int, op, actor string, commit bool) {
	for _, xid := range w.dbs[place].Prepared() {
		if name := w.nameOf(xid.GTRID); name == actor || op == "commit-prepared("+name+")" || op == "rollback-prepared("+name+")" {
			w.dbs[place].Finish(xid, commit)
			w.mu.Lock()
			tx := w.history.tx(name)
			tx.byHand, tx.gone = true, tx.gone || commit && op == "rollback" && w.wasWell(place)
			w.mu.Unlock()
		}
	}
}

package simulation

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/internal/memdb"
	"github.com/xasql/xasql/internal/memdisk"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/txlog/logtest"
)

const (
	tick       = time.Microsecond        // of the clock that keeps actors apart
	period     = 200                     // ticks in which every actor has an instant for each place; what the code under test sleeps is a multiple
	maxProcs   = 8                       // of a world
	maxPlaces  = 4                       // three databases and the log
	hangLimit  = 20 * time.Second        // what a log that hangs waits for by itself, at most
	downTime   = 90*time.Second + tick/2 // of a database; at nobody's instant
	shortPause = 3 * time.Second         // of a process
	longPause  = 45 * time.Second        // longer than a lease
	lease      = 10*time.Second + tick/2 // of a shared log
	patience   = 10 * time.Minute        // in which living processes must have settled everything
	latchedFor = 150 * time.Second       // how long a process goes on whose log is latched
)

// actors are on whose behalf a process makes calls.
var actors = []string{"bg", "t1", "t2", "end"}

var (
	errDead    = errors.New("simulation: the process has crashed")
	errRefused = errors.New("simulation: refused")
	errDisk    = errors.New("simulation: the disk failed")
	errLost    = fmt.Errorf("simulation: %w", driver.ErrBadConn)
)

type actorKey struct{}

// as returns a context for an actor's calls.
func as(actor string) context.Context {
	return context.WithValue(context.Background(), actorKey{}, actor)
}

func actorOf(ctx context.Context) string {
	if a, ok := ctx.Value(actorKey{}).(string); ok {
		return a
	}
	return "end"
}

// process is one process: its pools, its opening of the log, and the gate that all its calls pass. After its crash nothing
// that its goroutines still call does anything.
type process struct {
	w         *world
	name      string
	index     int
	dbs       []*database  // what its pools lead to
	log       txlog.Log    // nil: it could not be opened
	files     *filelog.Log // log without its gate, where it is one in files
	resources []drivers.Resource
	lease     func() (resume func()) // stops the renewal of its lease; nil where its log is not shared

	died chan struct{}

	mu        sync.Mutex // guards what follows
	dead      bool
	asleep    time.Time       // it stands still until then
	held      map[string]bool // actors that make no calls
	admitting map[string]bool // actors that admit a database
	conns     []driver.Conn

	recovering bool
	recoveries int // how many have ended
}

func (w *world) process(name string) *process {
	p := &process{w: w, name: name, index: len(w.processes), dbs: w.dbs, died: make(chan struct{}), held: map[string]bool{}, admitting: map[string]bool{}}
	w.processes = append(w.processes, p)
	if w.shape.swapped && name == "p2" {
		p.dbs = append([]*database{w.decoy}, w.dbs[1:]...)
	}
	for i := range w.dbs {
		pool := sql.OpenDB(connector{p, i})
		p.resources = append(p.resources, drivers.Resource{Name: w.place(i), DB: pool, Driver: p.driver(i)})
	}
	p.log = p.openLog()
	return p
}

// exit closes what the process has opened, and checks that all connections had been given back.
func (p *process) exit() {
	if p.files != nil {
		p.files.Close()
	}
	for _, r := range p.resources {
		if n := r.DB.Stats().InUse; n != 0 {
			p.w.violate("lost connection: %s holds %d of %s after its end", p.name, n, r.Name)
		}
		r.DB.Close()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dead {
		p.dead = true
		close(p.died)
	}
}

func (p *process) isDead() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.dead
}

func (p *process) alive() bool { return !p.isDead() }

// crash ends the process, and the machine if it has the log's disk. noticed: the databases see its connections end.
func (p *process) crash(noticed bool) {
	p.end(noticed, func(d *memdisk.Disk) *memdisk.Disk { return d.Crash(nil) })
}

// end ends the process; left is what it leaves of the log's disk.
func (p *process) end(noticed bool, left func(*memdisk.Disk) *memdisk.Disk) {
	p.mu.Lock()
	if p.dead {
		p.mu.Unlock()
		return
	}
	p.dead = true
	close(p.died)
	conns := p.conns
	if p.w.disk != nil {
		p.w.disk = left(p.w.disk)
	}
	p.mu.Unlock()
	if !noticed {
		for _, db := range p.dbs {
			db.Vanish()
		}
	}
	for _, c := range conns {
		c.Close()
	}
	if p.lease != nil {
		p.lease()
	}
}

// pause stops the process for so long; a long pause costs it its lease.
func (p *process) pause(d time.Duration) {
	p.mu.Lock()
	p.asleep = time.Now().Add(d)
	p.mu.Unlock()
	if d > lease && p.lease != nil {
		resume := p.lease()
		time.AfterFunc(d-tick/2, resume)
	}
}

// call makes one call of the process: the event that the schedule has for it, if any, and the act. cut breaks the connection that
// it goes over; it may be nil. place counts the databases; the log comes after them.
func (p *process) call(ctx context.Context, place int, op string, cut func(), act func() error) error {
	ev, err := p.arrive(ctx, place, op)
	if err != nil {
		return err
	}
	if cut == nil {
		cut = func() {}
	}
	switch ev {
	case "":
		return act()
	case crashBefore, powerBefore:
		p.crash(ev == crashBefore)
		return errDead
	case crashAfter, powerAfter:
		act()
		p.crash(ev == crashAfter)
		return errDead
	case lostBefore:
		cut()
		return errLost
	case lostAfter:
		act()
		cut()
		return errLost
	case refused:
		return errRefused
	case failedAfter:
		act()
		return errRefused
	case hangBefore, hangAfter:
		if ev == hangAfter {
			act()
		}
		err := p.hang(ctx, place)
		cut()
		return err
	case restart:
		p.dbs[place].Crash()
	case down:
		db := p.dbs[place]
		db.Down(true)
		db.Crash()
		time.AfterFunc(downTime, func() { db.Down(false) })
		if op == "connect" {
			return errRefused
		}
	case vanish:
		p.dbs[place].Vanish()
	case badConn:
		db := p.dbs[place]
		db.Fail(memdb.OpStatement, memdb.Fault{After: true, Err: driver.ErrBadConn})
		db.Fail(memdb.OpStatement, memdb.Fault{Hook: func() { p.w.violate("twice: a statement was run again after driver.ErrBadConn") }})
		defer db.Heal()
	case latchNotRecorded:
		p.w.latch(logtest.NotRecorded)
	case latchLostBefore:
		p.w.latch(logtest.LostUnrecorded)
	case latchLostAfter:
		p.w.latch(logtest.LostRecorded)
	default:
		p.w.violate("event %q can't happen at %s", ev, op)
	}
	return act()
}

// hang waits for the end of the context, or of the process. Meanwhile the actor's other goroutines make no calls: one that holds a mutex
// while it hangs would let them wait for it, and the bubble's clock stands still while anybody waits for a mutex.
func (p *process) hang(ctx context.Context, place int) error {
	actor := actorOf(ctx)
	if place == len(p.w.dbs) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, hangLimit)
		defer cancel()
		p.hold(actor, true)
		defer p.hold(actor, false)
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-p.died:
		return errDead
	}
}

func (p *process) hold(actor string, held bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held[actor] = held
}

// arrive waits for the actor's instant and returns the event that the schedule has for the call.
func (p *process) arrive(ctx context.Context, place int, op string) (event, error) {
	actor := actorOf(ctx)
	admits := p.admits(actor, op)
	p.stand(actor, place)
	if p.isDead() {
		return "", errDead
	}
	pt := point{p.name, actor, p.w.place(place), op, 0}
	ev := p.w.reach(&pt, admits)
	switch ev {
	case pauseShort, pauseLong:
		d := shortPause
		if ev == pauseLong {
			d = longPause
		}
		p.pause(d)
		p.stand(actor, place)
		ev = ""
	case handCommit, handRollback:
		p.w.byHand(place, op, actor, ev == handCommit)
		ev = ""
	}
	if p.isDead() {
		return "", errDead
	}
	return ev, nil
}

// stand waits for the actor's next instant in which the process does not stand still. The log is asked in the instant that the asker had for
// a database; its asker may hold a mutex, so that when he has to wait the actor's other goroutines make no calls.
func (p *process) stand(actor string, place int) {
	if place < len(p.w.dbs) {
		for p.wait(actor, place) {
		}
		return
	}
	if p.still(actor, place) <= 0 {
		return
	}
	p.hold(actor, true)
	defer p.hold(actor, false)
	for p.wait(actor, place) {
	}
}

// admits tells whether the call belongs to a transaction's admission of a database. The manager recovers then, alone; and
// no other goroutine should have to wait for it, least of all with a mutex, for which the bubble's clock stands still. So an admission waits for the end of
// a recovery in the background, and nothing in it takes long.
func (p *process) admits(actor, op string) bool {
	if actor == "bg" || actor == "end" {
		if op == "unsettled" {
			p.recovers(true)
		}
		return false
	}
	for op == "check" && p.recovers(false) {
		time.Sleep(time.Second)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch op {
	case "check":
		p.admitting[actor] = true
	case "begin":
		p.admitting[actor] = false
	}
	return p.admitting[actor]
}

// recovers tells whether the process is recovering; begins notes that it is.
func (p *process) recovers(begins bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recovering = !p.dead && (p.recovering || begins)
	return p.recovering
}

// wait sleeps until the next instant of the actor at that place, which no other goroutine has. It tells whether the process stands
// still then.
func (p *process) wait(actor string, place int) bool {
	if still := p.still(actor, place); still > 0 {
		time.Sleep(still)
	}
	if p.isDead() {
		return false
	}
	if p.w.shape.reverse {
		place = maxPlaces - 1 - place
	}
	slot := int64((p.index%maxProcs*len(actors)+slices.Index(actors, actor))*maxPlaces + place)
	now := time.Now().UnixNano() / int64(tick)
	next := now - now%period + slot
	if next <= now {
		next += period
	}
	time.Sleep(time.Until(time.Unix(0, next*int64(tick))))
	return !p.isDead() && p.still(actor, place) > 0
}

// still tells for how long the actor makes no calls.
func (p *process) still(actor string, place int) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held[actor] && place < len(p.w.dbs) {
		return time.Second // then it asks again
	}
	return time.Until(p.asleep)
}

// connector makes a process's connections.
type connector struct {
	p     *process
	place int
}

func (c connector) Connect(ctx context.Context) (conn driver.Conn, err error) {
	err = c.p.call(ctx, c.place, "connect", nil, func() error {
		conn, err = c.p.dbs[c.place].open()
		return err
	})
	if err != nil {
		return nil, notBadConn(err)
	}
	c.p.mu.Lock()
	defer c.p.mu.Unlock()
	c.p.conns = append(c.p.conns, conn)
	return conn, nil
}

// notBadConn keeps database/sql from connecting again at once.
func notBadConn(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return errRefused
	}
	return err
}

func (c connector) Driver() driver.Driver { return nil }

// awake waits until the process does not stand still.
func (p *process) awake() {
	for d := p.still("end", maxPlaces); d > 0; d = p.still("end", maxPlaces) {
		time.Sleep(d)
	}
}

package drivertest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/xasql/xasql/drivers"
)

const (
	// soon is how long a call may take that must not wait: above what a busy machine needs, and below
	// engines' and client libraries' own waits, which begin at five seconds.
	soon = 4 * time.Second
	// patience is how long the suite waits for what the server does in its own time, such as noticing that a client is gone.
	patience = time.Minute
)

// run is one run of one case.
type run struct {
	tb
	Harness
	ctx   context.Context
	main  *sql.DB // the application's pool
	other *sql.DB // another process's
	pools []*sql.DB
	held  []*branch
	gtrid string // begins every gtrid of this run
	keys  int
}

func newRun(ctx context.Context, t tb, h Harness) *run {
	r := &run{tb: t, Harness: h, ctx: ctx, gtrid: "drivertest." + rand.Text()}
	r.main, r.other = r.open(), r.open()
	return r
}

func (r *run) open() *sql.DB {
	r.Helper()
	db, err := r.Open()
	if err != nil {
		r.Fatalf("harness: Open: %v", err)
	}
	r.pools = append(r.pools, db)
	return db
}

// branch is a branch with its connection.
type branch struct {
	drivers.Branch
	xid  drivers.XID
	conn *sql.Conn
	key  string // the row that write writes
}

// xid returns a fresh XID, such as the manager makes.
func (r *run) xid() drivers.XID {
	return drivers.XID{FormatID: drivers.FormatID, GTRID: r.gtrid + "." + rand.Text()[:8], BQual: "orders"}
}

// key returns a fresh key.
func (r *run) key() string {
	r.keys++
	return fmt.Sprintf("k%d", r.keys)
}

func (r *run) conn(db *sql.DB) *sql.Conn {
	r.Helper()
	conn, err := db.Conn(r.ctx)
	if err != nil {
		r.Fatalf("connect: %v", err)
	}
	return conn
}

// begin starts a branch with a fresh XID on a connection of main.
func (r *run) begin(opts *sql.TxOptions) *branch {
	r.Helper()
	return r.beginOn(r.main, r.xid(), opts)
}

func (r *run) beginOn(db *sql.DB, xid drivers.XID, opts *sql.TxOptions) *branch {
	r.Helper()
	b, err := r.tryBegin(r.ctx, db, xid, opts)
	if err != nil {
		r.Fatalf("Begin %s with %+v: %v", xid, opts, err)
	}
	return b
}

// tryBegin is begin for a Begin that may fail; the connection is then discarded.
func (r *run) tryBegin(ctx context.Context, db *sql.DB, xid drivers.XID, opts *sql.TxOptions) (*branch, error) {
	r.Helper()
	conn := r.conn(db)
	inner, err := r.Driver.Begin(ctx, conn, xid, opts)
	if err != nil {
		discard(conn)
		return nil, err
	}
	b := &branch{Branch: inner, xid: xid, conn: conn, key: r.key()}
	r.held = append(r.held, b)
	return b, nil
}

// write writes the branch's row.
func (r *run) write(b *branch) {
	r.Helper()
	if _, err := b.conn.ExecContext(r.ctx, r.Put, b.key, "written"); err != nil {
		r.Fatalf("write in the branch: %v", err)
	}
}

// prepared returns a branch that has written its row and is prepared.
func (r *run) prepared() *branch {
	r.Helper()
	b := r.begin(nil)
	r.write(b)
	r.prepare(b)
	return b
}

// prepare prepares a branch that has written.
func (r *run) prepare(b *branch) {
	r.Helper()
	vote, err := b.Prepare(r.ctx)
	if err != nil {
		r.Fatalf("Prepare: %v", err)
	}
	if vote != drivers.VotePrepared {
		r.Fatalf("Prepare of a branch that wrote votes %s", vote)
	}
}

// abandon ends the branch's session as if its client had gone.
func (r *run) abandon(b *branch) {
	r.Helper()
	if r.Break != nil {
		if err := r.Break(r.ctx, b.conn); err != nil {
			r.Fatalf("harness: Break: %v", err)
		}
	}
	discard(b.conn)
}

// crash kills the server. Pools keep no connection from before: that they would hand out dead ones is no fault of the driver.
func (r *run) crash() {
	r.Helper()
	if err := r.Crash(r.ctx); err != nil {
		r.Fatalf("harness: Crash: %v", err)
	}
	for _, db := range r.pools {
		db.SetMaxIdleConns(-1)
		db.SetMaxIdleConns(2)
	}
}

// resolve finishes a prepared branch from its XID, as another process, once its session is gone.
func (r *run) resolve(xid drivers.XID, commit bool) error {
	finish := r.finishCall(r.other, xid, commit)
	var err error
	r.poll(func() bool {
		err = finish(r.ctx)
		return !errors.Is(err, drivers.ErrHeld)
	})
	return err
}

// poll calls done until it is true, or for so long that it never will be.
func (r *run) poll(done func() bool) bool {
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-deadline.C:
			return false
		}
	}
	return true
}

// within reports whether f returns soon. When it doesn't, unblock is called, and f waited for again.
func (r *run) within(what string, unblock func(), f func()) bool {
	r.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	if ranFor(soon, done) {
		return true
	}
	r.Errorf("%s: not back after %v", what, soon)
	go unblock() // it may be kept waiting by the very call
	select {
	case <-done:
	case <-time.After(patience):
	}
	return false
}

// ranFor reports whether done is closed before this process has run for so long. What passes while the machine stands still is one tick.
func ranFor(long time.Duration, done <-chan struct{}) bool {
	const ticks = 100
	tick := time.NewTicker(long / ticks)
	defer tick.Stop()
	for range ticks {
		select {
		case <-done:
			return true
		case <-tick.C:
		}
	}
	return false
}

// get reads a row: its value, or "" where there is none.
func (r *run) get(x querier, key string) string {
	r.Helper()
	v, err := r.tryGet(r.ctx, x, key)
	if err != nil {
		r.Fatalf("read: %v", err)
	}
	return v
}

func (r *run) tryGet(ctx context.Context, x querier, key string) (string, error) {
	var v string
	err := x.QueryRowContext(ctx, r.Get, key).Scan(&v)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	return v, err
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// wantApplied fails the case if another process doesn't see the branch's row, or sees it against expectation.
func (r *run) wantApplied(b *branch, want bool) {
	r.Helper()
	if got := r.get(r.other, b.key) != ""; got != want {
		r.Errorf("another connection sees the branch's row: %v, want %v", got, want)
	}
}

// list returns what the database holds, as another process sees it.
func (r *run) list() []drivers.Prepared {
	r.Helper()
	list, err := r.Driver.Prepared(r.ctx, r.other)
	if err != nil {
		r.Fatalf("Prepared: %v", err)
	}
	return list
}

func (r *run) listed(xid drivers.XID) bool {
	r.Helper()
	return slices.ContainsFunc(r.list(), func(p drivers.Prepared) bool { return p.Raw == "" && p.XID == xid })
}

func (r *run) wantListed(xid drivers.XID, want bool) {
	r.Helper()
	if got := r.listed(xid); got != want {
		r.Errorf("Prepared lists %s: %v, want %v", xid, got, want)
	}
}

// settings returns the session's settings.
func (r *run) settings(conn *sql.Conn) string {
	r.Helper()
	if r.Settings == "" {
		return ""
	}
	var s string
	if err := conn.QueryRowContext(r.ctx, r.Settings).Scan(&s); err != nil {
		r.Fatalf("harness: Settings: %v", err)
	}
	return s
}

// wantClean fails the case unless the connection is as it was before Begin. It gives it back to its pool.
func (r *run) wantClean(conn *sql.Conn, settings string) {
	r.Helper()
	if problem := r.unclean(conn); problem != "" {
		r.Errorf("the connection is not as before Begin: %s", problem)
		discard(conn)
		return
	}
	if got := r.settings(conn); got != settings {
		r.Errorf("the session's settings are %q, and were %q before Begin", got, settings)
	}
	conn.Close()
}

// unclean tells why the connection is not fit for the pool; "" if it is.
func (r *run) unclean(conn *sql.Conn) string {
	key := r.key()
	if _, err := conn.ExecContext(r.ctx, r.Put, key, "plain"); err != nil {
		return fmt.Sprintf("a plain statement fails: %v", err)
	}
	switch v, err := r.tryGet(r.ctx, r.other, key); {
	case err != nil:
		return fmt.Sprintf("what it wrote can't be read: %v", err)
	case v == "":
		return "others don't see what a plain statement on it wrote"
	}
	tx, err := conn.BeginTx(r.ctx, nil)
	if err != nil {
		return fmt.Sprintf("a plain transaction can't be started: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		return fmt.Sprintf("a plain transaction can't be rolled back: %v", err)
	}
	return ""
}

// finish checks the invariant, cleans up, and closes the pools.
func (r *run) finish() {
	r.Helper()
	if !r.Failed() {
		r.checkInvariant()
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.ctx), 2*patience)
	defer cancel()
	r.ctx = ctx
	for _, b := range r.held {
		r.within("discarding a connection", func() {}, func() { discard(b.conn) })
	}
	if list, err := r.Driver.Prepared(ctx, r.other); err == nil {
		for _, p := range list {
			if p.Raw == "" && r.ours(p.XID) {
				_ = r.resolve(p.XID, false)
			}
		}
	}
	for _, db := range r.pools {
		db.Close()
	}
}

func (r *run) ours(xid drivers.XID) bool { return strings.HasPrefix(xid.GTRID, r.gtrid) }

// checkInvariant checks that the case left nothing prepared, no connection in use, and every pooled connection usable.
func (r *run) checkInvariant() {
	r.Helper()
	list, err := r.Driver.Prepared(r.ctx, r.other)
	if err != nil {
		r.Errorf("at the end: Prepared: %v", err)
	}
	for _, p := range list {
		if p.Raw == "" && r.ours(p.XID) {
			r.Errorf("at the end: %s is still prepared", p.XID)
		}
	}
	for _, db := range r.pools {
		if n := db.Stats().InUse; n != 0 {
			r.Errorf("at the end: %d connections are in use", n)
			continue
		}
		var conns []*sql.Conn
		for range db.Stats().Idle {
			conn, err := db.Conn(r.ctx)
			if err != nil {
				r.Errorf("at the end: connect: %v", err)
				break
			}
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			if problem := r.unclean(conn); problem != "" {
				r.Errorf("at the end: a pooled connection is not usable: %s", problem)
			}
			conn.Close()
		}
	}
}

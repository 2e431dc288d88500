package integration

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/integration/engines"
)

// A client that vanishes without a word leaves its session, and with it the prepared branch, to a server that believes
// it alive. Another process, as the same plain user, knows no more than the XID.
func TestMySQLHalfOpenSessionIsEndedByItsXID(t *testing.T) {
	for _, e := range engines.Of(engines.MySQL, engines.MariaDB) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			database := s.NewDatabase(t)
			mustExec(t, s.Open(t, database), "create table kv (k varchar(64) primary key, v mediumtext)")
			plain := s.NewUser(t, database)
			options := url.Values{}
			if e.Kind == engines.MySQL {
				grantTo(t, s.Open(t, database), plain, "xa_recover_admin", "session_variables_admin")
				options.Set("xa_detach_on_prepare", "OFF")
			}
			p := newProxy(t, hostOf(t, plain))
			through := s.Open(t, withHost(t, plain, p.address(), options))
			other := s.Open(t, plain)
			d := mysql.New()

			b := beginMySQL(t, through, nil)
			mustExec(t, b.conn, "insert into kv values ('a', 'b')")
			b.mustPrepare(t)
			p.freeze()
			discardConn(b.conn)

			if err := d.CommitPrepared(t.Context(), other, b.xid); !errors.Is(err, drivers.ErrHeld) {
				t.Fatalf("CommitPrepared while the server believes the client alive: %v, want %v", err, drivers.ErrHeld)
			}
			if p := preparedMySQL(t, other, b.xid); p == nil || !p.Held {
				t.Errorf("Prepared: %+v, want it held", p)
			}
			ender := d.(drivers.SessionEnder)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := ender.EndSession(ctx, other, b.xid); err != nil {
				t.Fatalf("EndSession: %v", err)
			}
			if p := preparedMySQL(t, other, b.xid); p == nil || p.Held {
				t.Errorf("Prepared after EndSession: %+v, want it listed, and not held", p)
			}
			if err := d.CommitPrepared(t.Context(), other, b.xid); err != nil {
				t.Errorf("CommitPrepared after EndSession: %v", err)
			}
			if n := scanMySQL(t, other, "select count(*) from kv"); n != 1 {
				t.Errorf("%d rows, want 1", n)
			}
			if err := ender.EndSession(t.Context(), other, b.xid); err != nil {
				t.Errorf("EndSession of a branch that is finished: %v", err)
			}
		})
	}
}

// EndSession must never end a session whose branch is not prepared: that would undo it.
func TestMySQLEndSessionSparesAnActiveBranch(t *testing.T) {
	forMySQL(t, engines.MariaDB, func(t *testing.T, s *engines.Server, db *sql.DB) {
		b := beginMySQL(t, db, nil)
		mustExec(t, b.conn, "insert into kv values ('a', 'b')")
		if err := mysql.New().(drivers.SessionEnder).EndSession(t.Context(), db, b.xid); err != nil {
			t.Errorf("EndSession: %v", err)
		}
		if err := b.CommitOnePhase(t.Context()); err != nil {
			t.Errorf("CommitOnePhase after EndSession: %v", err)
		}
		b.conn.Close()
	})
}

// The branch's user-level lock must not outlive it in a pooled session, nor disturb the application's own.
func TestMySQLBranchLeavesNoLockBehind(t *testing.T) {
	ends := map[string]func(t *testing.T, b *mysqlBranch, admin *sql.DB){
		"two phases": func(t *testing.T, b *mysqlBranch, _ *sql.DB) { b.mustPrepare(t); mustDo(t, b.Commit) },
		"one phase":  func(t *testing.T, b *mysqlBranch, _ *sql.DB) { mustDo(t, b.CommitOnePhase) },
		"rollback":   func(t *testing.T, b *mysqlBranch, _ *sql.DB) { mustDo(t, b.Rollback) },
		"rollback of a prepared branch": func(t *testing.T, b *mysqlBranch, _ *sql.DB) {
			b.mustPrepare(t)
			mustDo(t, b.Rollback)
		},
		"deadlock at prepare": func(t *testing.T, b *mysqlBranch, admin *sql.DB) {
			mustDeadlock(t, b, admin)
			if _, err := b.Prepare(t.Context()); !errors.Is(err, drivers.ErrRolledBack) {
				t.Errorf("Prepare: %v, want %v", err, drivers.ErrRolledBack)
			}
			mustDo(t, b.Rollback)
		},
		"deadlock at one-phase commit": func(t *testing.T, b *mysqlBranch, admin *sql.DB) {
			mustDeadlock(t, b, admin)
			if err := b.CommitOnePhase(t.Context()); !errors.Is(err, drivers.ErrRolledBack) {
				t.Errorf("CommitOnePhase: %v, want %v", err, drivers.ErrRolledBack)
			}
			mustDo(t, b.Rollback)
		},
	}
	for _, kind := range []string{engines.MySQL, engines.MariaDB} {
		forMySQL(t, kind, func(t *testing.T, s *engines.Server, db *sql.DB) {
			mustExec(t, db, "create table poison (id int primary key, v int)")
			for name, end := range ends {
				conn := connMySQL(t, db)
				if kind == engines.MySQL {
					mustExec(t, conn, "set session xa_detach_on_prepare = off")
				}
				mustExec(t, conn, "do get_lock('the application''s', 0)")
				b := beginMySQLOn(t, conn, nil)
				end(t, b, db)
				if n := scanMySQL(t, conn, "select release_all_locks()"); n != 1 {
					t.Errorf("%s: the session has %d user-level locks, want the application's only", name, n)
				}
				mustExec(t, conn, "begin") // refused in a session that carries a branch
				mustExec(t, conn, "rollback")
				conn.Close()
			}
		})
	}
}

// mysqlBranch is a branch with its connection.
type mysqlBranch struct {
	drivers.Branch
	xid  drivers.XID
	conn *sql.Conn
}

func beginMySQL(t *testing.T, db *sql.DB, opts *sql.TxOptions) *mysqlBranch {
	t.Helper()
	return beginMySQLOn(t, connMySQL(t, db), opts)
}

func beginMySQLOn(t *testing.T, conn *sql.Conn, opts *sql.TxOptions) *mysqlBranch {
	t.Helper()
	xid := newMySQLXID()
	b, err := mysql.New().Begin(t.Context(), conn, xid, opts)
	if err != nil {
		t.Fatalf("Begin: %v", err)
	}
	return &mysqlBranch{b, xid, conn}
}

func (b *mysqlBranch) mustPrepare(t *testing.T) {
	t.Helper()
	if vote, err := b.Prepare(t.Context()); err != nil || vote != drivers.VotePrepared {
		t.Fatalf("Prepare: %s, %v", vote, err)
	}
}

func mustDo(t *testing.T, f func(context.Context) error) {
	t.Helper()
	if err := f(t.Context()); err != nil {
		t.Error(err)
	}
}

func mustDeadlock(t *testing.T, b *mysqlBranch, admin *sql.DB) {
	t.Helper()
	if err := deadlock(t.Context(), b.conn, admin); err != nil {
		t.Fatalf("make a deadlock: %v", err)
	}
}

func connMySQL(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func preparedMySQL(t *testing.T, db *sql.DB, xid drivers.XID) *drivers.Prepared {
	t.Helper()
	list, err := mysql.New().Prepared(t.Context(), db)
	if err != nil {
		t.Fatalf("Prepared: %v", err)
	}
	i := slices.IndexFunc(list, func(p drivers.Prepared) bool { return p.XID == xid })
	if i < 0 {
		return nil
	}
	return &list[i]
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func scanMySQL(t *testing.T, x queryer, query string) (n int64) {
	t.Helper()
	if err := x.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return n
}

// discardConn closes a connection without its going back to the pool.
func discardConn(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// forMySQL runs a test on every engine of the kind, with a table kv.
func forMySQL(t *testing.T, kind string, test func(t *testing.T, s *engines.Server, db *sql.DB)) {
	for _, e := range engines.Of(kind) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			db := s.Open(t, s.NewDatabase(t))
			mustExec(t, db, "create table kv (k varchar(64) primary key, v mediumtext)")
			test(t, s, db)
		})
	}
}

func grantTo(t *testing.T, admin *sql.DB, userURL string, privileges ...string) {
	t.Helper()
	mustExec(t, admin, "grant "+strings.Join(privileges, ", ")+" on *.* to "+parseURL(t, userURL).User.Username())
}

func parseURL(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func hostOf(t *testing.T, text string) string { t.Helper(); return parseURL(t, text).Host }

func withHost(t *testing.T, text, host string, options url.Values) string {
	t.Helper()
	u := parseURL(t, text)
	u.Host = host
	u.RawQuery = options.Encode()
	return u.String()
}

// proxy passes TCP connections on, until it freezes: then its clients lose theirs, and the server hears nothing more, not
// even the end.
type proxy struct {
	listener net.Listener
	server   string

	mu      sync.Mutex // guards what follows
	frozen  bool
	clients []net.Conn
	servers []net.Conn
}

func newProxy(t *testing.T, server string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, server: server}
	go p.serve()
	t.Cleanup(func() {
		l.Close()
		p.freeze()
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range p.servers {
			c.Close()
		}
	})
	return p
}

func (p *proxy) address() string { return p.listener.Addr().String() }

func (p *proxy) serve() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", p.server)
		if err != nil {
			client.Close()
			continue
		}
		p.mu.Lock()
		p.clients, p.servers = append(p.clients, client), append(p.servers, server)
		p.mu.Unlock()
		go io.Copy(client, server)
		go func() {
			io.Copy(server, client)
			p.mu.Lock()
			defer p.mu.Unlock()
			if !p.frozen {
				server.Close()
			}
		}()
	}
}

func (p *proxy) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.frozen = true
	for _, c := range p.clients {
		c.Close()
	}
	p.clients = nil
}

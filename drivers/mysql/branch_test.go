package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/drivers"
)

func TestStatementsOfABranch(t *testing.T) {
	for _, tt := range []struct {
		name   string
		server *server
		opts   *sql.TxOptions
		two    bool // phases
		want   []string
	}{
		{"mysql, one phase", newServer(), nil, false,
			[]string{"INSPECT", "XA START X", "XA END X", "XA COMMIT X ONE PHASE"}},
		{"mysql, two phases", newServer(), nil, true,
			[]string{"INSPECT", "XA START X", "XA END X", "XA PREPARE X", "XA COMMIT X"}},
		{"mysql that does not detach", &server{flavour: mySQL, isolation: "REPEATABLE-READ", lock: int64(1)}, nil, true,
			[]string{"INSPECT", "XA START X", "XA END X", "XA PREPARE X", "XA COMMIT X", "DO RELEASE_LOCK(L)"}},
		{"mariadb, one phase", newMariaDB(), nil, false,
			[]string{"INSPECT", "XA START X", "XA END X", "BEGIN NOT ATOMIC XA COMMIT X ONE PHASE; DO RELEASE_LOCK(L); END"}},
		{"mariadb, two phases", newMariaDB(), nil, true,
			[]string{"INSPECT", "XA START X", "BEGIN NOT ATOMIC XA END X; XA PREPARE X; END", "BEGIN NOT ATOMIC XA COMMIT X; DO RELEASE_LOCK(L); END"}},
		{"options", newServer(), &sql.TxOptions{Isolation: sql.LevelReadCommitted}, false,
			[]string{"INSPECT", "SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "XA START X", "XA END X", "XA COMMIT X ONE PHASE"}},
	} {
		b, err := New().Begin(t.Context(), tt.server.conn(t), xid, tt.opts)
		if err != nil {
			t.Fatalf("%s: Begin: %v", tt.name, err)
		}
		if tt.two {
			if vote, err := b.Prepare(t.Context()); vote != drivers.VotePrepared || err != nil {
				t.Errorf("%s: Prepare: %s, %v", tt.name, vote, err)
			}
			err = b.Commit(t.Context())
		} else {
			err = b.CommitOnePhase(t.Context())
		}
		if err != nil {
			t.Errorf("%s: commit: %v", tt.name, err)
		}
		tt.server.wantSent(t, tt.want...)
		if err := b.Rollback(t.Context()); err != nil || len(tt.server.sent) != len(tt.want) {
			t.Errorf("%s: Rollback after the commit: %v, sent %q", tt.name, err, tt.server.sent)
		}
	}
}

func TestBeginRefuses(t *testing.T) {
	old := newServer()
	old.flavour = 0
	unlogged := newServer()
	unlogged.unlogged = 1
	serializable := newServer()
	serializable.isolation = "SERIALIZABLE"
	for _, tt := range []struct {
		name   string
		server *server
		xid    drivers.XID
		opts   *sql.TxOptions
	}{
		{"an old server", old, xid, nil},
		{"mysql without its binary log", unlogged, xid, nil},
		{"mysql, serializable by default", serializable, xid, nil},
		{"mysql, serializable", newServer(), xid, &sql.TxOptions{Isolation: sql.LevelSerializable}},
		{"a level that does not exist", newMariaDB(), xid, &sql.TxOptions{Isolation: sql.LevelSnapshot}},
		{"another format id", newServer(), drivers.XID{FormatID: 1, GTRID: "a", BQual: "b"}, nil},
	} {
		_, err := New().Begin(t.Context(), tt.server.conn(t), tt.xid, tt.opts)
		if !errors.Is(err, drivers.ErrNotSupported) {
			t.Errorf("%s: %v, want %v", tt.name, err, drivers.ErrNotSupported)
		}
		for _, s := range tt.server.sent {
			if strings.HasPrefix(s, "XA START") {
				t.Errorf("%s: refused after the branch was started", tt.name)
			}
		}
	}
	inUse := newMariaDB()
	inUse.lock = int64(0)
	if _, err := New().Begin(t.Context(), inUse.conn(t), xid, nil); err == nil {
		t.Errorf("an XID that another session works on: no error")
	}
	if _, err := New().Begin(t.Context(), newServer().conn(t), drivers.XID{FormatID: drivers.FormatID}, nil); err == nil {
		t.Errorf("an empty XID: no error")
	}
}

// An error that is ErrRolledBack lets the caller say that nothing was applied: it must be true.
func TestFailureOfPrepareAndOnePhaseCommitClaimsNoMoreThanIsKnown(t *testing.T) {
	bad := driver.ErrBadConn
	type call = func(context.Context, drivers.Branch) error
	prepare := func(ctx context.Context, b drivers.Branch) error { _, err := b.Prepare(ctx); return err }
	onePhase := func(ctx context.Context, b drivers.Branch) error { return b.CommitOnePhase(ctx) }
	for _, tt := range []struct {
		name   string
		call   call
		server *server
		known  bool // that it was rolled back
		clean  bool // the session, after Rollback
	}{
		{"deadlock at end", prepare, newServer().on("XA END", serverError(1614), serverError(1399)), true, true},
		{"deadlock at end, and then lost", prepare, newServer().on("XA END", serverError(1614), bad), true, false},
		{"refused, rollback works", prepare, newServer().on("XA PREPARE", serverError(4091)), true, true},
		{"refused, rollback refused", prepare, newServer().on("XA PREPARE", serverError(1399)).on("XA ROLLBACK", serverError(1399), serverError(1399)), false, false},
		{"lost before prepare", prepare, newServer().on("XA END", bad, bad), true, false},
		{"lost at prepare", prepare, newServer().on("XA PREPARE", bad).on("XA END", nil, bad), false, false},
		{"gone at end", prepare, newServer().on("XA END", serverError(1399), serverError(1399)).on("XA ROLLBACK", serverError(1397), serverError(1397)), false, false},
		{"mariadb: condemned", prepare, newMariaDB().on("BEGIN NOT ATOMIC XA END", serverError(1399)), true, true},
		{"mariadb: lost", prepare, newMariaDB().on("BEGIN NOT ATOMIC XA END", bad).on("XA END", bad), false, false},
		{"deadlock at end", onePhase, newServer().on("XA END", serverError(1614), serverError(1399)), true, true},
		{"deadlock at commit", onePhase, newServer().on("XA COMMIT", serverError(1614)).on("XA ROLLBACK", serverError(1397)), true, true},
		{"lost before commit", onePhase, newServer().on("XA END", bad, bad), true, false},
		{"lost at commit", onePhase, newServer().on("XA COMMIT", bad).on("XA END", nil, bad), false, false},
		{"refused at commit, rollback works", onePhase, newServer().on("XA COMMIT", serverError(1290)), true, true},
		{"refused at commit by a read-only server, and gone", onePhase, newServer().on("XA COMMIT", serverError(1290)).on("XA ROLLBACK", serverError(1397)), true, true},
		{"refused at commit, and gone", onePhase, newServer().on("XA COMMIT", serverError(1401)).on("XA ROLLBACK", serverError(1397), serverError(1397)), false, false},
		{"mariadb: lost at commit", onePhase, newMariaDB().on("BEGIN NOT ATOMIC XA COMMIT", bad).on("XA END", nil, bad), false, false},
	} {
		b := tt.server.begin(t, nil)
		err := tt.call(t.Context(), b)
		if err == nil {
			t.Errorf("%s: no error", tt.name)
		}
		if got := errors.Is(err, drivers.ErrRolledBack); got != tt.known {
			t.Errorf("%s: %v: known to be rolled back: %t, want %t", tt.name, err, got, tt.known)
		}
		if errors.Is(err, driver.ErrBadConn) {
			t.Errorf("%s: %v is driver.ErrBadConn", tt.name, err)
		}
		if err := b.Rollback(t.Context()); (err == nil) != tt.clean {
			t.Errorf("%s: Rollback: %v, want a clean session: %t", tt.name, err, tt.clean)
		}
	}
}

// XA COMMIT ONE PHASE of a condemned branch also ends it: what is left to do is to give the lock back.
func TestCondemnedBranchGivesItsLockBack(t *testing.T) {
	s := newMariaDB().on("BEGIN NOT ATOMIC XA COMMIT", serverError(errXADeadlock)).on("BEGIN NOT ATOMIC XA ROLLBACK", serverError(errUnknownXID))
	b := s.begin(t, nil)
	if err := b.CommitOnePhase(t.Context()); !errors.Is(err, drivers.ErrRolledBack) {
		t.Errorf("CommitOnePhase: %v, want %v", err, drivers.ErrRolledBack)
	}
	if last := s.sent[len(s.sent)-1]; last != "DO RELEASE_LOCK(L)" {
		t.Errorf("sent %q, want the lock to be given back", s.sent)
	}
}

// Rule P1: XAER_NOTA alone tells nothing.
func TestUnknownXIDIsAskedFor(t *testing.T) {
	nota := serverError(errUnknownXID)
	for _, tt := range []struct {
		name   string
		listed bool
		want   error
	}{
		{"listed", true, drivers.ErrHeld},
		{"not listed", false, drivers.ErrUnknownXID},
	} {
		for name, call := range map[string]func(b drivers.Branch, db *sql.DB) error{
			"Commit":   func(b drivers.Branch, _ *sql.DB) error { return b.Commit(t.Context()) },
			"Rollback": func(b drivers.Branch, _ *sql.DB) error { return b.Rollback(t.Context()) },
			"CommitPrepared": func(_ drivers.Branch, db *sql.DB) error {
				return New().CommitPrepared(t.Context(), db, xid)
			},
			"RollbackPrepared": func(_ drivers.Branch, db *sql.DB) error {
				return New().RollbackPrepared(t.Context(), db, xid)
			},
		} {
			s := newServer().on("XA COMMIT", nota).on("XA ROLLBACK", nota)
			if tt.listed {
				s.recover = []drivers.XID{{FormatID: 1, GTRID: xid.GTRID, BQual: xid.BQual}, xid}
			}
			b := s.begin(t, nil)
			if _, err := b.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
			err := call(b, s.pool(t))
			for _, sentinel := range []error{drivers.ErrHeld, drivers.ErrUnknownXID, drivers.ErrRolledBack} {
				if got := errors.Is(err, sentinel); got != (sentinel == tt.want) {
					t.Errorf("%s of an XID that is %s: %v, want %v only", name, tt.name, err, tt.want)
				}
			}
		}
	}
}

// MariaDB would finish a branch that differs in its format id alone.
func TestFinishSendsNothingForAnXIDThatIsNotListed(t *testing.T) {
	s := newMariaDB()
	s.recover = []drivers.XID{{FormatID: 1, GTRID: xid.GTRID, BQual: xid.BQual}}
	if err := New().CommitPrepared(t.Context(), s.pool(t), xid); !errors.Is(err, drivers.ErrUnknownXID) {
		t.Errorf("CommitPrepared: %v, want %v", err, drivers.ErrUnknownXID)
	}
	s.wantSent(t, "XA RECOVER")
}

func TestRolledBackByTheServerIsSuccessOnlyOfWhatMariaDBSays(t *testing.T) {
	for _, tt := range []struct {
		server *server
		nil    bool
	}{{newMariaDB(), true}, {newServer(), false}} {
		tt.server.on("XA COMMIT", serverError(errXARolledBack)).recover = []drivers.XID{xid}
		err := New().CommitPrepared(t.Context(), tt.server.pool(t), xid)
		if (err == nil) != tt.nil || err != nil && !errors.Is(err, drivers.ErrRolledBack) {
			t.Errorf("flavour %d: CommitPrepared: %v", tt.server.flavour, err)
		}
	}
	s := newMariaDB().on("XA ROLLBACK", serverError(errXARolledBack))
	s.recover = []drivers.XID{xid}
	if err := New().RollbackPrepared(t.Context(), s.pool(t), xid); err != nil {
		t.Errorf("RollbackPrepared: %v", err)
	}
}

func TestReadOnlyBranchLeavesEarlyUnlessSerializable(t *testing.T) {
	s := newMariaDB()
	b := s.begin(t, &sql.TxOptions{ReadOnly: true})
	if vote, err := b.Prepare(t.Context()); vote != drivers.VoteReadOnly || err != nil {
		t.Errorf("Prepare: %s, %v, want %s", vote, err, drivers.VoteReadOnly)
	}
	for name, opts := range map[string]*sql.TxOptions{
		"serializable":            {ReadOnly: true, Isolation: sql.LevelSerializable},
		"serializable by default": {ReadOnly: true},
		"not declared":            {},
	} {
		s := newMariaDB()
		if name == "serializable by default" {
			s.isolation = "SERIALIZABLE"
		}
		b := s.begin(t, opts)
		if is, _ := b.(drivers.ReadOnlyBranch).ReadOnly(t.Context()); is {
			t.Errorf("%s: ReadOnly is true", name)
		}
		if vote, err := b.Prepare(t.Context()); vote != drivers.VotePrepared || err != nil {
			t.Errorf("%s: Prepare: %s, %v, want %s", name, vote, err, drivers.VotePrepared)
		}
	}
}

func TestCleanUpOutlastsItsCallerByTheGraceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		caller, end := context.WithCancel(t.Context())
		ctx, cancel := outlast(caller)
		defer cancel()
		time.Sleep(time.Hour)
		end()
		time.Sleep(grace - 1)
		if err := ctx.Err(); err != nil {
			t.Errorf("within the grace: %v", err)
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if ctx.Err() == nil {
			t.Errorf("still alive after the grace")
		}
	})
}

package sqllog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"
)

// askLimit is how long a connection may take to show that it is alive, and to undo a transaction.
const askLimit = 2 * time.Second

// errLost makes a session give up its connection.
var errLost = errors.New("the connection is not usable any more")

// session is a connection of the pool that the log keeps for itself: it has settings of its own, and is there when the pool is full
// of branches that wait for Decide. One user at a time has it. A connection that breaks is replaced at its next use: first by that of the
// reserve, since the pool may be full, and else by one from the pool.
type session struct {
	db      *sql.DB
	prepare func(context.Context, *sql.Conn) error // readies a new connection
	query   string                                 // for the number of the server's session
	tries   int
	reserve *session // may be nil

	turn chan struct{} // is full while somebody has the session
	conn *sql.Conn     // nil: none; belongs to who has the turn
	id   int64         // of the server's session
}

func newSession(db *sql.DB, g *grammar, prepare func(context.Context, *sql.Conn) error) *session {
	return &session{db: db, prepare: prepare, query: g.sessionID, tries: g.tries, turn: make(chan struct{}, 1)}
}

// do runs f on the connection. f leaves no transaction open, or returns errLost. When it fails it may be run again.
func (s *session) do(ctx context.Context, f func(context.Context, *sql.Conn) error) error {
	select {
	case s.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-s.turn }()
	if err := ctx.Err(); err != nil {
		return err
	}
	for {
		fresh := s.conn == nil
		if fresh {
			if err := s.connect(ctx); err != nil {
				return err
			}
		}
		err := s.try(ctx, f)
		if err == nil || s.conn != nil || fresh || ctx.Err() != nil {
			return err
		}
		// It had broken before, unnoticed: the server was restarted, say.
	}
}

// try runs f on the connection there is, and drops that if it is dead afterwards.
func (s *session) try(ctx context.Context, f func(context.Context, *sql.Conn) error) error {
	var err error
	for range s.tries {
		if err = f(ctx, s.conn); err == nil {
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, errLost) {
			break
		}
	}
	if errors.Is(err, errLost) || s.alive(ctx) != nil {
		s.drop()
	}
	return err
}

// touch keeps an idle connection from being ended by the server, or forgotten by what stands in between; and replaces it where that has happened.
func (s *session) touch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 2*askLimit)
	defer cancel()
	return s.do(ctx, func(ctx context.Context, _ *sql.Conn) error {
		if s.alive(ctx) != nil {
			return errLost
		}
		return nil
	})
}

// alive asks whether the connection still answers, and leads to the same session of the server: a pooler in between may
// have exchanged it.
func (s *session) alive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askLimit)
	defer cancel()
	var id int64
	if err := s.conn.QueryRowContext(ctx, s.query).Scan(&id); err != nil {
		return err
	}
	if id != s.id {
		return errLost
	}
	return nil
}

func (s *session) connect(ctx context.Context) error {
	if s.reserve != nil && s.take(ctx, s.reserve) {
		return nil
	}
	var err error
	// Idle connections of the pool may be dead, all of them: only a new one tells.
	for range s.db.Stats().Idle + 2 {
		if err = s.open(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

func (s *session) open(ctx context.Context) error {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return err
	}
	if err = s.prepare(ctx, conn); err == nil {
		err = conn.QueryRowContext(ctx, s.query).Scan(&s.id)
	}
	if err != nil {
		discard(conn)
		return err
	}
	s.conn = conn
	return nil
}

// take takes over the other's connection if it has one that is alive.
func (s *session) take(ctx context.Context, other *session) bool {
	ctx, cancel := context.WithTimeout(ctx, askLimit)
	defer cancel()
	select {
	case other.turn <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	defer func() { <-other.turn }()
	if other.conn == nil {
		return false
	}
	if other.alive(ctx) != nil {
		other.drop()
		return false
	}
	s.conn, s.id, other.conn = other.conn, other.id, nil
	return true
}

// drop gives up the connection.
func (s *session) drop() {
	if s.conn != nil {
		discard(s.conn)
		s.conn = nil
	}
}

// close gives up the connection for good: nobody else shall have it with the log's settings.
func (s *session) close() {
	s.turn <- struct{}{}
	s.drop()
	<-s.turn
}

// discard closes the connection instead of pooling it.
func discard(conn *sql.Conn) {
	_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = conn.Close()
}

// checkPool refuses a pool that the log would leave nothing of.
func checkPool(db *sql.DB, sessions int) error {
	if n := db.Stats().MaxOpenConnections; n > 0 && n <= sessions {
		return fmt.Errorf("the pool is limited to %d connections, and the log keeps %d of them for itself: SetMaxOpenConns(%d) at least, and more where the database is a resource as well",
			n, sessions, sessions+1)
	}
	return nil
}

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
// of branches that wait for Decide. One user at a time has it. A connection that breaks is replaced at its next use.
type session struct {
	db      *sql.DB
	prepare func(context.Context, *sql.Conn) error // readies a new connection
	query   string                                 // for the number of the server's session
	tries   int
	limit   chan struct{} // is full while somebody lifts the pool's limit, see open
	// patience is how long one use may take before the connection is taken for dead: one that has lost the other end without a word
	// answers nothing, for as long as the operating system goes on sending. Zero: for ever.
	patience time.Duration

	turn   chan struct{} // is full while somebody has the session; what follows belongs to him
	conn   *sql.Conn     // nil: none
	id     int64         // of the server's session
	broken *sql.Conn     // holds its place in the pool until there is another
}

func newSession(db *sql.DB, g *grammar, limit chan struct{}, prepare func(context.Context, *sql.Conn) error) *session {
	return &session{db: db, prepare: prepare, query: g.sessionID, tries: g.tries, limit: limit, turn: make(chan struct{}, 1)}
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
		if err = s.use(ctx, f); err == nil {
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

// use runs f, and takes a connection for dead on which it finds no end.
func (s *session) use(ctx context.Context, f func(context.Context, *sql.Conn) error) error {
	if s.patience == 0 {
		return f(ctx, s.conn)
	}
	limited, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	err := f(limited, s.conn)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = errors.Join(err, errLost)
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
	var err error
	// Idle connections of the pool may be dead, all of them: only a new one tells.
	for range s.db.Stats().Idle + 2 {
		if err = s.open(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	return err
}

// open takes a connection from the pool, for the place of the broken one. Whoever waits in vain for a full pool may be waiting for
// Decide: so the pool's limit is lifted until there is a connection, and the broken one gives up its place afterwards.
func (s *session) open(ctx context.Context) error {
	select {
	case s.limit <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	before := s.db.Stats()
	lifted := max(before.MaxOpenConnections, before.OpenConnections) + 1
	if before.MaxOpenConnections > 0 && s.broken != nil {
		s.db.SetMaxOpenConns(lifted)
	}
	conn, err := s.db.Conn(ctx)
	if s.db.Stats().MaxOpenConnections == lifted {
		s.db.SetMaxOpenConns(before.MaxOpenConnections)
	}
	<-s.limit
	if err != nil {
		return err
	}
	s.giveUp()
	if err = s.prepare(ctx, conn); err == nil {
		err = conn.QueryRowContext(ctx, s.query).Scan(&s.id)
	}
	s.conn = conn
	if err != nil {
		s.drop()
	}
	return err
}

// drop takes the connection for broken.
func (s *session) drop() {
	if s.conn != nil {
		s.giveUp()
		s.broken, s.conn = s.conn, nil
	}
}

// giveUp frees the broken connection's place in the pool.
func (s *session) giveUp() {
	if s.broken != nil {
		discard(s.broken)
		s.broken = nil
	}
}

// close gives up the connection for good: nobody else shall have it with the log's settings.
func (s *session) close() {
	s.turn <- struct{}{}
	s.drop()
	s.giveUp()
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

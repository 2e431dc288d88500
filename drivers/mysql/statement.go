package mysql

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"
)

// grace is how long clean-up goes on after the caller's context has ended.
const grace = 5 * time.Second

// exec runs one XA statement over the one connection (rule D11), and returns its error in the contract's terms.
//
// It goes round database/sql's own ExecContext because of what that does with driver.ErrBadConn: it closes the Conn, and so waits
// for ever for rows that the application has left open. A broken connection is kept out of the pool all the same:
// go-sql-driver says that it is not valid any more.
func exec(ctx context.Context, conn *sql.Conn, statement string) error {
	var err error
	direct := false
	raw := conn.Raw(func(c any) error {
		var e driver.ExecerContext
		if e, direct = c.(driver.ExecerContext); direct {
			if err = ctx.Err(); err == nil {
				_, err = e.ExecContext(ctx, statement, nil)
			}
		}
		return nil
	})
	switch {
	case raw != nil:
		return translate(raw)
	case !direct || err == driver.ErrSkip:
		_, err = conn.ExecContext(ctx, statement)
	}
	return translate(err)
}

// outlast returns a context for clean-up: it ends when ctx has been over for the grace period (rule B9).
func outlast(ctx context.Context) (context.Context, context.CancelFunc) {
	out, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		limit := time.NewTimer(grace)
		defer limit.Stop()
		select {
		case <-limit.C:
			cancel()
		case <-out.Done():
		}
	})
	return out, func() {
		stop()
		cancel()
	}
}

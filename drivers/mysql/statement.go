package mysql

import (
	"context"
	"database/sql"
	"time"
)

// grace is how long clean-up goes on after the caller's context has ended.
const grace = 5 * time.Second

// exec runs one XA statement over the one connection (rule D11), and returns its error in the contract's terms.
func exec(ctx context.Context, conn *sql.Conn, statement string) error {
	_, err := conn.ExecContext(ctx, statement)
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

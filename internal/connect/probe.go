package connect

import (
	"context"
	"database/sql"
	"time"

	"github.com/xasql/xasql/drivers"
	"github.com/xasql/xasql/drivers/mysql"
	"github.com/xasql/xasql/drivers/postgres"
	"github.com/xasql/xasql/drivers/sqlite"
)

// Server is what a database's server tells of itself. A zero value is not told.
type Server struct {
	Version string
	Clock   time.Time // its clock, while it answered
	Used    int       // prepared transactions that it holds, anybody's, where it has a limit of them
	Limit   int
}

// Probe asks the server of a resource. An engine without a server tells nothing.
func Probe(ctx context.Context, res drivers.Resource) (Server, error) {
	var s Server
	var clock float64
	var err error
	_, isPostgres := res.Driver.(*postgres.Driver)
	switch {
	case isPostgres:
		err = ask(ctx, res.DB, `SELECT current_setting('server_version'), date_part('epoch', clock_timestamp()),
			(SELECT count(*) FROM pg_prepared_xacts), current_setting('max_prepared_transactions')::int`, &s.Version, &clock, &s.Used, &s.Limit)
	case res.Driver == mysql.New():
		err = ask(ctx, res.DB, `SELECT VERSION(), UNIX_TIMESTAMP(NOW(6))`, &s.Version, &clock)
	default:
		err = res.DB.PingContext(ctx)
	}
	if clock > 0 {
		s.Clock = time.UnixMicro(int64(clock * 1e6))
	}
	return s, err
}

// Advice is what to look at when the resource can't be asked.
func Advice(res drivers.Resource) string {
	if res.Driver == sqlite.New() {
		return "check the path, and that this user may read and write the file and its directory; the application makes it"
	}
	return "check address, user, password and privileges"
}

func ask(ctx context.Context, db *sql.DB, query string, to ...any) error {
	return db.QueryRowContext(ctx, query).Scan(to...)
}

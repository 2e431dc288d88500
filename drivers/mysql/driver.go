package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/xasql/xasql/drivers"
)

// engine implements drivers.Driver and the optional interfaces. It holds nothing.
type engine struct{}

var (
	_ drivers.Driver       = engine{}
	_ drivers.Checker      = engine{}
	_ drivers.Classifier   = engine{}
	_ drivers.Identifier   = engine{}
	_ drivers.SessionEnder = engine{}
	_ drivers.Blocker      = engine{}
	_ drivers.Locker       = engine{}
)

// New returns the driver for MySQL 8.0.29 and later, and MariaDB 10.5.2 and later. Which of the two a server is, it asks
// anew for every branch. It is also a [drivers.Checker], [drivers.Classifier], [drivers.Identifier],
// [drivers.SessionEnder], [drivers.Blocker] and [drivers.Locker].
func New() drivers.Driver { return engine{} }

// Begin implements drivers.Driver. It takes two round trips, and a third where opts ask for something.
func (engine) Begin(ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (drivers.Branch, error) {
	b, err := begin(ctx, conn, xid, opts)
	if err != nil {
		return nil, fmt.Errorf("mysql: begin %s: %w", xid, err)
	}
	return b, nil
}

func begin(ctx context.Context, conn *sql.Conn, xid drivers.XID, opts *sql.TxOptions) (*branch, error) {
	if err := xid.Validate(); err != nil {
		return nil, err
	}
	if xid.FormatID != drivers.FormatID {
		return nil, fmt.Errorf("%w: format id %d: the servers take branches that differ in it alone for the same: leave it at %d",
			drivers.ErrNotSupported, xid.FormatID, drivers.FormatID)
	}
	if opts == nil {
		opts = &sql.TxOptions{}
	}
	set, err := characteristics(*opts)
	if err != nil {
		return nil, err
	}
	s, err := inspect(ctx, conn, xid)
	if err != nil {
		return nil, err
	}
	if opts.Isolation != sql.LevelDefault {
		s.serializable = opts.Isolation == sql.LevelSerializable
	}
	if err := s.refuse(); err != nil {
		return nil, err
	}
	if set != "" {
		if err := exec(ctx, conn, set); err != nil {
			return nil, err
		}
	}
	b := &branch{conn: conn, xid: xid, x: literal(xid), session: s, readOnly: opts.ReadOnly, state: active}
	if err := exec(ctx, conn, "XA START "+b.x); err != nil {
		return nil, err
	}
	return b, nil
}

// refuse returns why a branch can't keep its promises in this session.
func (s session) refuse() error {
	if s.flavour != mySQL {
		return nil
	}
	if s.serializable {
		return fmt.Errorf("%w: serializable isolation on MySQL, which gives up at XA PREPARE what a branch that changed nothing has read: "+
			"ask for repeatable read, and lock what you read by changing it", drivers.ErrNotSupported)
	}
	if s.unlogged {
		return fmt.Errorf("%w: sql_log_bin is 0 in this session, and a MySQL server that writes a binary log loses prepared branches that "+
			"are not in it when it crashes: set it to 1", drivers.ErrNotSupported)
	}
	return nil
}

// Classify implements drivers.Classifier, by the server's error number.
func (engine) Classify(err error) drivers.Class { return classify(err) }

// Identify implements drivers.Identifier: MySQL's server_uuid, which lives in the data directory (auto.cnf). A copy of
// the directory has the same one until that file is deleted. MariaDB has nothing that would do: its server_uid is a
// hash of network address and port, which changes with the container and is the same in two of them.
func (engine) Identify(ctx context.Context, db *sql.DB) (string, error) {
	var name, id string
	err := db.QueryRowContext(ctx, "SHOW GLOBAL VARIABLES WHERE Variable_name = 'server_uuid'").Scan(&name, &id)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return "", fmt.Errorf("mysql: identify: %w: MariaDB has no identity that lasts: "+
			"make sure yourself that a resource's name always means the same server", drivers.ErrNotSupported)
	case err != nil:
		return "", fmt.Errorf("mysql: identify: %w", translate(err))
	}
	return "mysql:" + id, nil
}

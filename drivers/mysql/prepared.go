package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// Prepared implements drivers.Driver. It lists the branches of the whole server, whichever schema they
// changed, with two more round trips: for those of ours that are about to be prepared, and to tell which of ours are held.
func (engine) Prepared(ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
	list, err := listAndHeld(ctx, db)
	if err != nil {
		return nil, fmt.Errorf("mysql: list prepared branches: %w", err)
	}
	return list, nil
}

func listAndHeld(ctx context.Context, db *sql.DB) ([]drivers.Prepared, error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, translate(err)
	}
	defer conn.Close()
	// First who is at it, then what is there: one that gets ready in between is found by the second look.
	busy, err := preparing(ctx, conn)
	if err != nil {
		return nil, err
	}
	list, err := list(ctx, conn)
	if err != nil {
		return nil, err
	}
	if err := markHeld(ctx, conn, list); err != nil {
		return nil, err
	}
	if err := awaitHandover(ctx, conn, list); err != nil {
		return nil, err
	}
	return merge(list, busy), nil
}

// list reads XA RECOVER. Its data column is binary, whatever the connection's character set is.
func list(ctx context.Context, conn *sql.Conn) ([]drivers.Prepared, error) {
	rows, err := conn.QueryContext(ctx, "XA RECOVER")
	if err != nil {
		return nil, explainList(err)
	}
	defer rows.Close()
	var list []drivers.Prepared
	for rows.Next() {
		var format, gtridLen, bqualLen int64
		var data sql.RawBytes
		if err := rows.Scan(&format, &gtridLen, &bqualLen, &data); err != nil {
			return nil, translate(err)
		}
		list = append(list, fromRecover(format, gtridLen, bqualLen, data))
	}
	return list, explainList(rows.Err())
}

// explainList adds what to do about the error that MySQL gives for a missing privilege.
func explainList(err error) error {
	if number(err) == errXAFailed {
		return fmt.Errorf("this user may not list prepared branches: %s this user: %w", grantRecover, err)
	}
	return translate(err)
}

// isPrepared tells whether the server lists exactly this XID.
func isPrepared(ctx context.Context, conn *sql.Conn, xid drivers.XID) (bool, error) {
	list, err := list(ctx, conn)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(list, func(p drivers.Prepared) bool { return p.Raw == "" && p.XID == xid }), nil
}

// CommitPrepared implements drivers.Driver. On MariaDB it returns nil for a branch that changed nothing and whose session has ended,
// of which the server says that it was rolled back.
func (engine) CommitPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	if err := finish(ctx, db, xid, "XA COMMIT "); err != nil {
		return fmt.Errorf("mysql: commit prepared %s: %w", xid, err)
	}
	return nil
}

// RollbackPrepared implements drivers.Driver.
func (engine) RollbackPrepared(ctx context.Context, db *sql.DB, xid drivers.XID) error {
	err := finish(ctx, db, xid, "XA ROLLBACK ")
	if err != nil && !errors.Is(err, drivers.ErrRolledBack) {
		return fmt.Errorf("mysql: roll back prepared %s: %w", xid, err)
	}
	return nil
}

// finish ends a prepared branch that is not this session's.
func finish(ctx context.Context, db *sql.DB, xid drivers.XID, verb string) error {
	if err := xid.Validate(); err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return translate(err)
	}
	defer conn.Close()
	// MariaDB looks only at the two parts: asked first it would finish a stranger's branch that differs in its format id.
	listed, err := isPrepared(ctx, conn, xid)
	if err != nil {
		return err
	}
	if !listed {
		return fmt.Errorf("%w: XA RECOVER does not list it", drivers.ErrUnknownXID)
	}
	// In this order: only a session that has given up its lock has begun to hand over, if it has anything to.
	session, err := holder(ctx, conn, xid)
	if err != nil {
		return err
	}
	if session != 0 {
		return fmt.Errorf("%w: by session %d", drivers.ErrHeld, session)
	}
	over, err := handedOver(ctx, conn)
	if err != nil {
		return err
	}
	if !over {
		return fmt.Errorf("%w: a session on the server is ending, which may be its own", drivers.ErrHeld)
	}
	return confirm(ctx, conn, xid, finishOn(ctx, conn, guarded(verb, xid)))
}

var _ drivers.Finisher = engine{}

// FinishListed implements drivers.Finisher. It does not ask for the list again, whose length makes finishing many branches by it cost the square
// of their number: what was listed under our format id is no stranger's, as no server holds two branches that differ in it alone.
func (engine) FinishListed(ctx context.Context, conn *sql.Conn, xid drivers.XID, commit bool) error {
	err := xid.Validate()
	if err == nil && xid.FormatID != drivers.FormatID {
		err = fmt.Errorf("%w: another program's branch: finish it with CommitPrepared or RollbackPrepared", drivers.ErrNotSupported)
	}
	verb, what := "XA ROLLBACK ", "roll back"
	if commit {
		verb, what = "XA COMMIT ", "commit"
	}
	if err == nil {
		err = finishOn(ctx, conn, guarded(verb, xid)) // Prepared has waited
	}
	if err != nil && (commit || !errors.Is(err, drivers.ErrRolledBack)) {
		return fmt.Errorf("mysql: %s prepared %s: %w", what, xid, err)
	}
	return nil
}

func finishOn(ctx context.Context, conn *sql.Conn, statement string) error {
	err := exec(ctx, conn, statement)
	if number(err) == errXARolledBack {
		return changedNothing(ctx, conn, err)
	}
	return err
}

// changedNothing decides what XA_RBROLLBACK means for a branch that was prepared. MariaDB rolls back at the end of its session a
// prepared branch that changed nothing (sql/xa.cc, trans_xa_detach), and only such a one: there was nothing to commit.
func changedNothing(ctx context.Context, conn *sql.Conn, err error) error {
	var maria bool
	if asked := conn.QueryRowContext(ctx, "SELECT 0 /*M! + 1 */").Scan(&maria); asked != nil {
		return fmt.Errorf("%w; and the server's kind: %w", err, translate(asked))
	}
	if maria {
		return nil
	}
	return err
}

// confirm decides what the server's answer to an attempt to finish a prepared branch means. XAER_NOTA alone
// tells nothing (rule P1): a branch that a session holds gives it as well as one that is gone.
func confirm(ctx context.Context, conn *sql.Conn, xid drivers.XID, err error) error {
	if !errors.Is(err, drivers.ErrUnknownXID) {
		return err
	}
	listed, asked := isPrepared(ctx, conn, xid)
	switch {
	case asked != nil:
		return fmt.Errorf("XAER_NOTA, and whether it is still prepared: %w", asked)
	case listed:
		return fmt.Errorf("%w: the server lists it, but answers XAER_NOTA to all but that session", drivers.ErrHeld)
	}
	return err
}

// markHeld asks which of our branches a session holds.
func markHeld(ctx context.Context, conn *sql.Conn, list []drivers.Prepared) error {
	var ours []int
	for i, p := range list {
		if p.Raw == "" && p.XID.FormatID == drivers.FormatID {
			ours = append(ours, i)
		}
	}
	for chunk := range slices.Chunk(ours, 200) {
		var query strings.Builder
		query.WriteString("SELECT CONCAT(''")
		for _, i := range chunk {
			fmt.Fprintf(&query, ", IS_USED_LOCK('%s') IS NOT NULL", lockName(list[i].XID))
		}
		query.WriteString(")")
		var held string
		if err := conn.QueryRowContext(ctx, query.String()).Scan(&held); err != nil {
			return fmt.Errorf("who holds them: %w", translate(err))
		}
		for n, i := range chunk {
			list[i].Held = n < len(held) && held[n] == '1'
		}
	}
	return nil
}

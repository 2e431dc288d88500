package sqllog

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/xasql/xasql/txlog"
)

// alive is 1 for a member whose lease is not over. The database's clock measures all leases.
const alive = "CASE WHEN expires > :now THEN 1 ELSE 0 END"

// claimBatch is how many IDs are claimed, or asked for, with one statement.
const claimBatch = 500

// member is a row of the members' table.
type member struct {
	log   *Log
	mark  string
	token int64 // tells it from another who has come to the same mark
	left  bool  // Log.mu guards it
}

// Join makes the caller a member, alive from the moment when Join returns. Its lease is renewed on the connection that decisions don't
// use, at every third of its length.
func (l *Log) Join(ctx context.Context) (txlog.Member, error) {
	m, err := l.join(ctx)
	if err != nil {
		return nil, fmt.Errorf("sqllog: join: %w", err)
	}
	return m, nil
}

func (l *Log) join(ctx context.Context) (*member, error) {
	end, err := l.begin(true)
	if err != nil {
		return nil, err
	}
	defer end()
	var m *member
	for range 4 { // another may have the mark
		m = &member{log: l, mark: newMark(), token: newToken()}
		if err = l.side.do(ctx, m.insert); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.members[m] = true
	if !l.renews {
		l.renews = true
		l.beside.Go(l.renew)
	}
	return m, nil
}

func newMark() string {
	b := make([]byte, txlog.MarkLen)
	_, _ = rand.Read(b) // never fails
	for i := range b {
		b[i] = txlog.MarkAlphabet[b[i]%byte(len(txlog.MarkAlphabet))]
	}
	return string(b)
}

func newToken() int64 {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return int64(binary.BigEndian.Uint64(b[:]) >> 1)
}

func (m *member) insert(ctx context.Context, conn *sql.Conn) error {
	_, err := conn.ExecContext(ctx, m.log.grammar.text("INSERT INTO xasql_member (mark, name, token, since, expires) VALUES (?, ?, ?, :now, :now + ?)"),
		m.mark, m.log.opts.Name, m.token, m.log.opts.Lease.Microseconds())
	return err
}

// extend renews the lease, also of a member whose row was cleaned away while it could not be reached.
func (m *member) extend(ctx context.Context, conn *sql.Conn) error {
	result, err := conn.ExecContext(ctx, m.log.grammar.text("UPDATE xasql_member SET expires = :now + ? WHERE mark = ? AND token = ?"),
		m.log.opts.Lease.Microseconds(), m.mark, m.token)
	if err != nil {
		return err
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	return m.insert(ctx, conn)
}

// renew is the goroutine that keeps the members of this opening alive.
func (l *Log) renew() {
	tick := time.NewTicker(l.opts.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-l.closing:
			return
		case <-tick.C:
		}
		l.mu.Lock()
		var list []*member
		if !l.paused {
			for m := range l.members {
				list = append(list, m)
			}
		}
		l.mu.Unlock()
		for _, m := range list {
			l.complain("renew its lease", l.renewOne(m))
		}
	}
}

func (l *Log) renewOne(m *member) error {
	ctx, cancel := context.WithTimeout(l.ctx, max(l.opts.Lease/3, time.Second))
	defer cancel()
	return l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
		if m.gone() { // Leave waits for the connection, or has had it
			return nil
		}
		return m.extend(ctx, conn)
	})
}

func (m *member) gone() bool {
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	return m.left
}

// Mark is what the IDs of this member's transactions carry.
func (m *member) Mark() string { return m.mark }

// Leave ends the membership: others may claim at once what it had. After an error they must wait until the lease is over; Leave
// may be called again.
func (m *member) Leave(ctx context.Context) error {
	l := m.log
	l.mu.Lock()
	known := l.members[m]
	m.left = true
	l.mu.Unlock()
	if !known {
		return nil
	}
	end, err := l.begin(true)
	if errors.Is(err, txlog.ErrClosed) {
		return nil // Close has ended it
	}
	if err == nil {
		defer end()
		err = l.leave(ctx, m)
	}
	if err != nil {
		return fmt.Errorf("sqllog: leave: %w", err)
	}
	return nil
}

func (l *Log) leave(ctx context.Context, m *member) error {
	err := l.run(ctx, "DELETE FROM xasql_member WHERE mark = ? AND token = ?", m.mark, m.token)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.members, m)
	}
	return err
}

func (l *Log) leaveAll(ctx context.Context) error {
	var errs []error
	for m := range l.members { // nobody else uses it any more
		errs = append(errs, l.leave(ctx, m))
	}
	return errors.Join(errs...)
}

// holding is who has some IDs.
type holding struct {
	members map[string]txlog.Holder // by mark
	claims  map[string]txlog.Holder // by encoded ID; Alive is not set
}

// of returns who has the ID. claimed tells that it is by a claim.
func (h holding) of(id string) (holder txlog.Holder, claimed, ok bool) {
	if c, ok := h.claims[encode(id)]; ok {
		if m, ok := h.members[c.Mark]; ok {
			c = m
		}
		return c, true, true
	}
	m, ok := h.members[txlog.Mark(id)]
	return m, false, ok
}

// holding asks for members and claims.
func (l *Log) holding(ctx context.Context, conn *sql.Conn, ids []string) (holding, error) {
	h := holding{members: map[string]txlog.Holder{}, claims: map[string]txlog.Holder{}}
	keys := make([]any, len(ids))
	for i, id := range ids {
		keys[i] = encode(id)
	}
	// First the claims: who has left in between has left his claims, too.
	err := scanHolders(ctx, conn, func(key string, c txlog.Holder) { h.claims[key] = c },
		l.grammar.text("SELECT id, mark, name, 0 FROM xasql_claim WHERE id IN ("+list(len(ids))+")"), keys...)
	if err == nil {
		err = scanHolders(ctx, conn, func(mark string, m txlog.Holder) { h.members[mark] = m },
			l.grammar.text("SELECT mark, mark, name, "+alive+" FROM xasql_member"))
	}
	return h, err
}

func scanHolders(ctx context.Context, conn *sql.Conn, note func(key string, h txlog.Holder), query string, args ...any) error {
	rows, err := conn.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var key string
		var h txlog.Holder
		if err := rows.Scan(&key, &h.Mark, &h.Name, &h.Alive); err != nil {
			return err
		}
		note(key, h)
	}
	return rows.Err()
}

// Holders returns who has each ID. It changes nothing.
func (l *Log) Holders(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	holders := map[string]txlog.Holder{}
	end, err := l.begin(false)
	if err != nil {
		return nil, fmt.Errorf("sqllog: holders: %w", err)
	}
	defer end()
	for chunk := range slices.Chunk(ids, claimBatch) {
		err := l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
			h, err := l.holding(ctx, conn, chunk)
			if err != nil {
				return err
			}
			for _, id := range chunk {
				if holder, _, ok := h.of(id); ok {
					holders[id] = holder
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("sqllog: holders: %w", err)
		}
	}
	return holders, nil
}

// Claim takes the IDs for this member, durably, unless another living member has them. It takes some hundred with one
// commit. On an error nothing is certain: claim again.
func (m *member) Claim(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	refused, err := m.claim(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("sqllog: claim: %w", err)
	}
	return refused, nil
}

func (m *member) claim(ctx context.Context, ids []string) (map[string]txlog.Holder, error) {
	l := m.log
	end, err := l.begin(true)
	if err != nil {
		return nil, err
	}
	defer end()
	for _, id := range ids {
		if _, err := key(id); err != nil {
			return nil, err
		}
	}
	// In one order, and each once.
	ids = slices.Compact(slices.Sorted(slices.Values(ids)))
	refused := map[string]txlog.Holder{}
	for chunk := range slices.Chunk(ids, claimBatch) {
		err := l.side.do(ctx, func(ctx context.Context, conn *sql.Conn) error {
			if m.gone() {
				return errors.New("the member has left: join again")
			}
			return m.claimChunk(ctx, conn, chunk, refused)
		})
		if err != nil {
			return nil, err
		}
	}
	return refused, nil
}

// claimChunk claims by single statements, none of which keeps a lock when it is over: a process that is suspended, or vanishes, in between
// blocks nobody. A claim that was free is inserted, one of a dead member's is exchanged for ours as long as it is still
// that member's, and who was quicker is found by reading them once more.
func (m *member) claimChunk(ctx context.Context, conn *sql.Conn, ids []string, refused map[string]txlog.Holder) error {
	l := m.log
	if err := m.extend(ctx, conn); err != nil { // else another could claim at once what it is granted
		return err
	}
	h, err := l.holding(ctx, conn, ids)
	if err != nil {
		return err
	}
	var contested []string
	var fresh []any
	taken := map[string][]any{} // by the mark of who has them
	for _, id := range ids {
		delete(refused, id) // of an earlier try
		holder, claimed, ok := h.of(id)
		switch {
		case ok && holder.Mark == m.mark:
			continue
		case ok && holder.Alive:
			refused[id] = holder
			continue
		case claimed:
			taken[holder.Mark] = append(taken[holder.Mark], encode(id))
		default:
			fresh = append(fresh, encode(id), m.mark, l.opts.Name)
		}
		contested = append(contested, id)
	}
	if len(contested) == 0 {
		return nil
	}
	if n := len(fresh) / 3; n > 0 {
		query := "INSERT INTO xasql_claim (id, mark, name, claimed_at) VALUES " + repeat("(?, ?, ?, :now)", n) + " " + l.grammar.keep
		if _, err := conn.ExecContext(ctx, l.grammar.text(query), fresh...); err != nil {
			return err
		}
	}
	for mark, keys := range taken {
		query := "UPDATE xasql_claim SET mark = ?, name = ?, claimed_at = :now WHERE mark = ? AND id IN (" + list(len(keys)) + ")"
		if _, err := conn.ExecContext(ctx, l.grammar.text(query), append([]any{m.mark, l.opts.Name, mark}, keys...)...); err != nil {
			return err
		}
	}
	if h, err = l.holding(ctx, conn, contested); err != nil {
		return err
	}
	for _, id := range contested {
		if holder, claimed, _ := h.of(id); !claimed {
			return fmt.Errorf("the claim of %q is gone again: claim once more", id) // somebody has cleaned up meanwhile
		} else if holder.Mark != m.mark {
			refused[id] = holder
		}
	}
	return nil
}

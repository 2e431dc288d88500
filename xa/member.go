package xa

import (
	"context"
	"log/slog"
	"time"

	"github.com/xasql/xasql/txlog"
)

// leaveTimeout limits how long Close waits for the manager's leaving a shared log. If that fails its lease expires.
const leaveTimeout = 5 * time.Second

// join makes the manager a member of a shared log: others then leave alone what it works on (rule P13).
func (m *Manager) join(ctx context.Context) error {
	shared, ok := m.cfg.Log.(txlog.Shared)
	if !ok {
		return nil
	}
	member, err := shared.Join(ctx)
	m.member = member
	return err
}

// mark is what the manager's IDs carry, "" where the log is not shared.
func (m *Manager) mark() string {
	if m.member == nil {
		return ""
	}
	return m.member.Mark()
}

// leave gives what is still in doubt to the other members.
func (m *Manager) leave() {
	if m.member == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	if err := m.member.Leave(ctx); err != nil {
		m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "could not leave the shared log: others wait until the lease is over", slog.Any(keyError, err))
	}
}

// takenOver tells whether another member of a shared log has taken the transaction's recovery upon itself, as when this process was suspended for longer
// than its lease. It then finishes the branches, by the decision, and a branch that is gone proves nothing (rule P13).
func (t *Tx) takenOver(ctx context.Context) bool {
	if t.m.member == nil {
		return false
	}
	shared := t.m.cfg.Log.(txlog.Shared)
	holders, err := shared.Holders(ctx, []string{t.id})
	if err != nil {
		return true // nobody can say: recovery will look
	}
	return holders[t.id].Mark != t.m.mark()
}

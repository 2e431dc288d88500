package xa

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/xasql/xasql/recovery"
)

// minPause is the first pause before what is left in doubt is tried again.
const minPause = 50 * time.Millisecond

// background recovers whenever a transaction left something, and at every RecoveryInterval even when the manager is idle (rule
// P9). What is left it tries sooner at first, and then less and less often. last is what Open's own recovery found.
func (m *Manager) background(ctx context.Context, last recovery.Report) {
	defer close(m.stopped)
	interval := m.cfg.RecoveryInterval
	timer := time.NewTimer(0)
	defer timer.Stop()
	var err error
	for pause := min(minPause, interval); ; {
		if err == nil && quiet(last) {
			pause = min(minPause, interval)
			timer.Reset(interval)
		} else {
			timer.Reset(pause)
			pause = min(2*pause, interval)
		}
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
			pause = min(minPause, interval)
		case <-timer.C:
		}
		if last, err = m.Recover(ctx); err != nil && ctx.Err() == nil {
			m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "recovery failed", slog.Any(keyError, err))
		}
	}
}

// quiet tells whether nothing waits for recovery: what is in doubt is in the hands of live transactions of this manager. What other members of a
// shared log have in hand may soon be left by them.
func quiet(report recovery.Report) bool {
	live := report.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Live && b.Holder == "" })
	return finished(report, len(live))
}

// done tells whether this manager has nothing more to do: what is in doubt is in the hands of others.
func done(report recovery.Report) bool {
	held := report.Branches(func(b recovery.Branch) bool { return b.Holder != "" })
	return finished(report, len(held))
}

// finished tells whether all is settled but for so many branches.
func finished(report recovery.Report, but int) bool {
	for _, d := range report.Decisions {
		if !d.Settled {
			return false
		}
	}
	return report.InDoubt() == but && len(report.Unreached()) == 0
}

// leftovers says in a line what a recovery left.
func leftovers(report recovery.Report, err error) string {
	if err != nil {
		return err.Error()
	}
	s := fmt.Sprintf("%d branches are in doubt", report.InDoubt())
	if down := report.Unreached(); len(down) > 0 {
		s += ", and could not be asked: " + strings.Join(down, ", ")
	}
	return s
}

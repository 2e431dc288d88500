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

// background recovers whenever a transaction left something, sooner at first and then less and less often until it
// is done, and at every RecoveryInterval even when the manager is idle (rule P9).
func (m *Manager) background(ctx context.Context) {
	defer close(m.stopped)
	interval := m.cfg.RecoveryInterval
	timer := time.NewTimer(interval)
	defer timer.Stop()
	for pause := min(minPause, interval); ; {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-timer.C:
		}
		report, err := m.Recover(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			m.cfg.Logger.LogAttrs(ctx, slog.LevelWarn, "recovery failed", slog.Any(keyError, err))
		case report.Clean() || onlyLive(report):
			pause = min(minPause, interval)
			timer.Reset(interval)
			continue
		}
		timer.Reset(pause)
		pause = min(2*pause, interval)
	}
}

// onlyLive tells whether all that is in doubt is in the hands of live transactions.
func onlyLive(report recovery.Report) bool {
	live := report.Branches(func(b recovery.Branch) bool { return b.Action == recovery.Live })
	for _, d := range report.Decisions {
		if !d.Settled {
			return false
		}
	}
	return report.InDoubt() == len(live) && len(report.Unreached()) == 0
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

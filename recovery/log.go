package recovery

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/xasql/xasql/txlog"
)

// log tells the operator's log what was done and what was left.
func (p *pass) log(ctx context.Context, report Report) {
	log := p.logger()
	for _, res := range report.Resources {
		if res.Err != nil {
			log.LogAttrs(ctx, slog.LevelWarn, "recovery could not ask a resource", slog.String(keyResource, res.Name), slog.Any(keyError, res.Err))
		}
		if res.Was != "" && res.Withheld == "" && report.Acted {
			log.LogAttrs(ctx, slog.LevelWarn, "a resource is another database than before, and no decision hung on that", slog.String(keyResource, res.Name),
				slog.String(keyIdentity, res.Identity), slog.String(keyWas, res.Was))
		}
		if res.Withheld != "" {
			log.LogAttrs(ctx, slog.LevelWarn, "a resource settles no decision", slog.String(keyResource, res.Name), slog.String(keyReason, res.Withheld))
		}
		logBranches(ctx, log, res)
	}
	logUnverified(ctx, log, report)
	if p.act {
		logFound(ctx, log, p.found)
	}
}

// logFound tells the heuristic outcomes that no branch in doubt tells of.
func logFound(ctx context.Context, log *slog.Logger, found []txlog.Note) {
	for _, n := range found[:min(len(found), alike)] {
		log.LogAttrs(ctx, slog.LevelError, heuristicOutcome, slog.String(keyID, n.ID), slog.String(keyResource, n.Resource), slog.String(keyReason, n.Text))
	}
	if n := len(found) - alike; n > 0 {
		log.LogAttrs(ctx, slog.LevelError, "more heuristic outcomes", slog.Int(keyCount, n))
	}
}

const heuristicOutcome = "heuristic outcome"

// logUnverified tells which databases hold no branch of a decision, and can't prove that they have committed it.
func logUnverified(ctx context.Context, log *slog.Logger, report Report) {
	n := 0
	for _, d := range report.Decisions {
		if len(d.Unverified) == 0 || !d.Settled || !report.Acted {
			continue
		}
		if n++; n <= alike {
			log.LogAttrs(ctx, slog.LevelWarn, "decision settled, some branches unverified", slog.String(keyID, d.ID),
				slog.String(keyResource, strings.Join(d.Unverified, ",")))
		}
	}
	if n > alike {
		log.LogAttrs(ctx, slog.LevelWarn, "more decisions settled, some branches unverified", slog.Int(keyCount, n-alike))
	}
}

// alike is how many branches that are left for the same reason, or decisions, get a line each. They may be thousands, and are told again by every run.
const alike = 10

func logBranches(ctx context.Context, log *slog.Logger, res Resource) {
	left := map[string]int{} // by reason
	for _, b := range res.Branches {
		if b.Action == Left {
			left[b.Reason]++
		}
		if left[b.Reason] <= alike || b.Action != Left {
			logBranch(ctx, log, b)
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(left)) {
		if n := left[reason] - alike; n > 0 {
			log.LogAttrs(ctx, slog.LevelWarn, "more branches left in doubt", slog.String(keyResource, res.Name), slog.String(keyReason, reason),
				slog.Int(keyCount, n))
		}
	}
}

func logBranch(ctx context.Context, log *slog.Logger, b Branch) {
	level, msg := slog.LevelDebug, "branch "+b.Action.String()
	switch b.Action {
	case Committed, RolledBack:
		level = slog.LevelInfo
	case Left:
		level, msg = slog.LevelWarn, "branch left in doubt"
	case Heuristic:
		level, msg = slog.LevelError, heuristicOutcome
	}
	attrs := []slog.Attr{slog.String(keyXID, b.XID.String()), slog.String(keyResource, b.Resource), slog.String(keyDecision, b.Decision.String())}
	if b.Reason != "" {
		attrs = append(attrs, slog.String(keyReason, b.Reason))
	}
	if b.Err != nil && !errors.Is(b.Err, context.Canceled) {
		attrs = append(attrs, slog.Any(keyError, b.Err))
	}
	log.LogAttrs(ctx, level, msg, attrs...)
}

// Keys of the log's attributes.
const (
	keyID       = "id"
	keyXID      = "xid"
	keyResource = "resource"
	keyDecision = "decision"
	keyReason   = "reason"
	keyError    = "err"
	keyCount    = "count"
	keyIdentity = "identity"
	keyWas      = "was"
)

package simulation

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

// openLog opens the world's log for the process: one memory that is opened again, one more opening of a shared one, or the files on its disk; nil where
// they could not be opened.
func (p *process) openLog() txlog.Log {
	if p.w.disk != nil {
		return p.openFiles()
	}
	if p.w.shared == nil {
		p.w.memory.Reopen()
		p.w.latched = false // nobody else runs
		return gatedLog{p, p.w.memory}
	}
	opening := p.w.shared.Another()
	p.lease = opening.Pause
	return gatedShared{gatedLog{p, opening.Memory}, opening}
}

// gatedLog is a process's log behind its gate.
type gatedLog struct {
	p    *process
	real realLog
}

type realLog interface {
	txlog.Log
	txlog.Registrar
}

func (l gatedLog) call(ctx context.Context, op string, act func() error) error {
	return l.p.call(ctx, len(l.p.w.dbs), op, nil, act)
}

func (l gatedLog) ID() string { return l.real.ID() }

// Decide fails in the ways of rules L3, L8 and L9.
func (l gatedLog) Decide(ctx context.Context, d txlog.Decision) (o txlog.Outcome, err error) {
	acted := false
	err = l.call(ctx, l.p.w.of("decide", d.ID), func() (err error) {
		acted = true
		o, err = l.real.Decide(ctx, d)
		return err
	})
	switch {
	case err == nil:
		return o, nil
	case errors.Is(err, errRefused), errors.Is(err, ctx.Err()) && !acted:
		return 0, fmt.Errorf("simulation: %w: %w", txlog.ErrNotDecided, err)
	}
	return 0, err
}

func (l gatedLog) Lookup(ctx context.Context, id string) (o txlog.Outcome, err error) {
	err = l.call(ctx, l.p.w.of("lookup", id), func() (err error) {
		o, err = l.real.Lookup(ctx, id)
		return err
	})
	return o, err
}

func (l gatedLog) Settle(ctx context.Context, id string) error {
	return l.call(ctx, l.p.w.of("settle", id), func() error {
		l.p.w.forgets(id)
		return l.real.Settle(ctx, id)
	})
}

func (l gatedLog) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	return func(yield func(txlog.Decision, error) bool) {
		var all []txlog.Decision
		err := l.call(ctx, "unsettled", func() error {
			for d, err := range l.real.Unsettled(ctx) {
				if err != nil {
					return err
				}
				all = append(all, d)
			}
			return nil
		})
		if err != nil {
			yield(txlog.Decision{}, err)
			return
		}
		for _, d := range all {
			if !yield(d, nil) {
				return
			}
		}
	}
}

func (l gatedLog) Close() error { return nil }

func (l gatedLog) Register(ctx context.Context, resource, identity string) error {
	return l.call(ctx, "register("+resource+")", func() error { return l.real.Register(ctx, resource, identity) })
}

func (l gatedLog) Registered(ctx context.Context, resource string) (identity string, err error) {
	err = l.call(ctx, "registered("+resource+")", func() (err error) {
		identity, err = l.real.Registered(ctx, resource)
		return err
	})
	return identity, err
}

// gatedShared is a process's opening of a shared log.
type gatedShared struct {
	gatedLog
	opening *logtest.SharedMemory
}

func (l gatedShared) Join(ctx context.Context) (txlog.Member, error) {
	var m txlog.Member
	err := l.call(ctx, "join", func() (err error) {
		m, err = l.opening.Join(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	return gatedMember{l, m}, nil
}

func (l gatedShared) Holders(ctx context.Context, ids []string) (holders map[string]txlog.Holder, err error) {
	err = l.call(ctx, "holders", func() (err error) {
		holders, err = l.opening.Holders(ctx, ids)
		return err
	})
	return holders, err
}

type gatedMember struct {
	log  gatedShared
	real txlog.Member
}

func (m gatedMember) Mark() string { return m.real.Mark() }

func (m gatedMember) Claim(ctx context.Context, ids []string) (refused map[string]txlog.Holder, err error) {
	err = m.log.call(ctx, "claim", func() (err error) {
		refused, err = m.real.Claim(ctx, ids)
		return err
	})
	return refused, err
}

func (m gatedMember) Leave(ctx context.Context) error {
	return m.log.call(ctx, "leave", func() error { return m.real.Leave(ctx) })
}

package drivertest

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"github.com/xasql/xasql/drivers"
)

// optionCases are the rules on what a branch did, and was told to be: B6 and B8.
func optionCases() []testCase {
	return []testCase{
		{"B6", "ReadOnlyVoteOnlyWhenNothingChanged", readOnlyVote},
		{"B8", "OptionsHold", optionsHold},
	}
}

func readOnlyVote(r *run) {
	finish := func(b *branch, vote drivers.Vote, settings string) {
		r.Helper()
		if vote == drivers.VotePrepared {
			r.rollback(b)
			return
		}
		r.wantListed(b.xid, false)
		r.wantClean(b.conn, settings)
	}
	vote := func(b *branch) drivers.Vote {
		r.Helper()
		v, err := b.Prepare(r.ctx)
		if err != nil {
			r.Fatalf("Prepare: %v", err)
		}
		return v
	}

	// A branch that only read may give either vote.
	b, settings := r.beginClean(nil)
	r.get(b.conn, b.key)
	finish(b, vote(b), settings)

	// One that wrote may not, by whatever method of database/sql it wrote.
	for name, write := range map[string]func(b *branch) error{
		"ExecContext": func(b *branch) error {
			_, err := b.conn.ExecContext(r.ctx, r.Put, b.key, "written")
			return err
		},
		"QueryContext": func(b *branch) error {
			rows, err := b.conn.QueryContext(r.ctx, r.Put, b.key, "written")
			if err != nil {
				return err
			}
			for rows.Next() {
			}
			return rows.Close()
		},
	} {
		b, settings := r.beginClean(nil)
		if err := write(b); err != nil {
			r.Fatalf("write by %s: %v", name, err)
		}
		v := vote(b)
		if v != drivers.VotePrepared {
			r.Errorf("Prepare of a branch that wrote by %s votes %s", name, v)
		}
		finish(b, v, settings)
	}

	// What a serializable branch read must hold until all have prepared.
	if slices.Contains(r.Isolation, sql.LevelSerializable) {
		b, settings := r.beginClean(&sql.TxOptions{Isolation: sql.LevelSerializable})
		r.get(b.conn, b.key)
		v := vote(b)
		if v != drivers.VotePrepared {
			r.Errorf("Prepare of a serializable branch that only read votes %s", v)
		}
		finish(b, v, settings)
	}
}

func optionsHold(r *run) {
	for _, level := range r.Isolation {
		if level >= sql.LevelRepeatableRead && !r.SingleWriter {
			r.wantRepeatableRead(level)
		}
	}
	if slices.Contains(r.Isolation, sql.LevelSerializable) && !r.SingleWriter {
		r.wantNoWriteSkew()
	}
	if !r.ReadOnlyTx {
		return
	}
	b := r.begin(&sql.TxOptions{ReadOnly: true})
	r.get(b.conn, b.key)
	if _, err := b.conn.ExecContext(r.ctx, r.Put, b.key, "written"); err == nil {
		r.Errorf("a write in a read-only branch: no error")
	}
	r.rollback(b)
	r.wantApplied(b, false)
}

// putBriefly writes a row, unless that must wait for another transaction.
func (r *run) putBriefly(x interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}, key, value string) error {
	ctx, cancel := context.WithTimeout(r.ctx, brief)
	defer cancel()
	_, err := x.ExecContext(ctx, r.Put, key, value)
	return err
}

// seed commits a row, and returns its key.
func (r *run) seed() string {
	r.Helper()
	key := r.key()
	if _, err := r.main.ExecContext(r.ctx, r.Put, key, "old"); err != nil {
		r.Fatalf("write: %v", err)
	}
	return key
}

func (r *run) wantRepeatableRead(level sql.IsolationLevel) {
	r.Helper()
	key := r.seed()
	b := r.begin(&sql.TxOptions{Isolation: level})
	first := r.get(b.conn, key)
	_ = r.putBriefly(r.other, key, "new") // an engine that locks what is read lets it wait
	if second := r.get(b.conn, key); second != first {
		r.Errorf("%s: a row reads %q at first, and %q after somebody else wrote it", level, first, second)
	}
	r.rollback(b)
}

// wantNoWriteSkew lets two serializable branches each read both rows, and write one: they must not both be prepared.
func (r *run) wantNoWriteSkew() {
	r.Helper()
	keys := []string{r.seed(), r.seed()}
	opts := &sql.TxOptions{Isolation: sql.LevelSerializable}
	branches := []*branch{r.begin(opts), r.begin(opts)}
	failed := make([]error, len(branches))
	step := func(f func(ctx context.Context, i int, b *branch) error) {
		for i, b := range branches {
			if failed[i] == nil {
				ctx, cancel := context.WithTimeout(r.ctx, brief)
				failed[i] = f(ctx, i, b)
				cancel()
			}
		}
	}
	step(func(ctx context.Context, _ int, b *branch) error {
		for _, k := range keys {
			if _, err := r.tryGet(ctx, b.conn, k); err != nil {
				return err
			}
		}
		return nil
	})
	step(func(ctx context.Context, i int, b *branch) error {
		_, err := b.conn.ExecContext(ctx, r.Put, keys[i], "new")
		return err
	})
	prepared := 0
	for i, b := range branches {
		if failed[i] != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(r.ctx, 5*time.Second)
		if vote, err := b.Prepare(ctx); err == nil && vote == drivers.VotePrepared {
			prepared++
		}
		cancel()
	}
	if prepared == len(branches) {
		r.Errorf("serializable: two branches that each read what the other wrote are both prepared")
	}
	for _, b := range branches {
		_ = b.Rollback(r.ctx)
		discard(b.conn)
	}
	for _, b := range branches {
		b.key = r.key() // it wrote another row, which was there before
		r.wantGone(b)
	}
}

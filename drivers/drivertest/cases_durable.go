package drivertest

import (
	"errors"
	"strings"

	"github.com/xasql/xasql/drivers"
)

// durableCases are the rules on what is prepared: D1 to D7.
func durableCases() []testCase {
	return []testCase{
		{"D1", "PreparedBranchOutlivesItsConnection", preparedOutlives},
		{"D2", "CommitPreparedNeedsOnlyTheXID", func(r *run) { finishFromXID(r, true) }},
		{"D3", "RollbackPreparedNeedsOnlyTheXID", func(r *run) { finishFromXID(r, false) }},
		{"D4", "UnknownXIDIsNotSuccess", unknownXID},
		{"D5", "HeldBranchIsLeftAlone", heldBranch},
		{"D6", "StrangersAreListedAndLeftAlone", strangers},
		{"D7", "EveryByteOfAnXIDCounts", xidBytes},
	}
}

func preparedOutlives(r *run) {
	b := r.prepared()
	check := func(when string) {
		r.Helper()
		if !r.listed(b.xid) {
			r.Fatalf("%s: Prepared does not list %s", when, b.xid)
		}
		if r.get(r.other, b.key) != "" {
			r.Fatalf("%s: another connection sees the branch's changes", when)
		}
	}
	check("after Prepare")
	r.abandon(b)
	check("after the end of its session")
	if r.Crash == nil {
		r.Logf("not tried: a crash of the server (Harness.Crash is nil)")
	} else {
		r.crash()
		check("after the server's crash")
	}
	if err := r.resolve(b.xid, false); err != nil {
		r.Errorf("RollbackPrepared: %v", err)
	}
}

func finishFromXID(r *run, commit bool) {
	b := r.prepared()
	r.abandon(b)
	if err := r.resolve(b.xid, commit); err != nil {
		r.Fatalf("finishing the branch over another pool: %v", err)
	}
	r.wantApplied(b, commit)
	r.wantListed(b.xid, false)
}

func unknownXID(r *run) {
	commit := func(xid drivers.XID) error { return r.Driver.CommitPrepared(r.ctx, r.other, xid) }
	rollback := func(xid drivers.XID) error { return r.Driver.RollbackPrepared(r.ctx, r.other, xid) }
	want := func(what string, err error, allowed ...error) {
		r.Helper()
		for _, a := range append(allowed, drivers.ErrUnknownXID) {
			if errors.Is(err, a) {
				return
			}
		}
		r.Errorf("%s answers %v, want %q", what, err, drivers.ErrUnknownXID)
	}

	want("CommitPrepared of an XID that never was", commit(r.xid()))
	want("RollbackPrepared of an XID that never was", rollback(r.xid()))

	b := r.prepared()
	if err := b.Commit(r.ctx); err != nil {
		r.Fatalf("Commit: %v", err)
	}
	discard(b.conn)
	if err := commit(b.xid); err != nil {
		want("CommitPrepared of a branch that was committed", err)
	}
	want("RollbackPrepared of a branch that was committed", rollback(b.xid), drivers.ErrCommitted)

	b = r.prepared()
	if err := b.Rollback(r.ctx); err != nil {
		r.Fatalf("Rollback: %v", err)
	}
	discard(b.conn)
	want("CommitPrepared of a branch that was rolled back", commit(b.xid), drivers.ErrRolledBack)
	if err := rollback(b.xid); err != nil {
		want("RollbackPrepared of a branch that was rolled back", err)
	}
}

func heldBranch(r *run) {
	b := r.prepared()
	commit := func() (err error) {
		r.within("CommitPrepared of a branch whose session lives", func() { discard(b.conn) }, func() {
			err = r.Driver.CommitPrepared(r.ctx, r.other, b.xid)
		})
		return err
	}
	if !r.SessionBound {
		// The harness declares that nothing holds it: then it must go through at once.
		if err := commit(); err != nil {
			r.Errorf("CommitPrepared while the session lives: %v (Harness.SessionBound is false)", err)
		}
		r.wantListed(b.xid, false)
		discard(b.conn)
		return
	}
	if err := commit(); !errors.Is(err, drivers.ErrHeld) {
		r.Errorf("CommitPrepared while the session lives: %v, want %q", err, drivers.ErrHeld)
	}
	if err := r.Driver.RollbackPrepared(r.ctx, r.other, b.xid); !errors.Is(err, drivers.ErrHeld) {
		r.Errorf("RollbackPrepared while the session lives: %v, want %q", err, drivers.ErrHeld)
	}
	r.wantListed(b.xid, true)
	r.wantApplied(b, false)
	if err := b.Commit(r.ctx); err != nil {
		r.Errorf("Commit over the branch's own connection, after others tried: %v", err)
	}
	discard(b.conn)
	r.wantApplied(b, true)
}

func strangers(r *run) {
	if r.Stranger == nil {
		r.Logf("not tried: another program's branch (Harness.Stranger is nil)")
		return
	}
	s, err := r.Stranger(r.ctx)
	if err != nil {
		r.Fatalf("harness: Stranger: %v", err)
	}
	defer func() {
		if err := s.Remove(r.ctx); err != nil {
			r.Errorf("the stranger's branch is not what it was: removing it: %v", err)
		}
	}()
	present := func(when string) {
		r.Helper()
		for _, p := range r.list() {
			if p.XID == s.XID && p.Raw == s.Raw {
				return
			}
		}
		r.Errorf("%s: Prepared does not list the stranger's branch: XID %s, Raw %q", when, s.XID, s.Raw)
	}
	present("at first")
	if r.SingleWriter {
		return
	}
	b := r.prepared()
	present("beside a branch of ours")
	r.wantListed(b.xid, true)
	if err := b.Commit(r.ctx); err != nil {
		r.Errorf("Commit beside a stranger's branch: %v", err)
	}
	discard(b.conn)
	present("after a branch of ours was committed")
}

// xidBytes checks that no XID is taken for another that differs from it in one byte, in its format id, or in where
// its first part ends.
func xidBytes(r *run) {
	base := r.xid()
	base.GTRID, base.BQual = base.GTRID+".aX", "y.z"
	variants := alike(base)

	b := r.beginOn(r.main, base, nil)
	r.write(b)
	r.prepare(b)
	for _, v := range variants {
		// Whatever the answers are (rule D4 judges them), they must not touch the branch.
		_ = r.Driver.CommitPrepared(r.ctx, r.other, v)
		_ = r.Driver.RollbackPrepared(r.ctx, r.other, v)
		if !r.listed(base) {
			r.Fatalf("finishing %s finished %s", v, base)
		}
	}
	if r.SingleWriter {
		// One after another, each must be listed as it is.
		r.rollback(b)
		for _, v := range variants {
			if vb := r.variant(v); vb != nil {
				r.wantListed(v, true)
				r.rollback(vb)
			}
		}
		return
	}
	all := []*branch{b}
	for _, v := range variants {
		if vb := r.variant(v); vb != nil {
			all = append(all, vb)
		}
	}
	for len(all) > 0 {
		for _, b := range all {
			r.wantListed(b.xid, true)
		}
		r.rollback(all[0])
		all = all[1:]
	}
}

// variant prepares a branch. Only an XID such as the manager makes must be accepted; for any other that the driver refuses, variant
// returns nil.
func (r *run) variant(xid drivers.XID) *branch {
	r.Helper()
	if !r.ours(xid) {
		return nil // it would not be cleaned up
	}
	b, err := r.tryBegin(r.ctx, r.main, xid, nil)
	switch {
	case err == nil:
		r.write(b)
		r.prepare(b)
		return b
	case plainXID(xid):
		r.Errorf("Begin %s: %v", xid, err)
	case xid.Validate() == nil && !errors.Is(err, drivers.ErrNotSupported):
		r.Errorf("Begin %s refuses with %v, want %q", xid, err, drivers.ErrNotSupported)
	}
	return nil
}

func (r *run) rollback(b *branch) {
	r.Helper()
	if err := b.Rollback(r.ctx); err != nil {
		r.Errorf("Rollback %s: %v", b.xid, err)
	}
	discard(b.conn)
}

// plainXID reports whether the manager could have made the XID.
func plainXID(x drivers.XID) bool {
	return x.Validate() == nil && x.FormatID == drivers.FormatID && !strings.ContainsAny(x.String(), "%:")
}

// alike returns XIDs that a careless driver might take for x.
func alike(x drivers.XID) []drivers.XID {
	g, q := x.GTRID, x.BQual
	parts := [][2]string{
		{g + "0", q},
		{g, q + "0"},
		{g[:len(g)-1], q},
		{g, q[:len(q)-1]},
		{g[:len(g)-1] + strings.ToLower(g[len(g)-1:]), q},
		{g, strings.ToUpper(q)},
		{g + ".y", "z"},
		{g + ".y.z", q},
		{strings.ToLower(g), q},
		{g + strings.Repeat("g", drivers.MaxGTRID-len(g)), strings.Repeat("q", drivers.MaxBQual)},
		{g + strings.Repeat("g", drivers.MaxGTRID-len(g)) + "h", q},
		{g, strings.Repeat("q", drivers.MaxBQual) + "r"},
		{g, ""},
		{g + " ", q},
		{g, q + " "},
		{g, q + "\x00"},
		{g, q + "\xff"},
		{g, q + "'"},
		{g, q + "%"},
		{g, q + "_"},
		{g, "\\" + q},
		{g, q + "/é"},
	}
	var all []drivers.XID
	for _, p := range parts {
		all = append(all, drivers.XID{FormatID: x.FormatID, GTRID: p[0], BQual: p[1]})
	}
	for _, id := range []int32{0, 1, x.FormatID + 1} {
		all = append(all, drivers.XID{FormatID: id, GTRID: g, BQual: q})
	}
	return all
}

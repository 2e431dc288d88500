package drivertest

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"

	"github.com/xasql/xasql/drivers"
)

// optionalCases are the optional interfaces. A driver without one passes its case.
func optionalCases() []testCase {
	return []testCase{
		{"Checker", "AGoodServerIsFit", checker},
		{"Classifier", "KindsOfFailure", classifier},
		{"Identifier", "IdentityIsStable", identifier},
		{"SessionEnder", "EndsTheSessionNotTheBranch", sessionEnder},
		{"Finisher", "FinishesWhatIsListed", finisher},
		{"Prover", "TellsWhatBecameOfABranch", prover},
		{"EvidentBranch", "GivesTheSameEvidenceFromPrepareOn", evidentBranch},
		{"Blocker", "CountsNothingForABranchThatIsGone", blocker},
		{"Locker", "NamesTheTablesUntilTheBranchIsGone", locker},
		{"ReadOnlyBranch", "AgreesWithPrepare", readOnlyBranch},
		{"Explainer", "KeepsTheErrorAndNamesTheRefusal", explainer},
	}
}

func (r *run) lacks(name string) { r.Logf("the driver has no %s", name) }

func checker(r *run) {
	c, ok := r.Driver.(drivers.Checker)
	if !ok {
		r.lacks("Checker")
		return
	}
	findings, err := c.Check(r.ctx, r.other)
	if err != nil {
		r.Fatalf("Check: %v", err)
	}
	last := drivers.Fatal
	for _, f := range findings {
		r.Logf("%s: %s: %s", f.Severity, f.Problem, f.Hint)
		if f.Severity == drivers.Fatal {
			r.Errorf("a fatal finding on a server that passes this suite: %s", f.Problem)
		}
		if f.Severity > last {
			r.Errorf("the findings are not sorted, the worst first")
		}
		last = f.Severity
		if f.Problem == "" || f.Hint == "" {
			r.Errorf("a finding without its problem, or without a hint: %+v", f)
		}
	}
}

func classifier(r *run) {
	c, ok := r.Driver.(drivers.Classifier)
	if !ok {
		r.lacks("Classifier")
		return
	}
	key := r.seed()
	_, duplicate := r.main.ExecContext(r.ctx, r.Insert, key, "twice")
	if duplicate == nil {
		r.Fatalf("harness: Insert of a key that exists: no error")
	}
	for _, tt := range []struct {
		name string
		err  error
		want drivers.Class
	}{
		{"nil", nil, drivers.ClassOther},
		{"an error of no engine", errors.New("deadlock, constraint, connection"), drivers.ClassOther},
		{"a duplicate key", duplicate, drivers.ClassConstraint},
		{"a duplicate key, wrapped", errors.Join(errors.New("insert"), duplicate), drivers.ClassConstraint},
		{"driver.ErrBadConn", driver.ErrBadConn, drivers.ClassConnection},
	} {
		if got := c.Classify(tt.err); got != tt.want {
			r.Errorf("Classify of %s (%v) = %d, want %d", tt.name, tt.err, got, tt.want)
		}
	}
}

func identifier(r *run) {
	i, ok := r.Driver.(drivers.Identifier)
	if !ok {
		r.lacks("Identifier")
		return
	}
	first, err := i.Identify(r.ctx, r.main)
	if r.NoIdentity {
		if !errors.Is(err, drivers.ErrNotSupported) {
			r.Errorf("Identify: %q, %v, want %q, as the harness declares", first, err, drivers.ErrNotSupported)
		}
		return
	}
	if err != nil || first == "" {
		r.Fatalf("Identify: %q, %v", first, err)
	}
	same := func(when string, db *sql.DB) {
		r.Helper()
		if again, err := i.Identify(r.ctx, db); again != first || err != nil {
			r.Errorf("Identify %s: %q, %v, want %q", when, again, err, first)
		}
	}
	same("again", r.main)
	same("by another process", r.other)
	if r.Crash != nil {
		r.crash()
		same("after a crash", r.other)
	}
	if r.Another == nil {
		r.Logf("not tried: another database (Harness.Another is nil)")
		return
	}
	db, err := r.Another()
	if err != nil {
		r.Fatalf("harness: Another: %v", err)
	}
	defer db.Close()
	if got, err := i.Identify(r.ctx, db); err != nil || got == first {
		r.Errorf("Identify of another database: %q, %v: not to be told from the first", got, err)
	}
}

func sessionEnder(r *run) {
	e, ok := r.Driver.(drivers.SessionEnder)
	if !ok {
		r.lacks("SessionEnder")
		return
	}
	b := r.prepared()
	for _, when := range []string{"while the session lives", "again"} {
		err := e.EndSession(r.ctx, r.other, b.xid)
		if errors.Is(err, drivers.ErrNotSupported) {
			r.Logf("EndSession: %v", err)
			r.rollback(b)
			return
		}
		if err != nil {
			r.Errorf("EndSession %s: %v", when, err)
		}
	}
	r.wantListed(b.xid, true)
	r.wantApplied(b, false)
	// No discard of the connection before this: the session must have ended by itself.
	if err := r.resolve(b.xid, true); err != nil {
		r.Errorf("CommitPrepared after EndSession: %v", err)
	}
	discard(b.conn)
	r.wantApplied(b, true)
}

func finisher(r *run) {
	f, ok := r.Driver.(drivers.Finisher)
	if !ok {
		r.lacks("Finisher")
		return
	}
	conn, err := r.other.Conn(r.ctx)
	if err != nil {
		r.Fatalf("connect: %v", err)
	}
	defer conn.Close()
	// All over one connection, as recovery does.
	for _, commit := range []bool{true, false} {
		b, beside := r.prepared(), r.prepared()
		discard(b.conn)
		discard(beside.conn)
		r.poll(func() bool { // a session that was told to end ends a moment later
			err = f.FinishListed(r.ctx, conn, b.xid, commit)
			return !errors.Is(err, drivers.ErrUnknownXID) && !errors.Is(err, drivers.ErrHeld)
		})
		if err != nil {
			r.Errorf("FinishListed, commit %v: %v", commit, err)
		}
		r.wantListed(b.xid, false)
		r.wantApplied(b, commit)
		r.wantListed(beside.xid, true)
		r.wantApplied(beside, false)
		if err := f.FinishListed(r.ctx, conn, b.xid, commit); !errors.Is(err, drivers.ErrUnknownXID) {
			r.Errorf("FinishListed of a branch that is gone: %v, want %q", err, drivers.ErrUnknownXID)
		}
		if err := r.resolve(beside.xid, false); err != nil {
			r.Errorf("roll the other branch back: %v", err)
		}
	}
	if !r.SessionBound {
		return
	}
	b := r.prepared()
	if err := f.FinishListed(r.ctx, conn, b.xid, true); !errors.Is(err, drivers.ErrUnknownXID) && !errors.Is(err, drivers.ErrHeld) {
		r.Errorf("FinishListed of a branch that its session holds: %v, want %q or %q", err, drivers.ErrUnknownXID, drivers.ErrHeld)
	}
	r.wantListed(b.xid, true)
	r.wantApplied(b, false)
	r.rollback(b)
}

func prover(r *run) {
	p, ok := r.Driver.(drivers.Prover)
	if !ok {
		r.lacks("Prover")
		return
	}
	want := func(xid drivers.XID, evidence, when string, wantCommitted, wantProven bool) {
		r.Helper()
		committed, proven, err := p.Outcome(r.ctx, r.other, xid, evidence)
		if err != nil || proven != wantProven || committed != wantCommitted {
			r.Errorf("Outcome of a branch %s: committed %v, proven %v, %v", when, committed, proven, err)
		}
	}
	for _, commit := range []bool{true, false} {
		b := r.prepared()
		evidence := evidenceOf(b)
		want(b.xid, evidence, "that is prepared", false, false)
		discard(b.conn)
		if err := r.resolve(b.xid, commit); err != nil {
			r.Errorf("finish the branch: %v", err)
		}
		want(b.xid, evidence, "that was finished", commit, true)
		for _, none := range []string{"", "this is no evidence", "1", "-1/0"} {
			if committed, proven, err := p.Outcome(r.ctx, r.other, b.xid, none); err != nil || proven && committed != commit {
				r.Errorf("Outcome of a branch that was finished, with the evidence %q: committed %v, proven %v, %v", none, committed, proven, err)
			}
		}
		never := b.xid
		never.GTRID += "0"
		want(never, "", "that never was", false, false)
	}
}

// evidenceOf returns the branch's evidence, "" where it gives none.
func evidenceOf(b *branch) string {
	if e, ok := b.Branch.(drivers.EvidentBranch); ok {
		return e.Evidence()
	}
	return ""
}

// maxEvidence is what "some tens of bytes" are at most.
const maxEvidence = 100

func evidentBranch(r *run) {
	seen := map[string]bool{}
	for _, commit := range []bool{true, false} {
		b := r.prepared()
		if _, ok := b.Branch.(drivers.EvidentBranch); !ok {
			r.lacks("EvidentBranch")
			r.rollback(b)
			discard(b.conn)
			return
		}
		if _, ok := r.Driver.(drivers.Prover); !ok {
			r.Errorf("a branch is an EvidentBranch, and its driver is no Prover: who reads the evidence?")
		}
		evidence := evidenceOf(b)
		if evidence == "" || len(evidence) > maxEvidence || seen[evidence] {
			r.Errorf("the evidence of a branch that is prepared is %q: want a text of its own, of at most %d bytes", evidence, maxEvidence)
		}
		seen[evidence] = true
		if commit {
			if err := b.Commit(r.ctx); err != nil {
				r.Errorf("Commit: %v", err)
			}
		} else {
			r.rollback(b)
		}
		if again := evidenceOf(b); again != evidence {
			r.Errorf("the evidence of a branch was %q, and is %q after its end", evidence, again)
		}
		discard(b.conn)
	}
}

func blocker(r *run) {
	bl, ok := r.Driver.(drivers.Blocker)
	if !ok {
		r.lacks("Blocker")
		return
	}
	b := r.prepared()
	if locks, waiting, _, err := bl.Blocking(r.ctx, r.other, b.xid); errors.Is(err, drivers.ErrNotSupported) {
		r.Logf("not told: %v", err)
	} else if err != nil || locks == 0 || waiting != 0 {
		r.Errorf("Blocking of a branch that has written, and that nobody waits for: %d locks, %d waiting, %v", locks, waiting, err)
	}
	r.rollback(b)
	if locks, waiting, age, err := bl.Blocking(r.ctx, r.other, b.xid); err != nil || locks != 0 || waiting != 0 || age != 0 {
		r.Errorf("Blocking of a branch that is gone: %d locks, %d waiting, age %d, %v", locks, waiting, age, err)
	}
}

func locker(r *run) {
	l, ok := r.Driver.(drivers.Locker)
	if !ok {
		r.lacks("Locker")
		return
	}
	b := r.prepared()
	tables, err := l.LockedTables(r.ctx, r.other, b.xid)
	switch {
	case errors.Is(err, drivers.ErrNotSupported):
		r.Logf("not told: %v", err)
	case err != nil || len(tables) == 0 || !slices.IsSorted(tables):
		r.Errorf("LockedTables of a branch that has written: %q, %v, want its tables, sorted", tables, err)
	case slices.Contains(tables, ""), len(slices.Compact(slices.Clone(tables))) != len(tables):
		r.Errorf("LockedTables: %q: a table without a name, or twice", tables)
	}
	r.rollback(b)
	if tables, err := l.LockedTables(r.ctx, r.other, b.xid); err != nil || len(tables) != 0 {
		r.Errorf("LockedTables of a branch that is gone: %q, %v, want none", tables, err)
	}
}

func readOnlyBranch(r *run) {
	for _, wrote := range []bool{false, true} {
		b := r.begin(nil)
		ro, ok := b.Branch.(drivers.ReadOnlyBranch)
		if !ok {
			r.lacks("ReadOnlyBranch")
			r.rollback(b)
			return
		}
		r.get(b.conn, b.key)
		if wrote {
			r.write(b)
		}
		is, err := ro.ReadOnly(r.ctx)
		if err != nil {
			r.Errorf("ReadOnly: %v", err)
		}
		if is && wrote {
			r.Errorf("ReadOnly of a branch that wrote: true")
		}
		vote, err := b.Prepare(r.ctx)
		if err != nil {
			r.Errorf("Prepare: %v", err)
		}
		if is && vote != drivers.VoteReadOnly {
			r.Errorf("ReadOnly says true, and Prepare votes %s", vote)
		}
		if vote == drivers.VotePrepared {
			r.rollback(b)
		}
		discard(b.conn)
	}
}

func explainer(r *run) {
	b := r.begin(nil)
	defer func() {
		r.rollback(b)
		discard(b.conn)
	}()
	e, ok := b.Branch.(drivers.Explainer)
	if !ok {
		r.lacks("Explainer")
		return
	}
	r.write(b)
	other := errors.New("an error of the application's own")
	if err := e.Explain(other); !errors.Is(err, other) || errors.Is(err, drivers.ErrRolledBack) {
		r.Errorf("Explain of an error that says nothing about an active branch: %v", err)
	}
	for _, statement := range r.Refused {
		_, err := b.conn.ExecContext(r.ctx, statement)
		if err == nil {
			continue // then Prepare refuses, see D10
		}
		if why := e.Explain(err); !errors.Is(why, drivers.ErrNotSupported) || why.Error() == err.Error() {
			r.Errorf("%q is refused with %v, and explained by %v, want %q and the way out", statement, err, why, drivers.ErrNotSupported)
		}
	}
}

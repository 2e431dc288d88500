package sqllog

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/xasql/xasql/txlog"
)

const insertDecision = "INSERT INTO xasql_decision"

// serverLike is SQLite treated as a server is: two connections, and a failed INSERT is looked into by asking.
func serverLike() *grammar {
	g := sqliteGrammar()
	g.atomic, g.sessions, g.tries = false, 2, 20
	return g
}

// grammars are the two ways to find out what became of an INSERT.
func grammars() map[string]func() *grammar {
	return map[string]func() *grammar{"atomic": sqliteGrammar, "asking": serverLike}
}

func mustDecide(t *testing.T, l *testLog, id string, want txlog.Outcome) {
	t.Helper()
	if got, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"a", "b"}}); err != nil || got != want {
		t.Errorf("Decide(%q) = %s, %v; want %s", id, got, err, want)
	}
}

func mustLookup(t *testing.T, l *testLog, id string, want txlog.Outcome) {
	t.Helper()
	if got, err := l.Lookup(t.Context(), id); err != nil || got != want {
		t.Errorf("Lookup(%q) = %s, %v; want %s", id, got, err, want)
	}
}

// eventually looks until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come about that %s", what)
		}
	}
}

// inFakeTime runs a subtest whose clock moves only while all wait for it: no limit ends because the disk, or the machine, takes its time.
func inFakeTime(t *testing.T, name string, f func(t *testing.T)) {
	t.Helper()
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestALostConnectionIsResolvedByAskingAgain(t *testing.T) {
	for way, g := range grammars() {
		for name, f := range map[string]fault{
			"before it was executed":   {text: insertDecision, lost: true},
			"after it was executed":    {text: insertDecision, lost: true, after: true},
			"the answer only":          {text: insertDecision, after: true},
			"before, twice":            {text: insertDecision, lost: true, times: 2},
			"after, and at the commit": {text: "COMMIT", lost: true, after: true},
		} {
			t.Run(way+"/"+name, func(t *testing.T) {
				t.Parallel()
				l := newLog(t, Options{grammar: g()})
				l.faults.add(f)
				mustDecide(t, l, "t", txlog.Committed)
				mustLookup(t, l, "t", txlog.Committed)
				if o, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Aborted}); err != nil || o != txlog.Committed {
					t.Errorf("Decide(aborted) = %s, %v; want committed", o, err)
				}
			})
		}
	}
}

// Between the lost INSERT and the next, another process decides the contrary.
func TestALostDecisionTakesTheAnswerOfWhoCameFirst(t *testing.T) {
	for way, g := range grammars() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, Options{grammar: g()})
			other := openFile(t, l.dsn, Options{})
			l.faults.add(fault{text: insertDecision, lost: true, then: func() {
				if _, err := other.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Aborted}); err != nil {
					t.Error(err)
				}
			}})
			mustDecide(t, l, "t", txlog.Aborted)
		})
	}
}

func TestARefusedInsertIsADefiniteNo(t *testing.T) {
	for way, g := range grammars() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, Options{grammar: g()})
			l.faults.add(fault{text: insertDecision, times: -1})
			_, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed})
			if !errors.Is(err, txlog.ErrNotDecided) || !errors.Is(err, errFault) {
				t.Errorf("Decide that the database refuses: %v, want ErrNotDecided and the cause", err)
			}
			mustLookup(t, l, "t", txlog.Undecided)
			l.faults.clear()
			mustDecide(t, l, "t", txlog.Committed) // it goes on
		})
	}
}

func TestWithoutAConnectionNothingIsDecided(t *testing.T) {
	for way, g := range grammars() {
		inFakeTime(t, way, func(t *testing.T) {
			l := newLog(t, Options{grammar: g()})
			l.faults.add(fault{text: "connect", times: -1})
			dropAll(l)
			_, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed})
			if !errors.Is(err, txlog.ErrNotDecided) {
				t.Errorf("Decide without a connection: %v, want ErrNotDecided", err)
			}
			l.faults.clear()
			mustLookup(t, l, "t", txlog.Undecided)
		})
	}
}

// dropAll takes the log's connections away.
func dropAll(l *testLog) {
	for _, s := range []*session{l.writer, l.side} {
		s.turn <- struct{}{}
		s.drop()
		<-s.turn
	}
}

func TestAnOutcomeIsUnknownOnlyUntilTheDatabaseAnswers(t *testing.T) {
	for way, g := range grammars() {
		for _, recorded := range []bool{false, true} {
			inFakeTime(t, fmt.Sprintf("%s/recorded=%v", way, recorded), func(t *testing.T) {
				l := newLog(t, Options{grammar: g()})
				lose := func() { l.faults.add(fault{text: insertDecision, lost: true, times: -1}) }
				if recorded {
					text := map[bool]string{true: "COMMIT", false: insertDecision}[l.grammar.atomic]
					l.faults.add(fault{text: text, lost: true, after: true, then: lose})
				} else {
					lose()
				}
				_, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed})
				if err == nil || errors.Is(err, txlog.ErrNotDecided) {
					t.Fatalf("Decide of which nobody knows: %v", err)
				}
				// Connections there are again; the INSERT fails still.
				switch o, err := l.Lookup(t.Context(), "t"); {
				case recorded && (err != nil || o != txlog.Committed):
					t.Errorf("Lookup of what stands = %s, %v", o, err)
				case !recorded && err == nil:
					t.Errorf("Lookup of an unknown outcome = %s, and no error", o)
				}
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				if _, err := l.Decide(ended, txlog.Decision{ID: "t", Outcome: txlog.Aborted}); err == nil || errors.Is(err, txlog.ErrNotDecided) {
					t.Errorf("Decide that sends nothing, of an ID whose outcome is unknown: %v, want no definite no", err)
				}
				mustLookup(t, l, "other", txlog.Undecided)
				l.faults.clear()
				mustDecide(t, l, "other", txlog.Committed) // the log is not latched
				eventually(t, "the log finds out by itself", func() bool {
					o, err := l.Lookup(t.Context(), "t")
					return err == nil && o == txlog.Committed
				})
			})
		}
	}
}

func TestWhatIsUnknownIsKnownByTheNextDecide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLog(t, Options{grammar: serverLike(), Retention: -1}) // without retention the log does not ask by itself
		l.faults.add(fault{text: insertDecision, lost: true, times: -1})
		if _, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err == nil || errors.Is(err, txlog.ErrNotDecided) {
			t.Fatalf("Decide of which nobody knows: %v", err)
		}
		l.faults.clear()
		if o, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Aborted}); err != nil || o != txlog.Aborted {
			t.Errorf("Decide = %s, %v; want aborted", o, err)
		}
		mustLookup(t, l, "t", txlog.Aborted)
	})
}

// A session that a pooler has exchanged knows nothing of the statement that failed.
func TestAnotherSessionsAnswerIsNoAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := serverLike()
		g.sessionID = "SELECT abs(random())"
		l := newLog(t, Options{grammar: g})
		l.faults.add(fault{text: insertDecision, times: -1})
		if _, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Committed}); err == nil || errors.Is(err, txlog.ErrNotDecided) {
			t.Errorf("Decide: %v, want unknown", err)
		}
	})
}

func TestABadRowDoesNotTakeItsBatchAlong(t *testing.T) {
	for way, g := range grammars() {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			l := newLog(t, Options{grammar: g()})
			if _, err := l.db.ExecContext(t.Context(), `CREATE TRIGGER bad BEFORE INSERT ON xasql_decision WHEN NEW.id = 'bad' BEGIN SELECT RAISE(ABORT, 'bad row'); END`); err != nil {
				t.Fatal(err)
			}
			release := hold(t, l)
			errs := map[string]error{}
			var mu sync.Mutex
			var wg sync.WaitGroup
			for _, id := range []string{"a", "bad", "z"} {
				wg.Go(func() {
					_, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed})
					mu.Lock()
					defer mu.Unlock()
					errs[id] = err
				})
			}
			awaitQueue(t, l, 3)
			release()
			wg.Wait()
			if errs["a"] != nil || errs["z"] != nil || !errors.Is(errs["bad"], txlog.ErrNotDecided) {
				t.Errorf("errors: %v; want ErrNotDecided of \"bad\" alone", errs)
			}
			mustLookup(t, l, "a", txlog.Committed)
			mustLookup(t, l, "bad", txlog.Undecided)
		})
	}
}

// hold keeps the log from writing until release is called.
func hold(t *testing.T, l *testLog) (release func()) {
	t.Helper()
	l.writer.turn <- struct{}{}
	release = sync.OnceFunc(func() { <-l.writer.turn })
	t.Cleanup(release) // before Close waits for it
	return release
}

func awaitQueue(t *testing.T, l *testLog, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d decisions wait", n), func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		return len(l.queue) == n
	})
}

func TestWhoLeavesBeforeHisTurnRecordsNothing(t *testing.T) {
	l := newLog(t, Options{grammar: serverLike()})
	release := hold(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	left, stayed, joined := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	decide := func(ctx context.Context, id string, to chan error) {
		_, err := l.Decide(ctx, txlog.Decision{ID: id, Outcome: txlog.Committed})
		to <- err
	}
	go decide(ctx, "left", left)
	go decide(t.Context(), "stayed", stayed)
	awaitQueue(t, l, 2)
	cancel()
	if err := <-left; !errors.Is(err, txlog.ErrNotDecided) || !errors.Is(err, context.Canceled) {
		t.Errorf("Decide whose context ended before its turn: %v", err)
	}
	mustLookup(t, l, "left", txlog.Undecided)
	go decide(t.Context(), "left", joined) // another comes with the same ID
	awaitQueue(t, l, 2)
	release()
	for _, c := range []chan error{stayed, joined} {
		if err := <-c; err != nil {
			t.Error(err)
		}
	}
}

func TestWhoJoinsADecisionThatIsDroppedDecidesHimself(t *testing.T) {
	l := newLog(t, Options{})
	release := hold(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	first, second := make(chan error, 1), make(chan error, 1)
	go func() {
		_, err := l.Decide(ctx, txlog.Decision{ID: "t", Outcome: txlog.Committed})
		first <- err
	}()
	awaitQueue(t, l, 1)
	var o txlog.Outcome
	looked := make(chan struct{}, 10)
	go func() {
		var err error
		o, err = l.Decide(tellingContext{t.Context(), looked}, txlog.Decision{ID: "t", Outcome: txlog.Aborted})
		second <- err
	}()
	<-looked // it is about to join
	for range 100 {
		runtime.Gosched()
	}
	cancel()
	if err := <-first; !errors.Is(err, txlog.ErrNotDecided) {
		t.Errorf("first: %v", err)
	}
	awaitQueue(t, l, 1)
	release()
	if err := <-second; err != nil || o != txlog.Aborted {
		t.Errorf("second: %s, %v; want aborted", o, err)
	}
}

// tellingContext tells when somebody looks whether it has ended.
type tellingContext struct {
	context.Context
	looked chan struct{}
}

func (c tellingContext) Err() error {
	c.looked <- struct{}{}
	return c.Context.Err()
}

func TestASentDecisionIsWaitedForPastItsContext(t *testing.T) {
	l := newLog(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	l.faults.add(fault{text: insertDecision, after: true, then: cancel})
	if o, err := l.Decide(ctx, txlog.Decision{ID: "t", Outcome: txlog.Committed}); err != nil || o != txlog.Committed {
		t.Errorf("Decide whose context ended while it was written = %s, %v", o, err)
	}
}

func TestABusyFileIsWaitedForAsTheContextAllows(t *testing.T) {
	l := newLog(t, Options{})
	other := openFile(t, l.dsn, Options{})
	conn, err := other.db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
	defer cancel()
	if _, err := l.Decide(ctx, txlog.Decision{ID: "t", Outcome: txlog.Committed}); !errors.Is(err, txlog.ErrNotDecided) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Decide in a file that is busy: %v, want ErrNotDecided and DeadlineExceeded", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := l.Decide(t.Context(), txlog.Decision{ID: "u", Outcome: txlog.Committed})
		done <- err
	}()
	awaitQueue(t, l, 1)
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	mustLookup(t, l, "t", txlog.Undecided)
}

func TestALoneDecisionIsOneStatementAndManyShareOne(t *testing.T) {
	l := newLog(t, Options{})
	mustDecide(t, l, "lone", txlog.Committed)
	if n := l.faults.count(insertDecision); n != 1 {
		t.Errorf("a lone decision took %d statements", n)
	}
	release := hold(t, l)
	const callers = 2*maxBatch + 1
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() { mustDecide(t, l, fmt.Sprint("t", i), txlog.Committed) })
	}
	awaitQueue(t, l, callers)
	release()
	wg.Wait()
	if n := l.faults.count(insertDecision); n != 1+3 {
		t.Errorf("%d decisions at once took %d statements, want 3", callers, n-1)
	}
}

func TestABatchIsBoundedInBytes(t *testing.T) {
	l := newLog(t, Options{})
	release := hold(t, l)
	big := []string{strings.Repeat("r", 50_000)}
	var wg sync.WaitGroup
	for i := range 10 {
		wg.Go(func() {
			if _, err := l.Decide(t.Context(), txlog.Decision{ID: fmt.Sprint("t", i), Outcome: txlog.Committed, Resources: big}); err != nil {
				t.Error(err)
			}
		})
	}
	awaitQueue(t, l, 10)
	release()
	wg.Wait()
	if n := l.faults.count(insertDecision); n != 2 {
		t.Errorf("500 kB went with %d statements, want 2", n)
	}
}

func TestTextsOfAnyBytesAreKept(t *testing.T) {
	l := newLog(t, Options{})
	var want []txlog.Decision
	for i, s := range []string{"a b", "ü'\"$%/", "\x00\xff", "%41", "a", "A", "a ", "?", ":now", strings.Repeat("x", maxKeyLen)} {
		d := txlog.Decision{ID: s, Outcome: txlog.Committed, Resources: []string{s, "b"}, At: time.UnixMicro(int64(i + 1)).UTC()}
		if o, err := l.Decide(t.Context(), d); err != nil || o != txlog.Committed {
			t.Errorf("Decide(%q) = %s, %v", s, o, err)
		}
		want = append(want, d)
	}
	i := 0
	for d, err := range l.Unsettled(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprint(d) != fmt.Sprint(want[i]) {
			t.Errorf("%q was read as %q", want[i], d)
		}
		i++
	}
	if i != len(want) {
		t.Errorf("%d of %d decisions are there", i, len(want))
	}
}

func TestWhatCanNotBeKeptIsADefiniteNo(t *testing.T) {
	l := newLog(t, Options{})
	for name, d := range map[string]txlog.Decision{
		"no ID":               {Outcome: txlog.Committed},
		"no outcome":          {ID: "t"},
		"a long ID":           {ID: strings.Repeat("x", maxKeyLen+1), Outcome: txlog.Committed},
		"a long ID, escaped":  {ID: strings.Repeat(" ", maxKeyLen/2), Outcome: txlog.Committed},
		"a nameless resource": {ID: "t", Outcome: txlog.Committed, Resources: []string{"a", ""}},
		"long resources":      {ID: "t", Outcome: txlog.Committed, Resources: []string{strings.Repeat("x", maxResources+1)}},
	} {
		if _, err := l.Decide(t.Context(), d); !errors.Is(err, txlog.ErrNotDecided) {
			t.Errorf("%s: %v, want ErrNotDecided", name, err)
		}
	}
	if n := l.faults.count(insertDecision); n != 0 {
		t.Errorf("%d statements were sent", n)
	}
}

func TestAnOutcomeThatNobodyWroteIsDamage(t *testing.T) {
	l := newLog(t, Options{})
	mustDecide(t, l, "t", txlog.Committed)
	for _, s := range []string{"PRAGMA ignore_check_constraints = 1", "UPDATE xasql_decision SET outcome = 'perhaps'"} {
		if _, err := l.db.ExecContext(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if o, err := l.Lookup(t.Context(), "t"); !errors.Is(err, txlog.ErrCorrupt) {
		t.Errorf("Lookup = %s, %v; want ErrCorrupt", o, err)
	}
	if o, err := l.Decide(t.Context(), txlog.Decision{ID: "t", Outcome: txlog.Aborted}); !errors.Is(err, txlog.ErrCorrupt) {
		t.Errorf("Decide = %s, %v; want ErrCorrupt", o, err)
	}
}

package logtest

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/txlog"
)

func rules() []rule {
	return slices.Concat(logRules(), sharedRules(), noteRules())
}

func logRules() []rule {
	return []rule{
		{"L1", "The first Decide of an ID stands for ever: every later Decide of that ID returns the first outcome, whatever it asked for, and changes nothing.",
			lacksReopen, firstStands},
		{"L2", "When Decide returns a nil error the outcome is durable: it survives the process's and the machine's crash.",
			lacksCrash, durable},
		{"L3", "When Decide returns an error that is ErrNotDecided the decision was not, and will never be, recorded by this call. Any other error of Decide means unknown.",
			lacksBreak, definiteNo},
		{"L4", "Lookup returns the outcome that stands; Undecided only when it is certain that none does. An ID whose Decide ended as unknown is an error, not Undecided, until the log has been opened again or has found out.",
			lacksBreak, lookupIsCertain},
		{"L5", "Unsettled yields every decision, committed or aborted, that has not been settled, as decided, oldest first, and all of them that stood when the iteration began.",
			lacksReopen, unsettledYieldsAll},
		{"L6", "Settle takes a decision out of Unsettled. It need not be durable when it returns: after a crash the decision may be unsettled again. Lookup and L1 hold for a settled decision until its retention is over. Settle of an unknown or settled ID is nil.",
			lacksReopen, settledStaysReadable},
		{"L7", "ID is made at random when the log is created, and is the same at every later opening. It is at most 16 bytes of ASCII lower-case letters and digits.",
			lacksReopen, identity},
		{"L8", "After a write or sync of the log's own failed no later Decide is accepted until the log is opened again (rule P5): they return ErrNotDecided, except of an ID whose outcome stands, or whose own outcome is unknown. A log that leaves writing to a database need not refuse: it asks again, under the same key, what became of the failed one.",
			lacksBreak, latches},
		{"L9", "A context that ends makes Decide return ErrNotDecided before anything was recorded, or else is ignored; it never leaves a record half-written or the log unusable.",
			lacksReopen, cancelled},
		{"L10", "After Close every method but ID and Close returns ErrClosed; Close twice is nil. A Decide that Close overtakes ends with its outcome or with ErrNotDecided.",
			lacksReopen, closed},
		{"L11", "A log opened to be read returns ErrReadOnly from Decide and Settle, and is not changed by anything.",
			lacksReadOnly, readOnly},
		{"L12", "Unsettled yields the Evidence of a committed decision whole and at its positions. What a log has no room for, or what does not match Resources in number, it drops as a whole, and records the decision without it.",
			lacksReopen, evidenceIsKept},
	}
}

func firstStands(t TB, h Harness, _ func() Harness) {
	decide(t, h.Log, "first", txlog.Committed, "a", "b")
	for _, asked := range []txlog.Outcome{txlog.Aborted, txlog.Committed} {
		got, err := h.Log.Decide(t.Context(), txlog.Decision{ID: "first", Outcome: asked, Resources: []string{"other"}})
		if err != nil || got != txlog.Committed {
			t.Errorf("Decide(%s) of an ID that is committed = %s, %v", asked, got, err)
		}
	}
	logs := openings(t, h)
	for _, l := range logs[1:] {
		lookup(t, l, "first", txlog.Committed)
		if got, err := l.Decide(t.Context(), txlog.Decision{ID: "first", Outcome: txlog.Aborted}); err != nil || got != txlog.Committed {
			t.Errorf("Decide(aborted) by another opening of an ID that is committed = %s, %v", got, err)
		}
	}
	race := func(i int) string { return fmt.Sprint("race", i) }
	answers := make([]txlog.Outcome, 12)
	for i := range answers {
		answers[i] = raceToDecide(t, logs, race(i))
	}
	closeAll(t, logs[1:]...)
	l := reopen(t, h, h.Log)
	defer closeLog(t, l)
	lookup(t, l, "first", txlog.Committed)
	for i, want := range answers {
		lookup(t, l, race(i), want)
	}
	if got, err := l.Decide(t.Context(), txlog.Decision{ID: "first", Outcome: txlog.Aborted}); err != nil || got != txlog.Committed {
		t.Errorf("after reopening, Decide(aborted) of an ID that is committed = %s, %v", got, err)
	}
	for _, d := range unsettled(t, l) {
		if d.ID == "first" && !slices.Equal(d.Resources, []string{"a", "b"}) {
			t.Errorf("a later Decide changed the resources to %q", d.Resources)
		}
	}
}

// openings returns the log, and two more openings of its storage where it is shared.
func openings(t TB, h Harness) []txlog.Log {
	t.Helper()
	if _, shared := h.Log.(txlog.Shared); !shared || h.Another == nil {
		return []txlog.Log{h.Log}
	}
	return []txlog.Log{h.Log, h.Another(t), h.Another(t)}
}

// raceToDecide makes many write one ID at once, some to commit and some to abort, and returns the outcome that all of them were told.
func raceToDecide(t TB, logs []txlog.Log, id string) txlog.Outcome {
	t.Helper()
	answers := make([]txlog.Outcome, 16)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			o, err := logs[i%len(logs)].Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed + txlog.Outcome(i/len(logs)%2)})
			if err != nil {
				t.Errorf("Decide: %v", err)
			}
			answers[i] = o
		})
	}
	wg.Wait()
	if slices.ContainsFunc(answers, func(o txlog.Outcome) bool { return o != answers[0] || o == txlog.Undecided }) {
		t.Fatalf("racing writers of one ID were told %v", answers)
	}
	return answers[0]
}

func durable(t TB, h Harness, _ func() Harness) {
	for i := range 10 {
		decide(t, h.Log, fmt.Sprintf("c%d", i), txlog.Committed, "a")
		decide(t, h.Log, fmt.Sprintf("a%d", i), txlog.Aborted, "a")
	}
	l := h.Crash(t)
	for i := range 10 {
		lookup(t, l, fmt.Sprintf("c%d", i), txlog.Committed)
		lookup(t, l, fmt.Sprintf("a%d", i), txlog.Aborted)
	}
	if n := len(unsettled(t, l)); n != 20 {
		t.Errorf("after a crash %d decisions are unsettled, want 20", n)
	}
	closeLog(t, l)
}

func definiteNo(t TB, h Harness, _ func() Harness) {
	decide(t, h.Log, "before", txlog.Committed, "a")
	h.Break(t)
	o, err := decideBroken(t, h, "broken")
	l := reopen(t, h, h.Log)
	lookup(t, l, "before", txlog.Committed)
	after, lookupErr := l.Lookup(t.Context(), "broken")
	if lookupErr != nil {
		t.Errorf("after reopening, Lookup of the ID whose Decide failed: %v", lookupErr)
	}
	switch {
	case err == nil && after != o:
		t.Errorf("Decide said %s, but the ID is %s", o, after)
	case errors.Is(err, txlog.ErrNotDecided) && after != txlog.Undecided:
		t.Errorf("Decide said %q, but the ID is %s", err, after)
	}
	l = reopen(t, h, l)
	lookup(t, l, "broken", after) // once seen, it stands
	closeLog(t, l)
}

// decideBroken decides to commit after the log was broken. Only a log that finds out what became of it may succeed.
func decideBroken(t TB, h Harness, id string) (txlog.Outcome, error) {
	t.Helper()
	o, err := h.Log.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"a"}})
	if err == nil && !h.FindsOut {
		t.Fatalf("Decide succeeds although its write was made to fail")
	}
	return o, err
}

func lookupIsCertain(t TB, h Harness, _ func() Harness) {
	lookup(t, h.Log, "none", txlog.Undecided)
	decide(t, h.Log, "yes", txlog.Committed, "a")
	decide(t, h.Log, "no", txlog.Aborted)
	lookup(t, h.Log, "yes", txlog.Committed)
	lookup(t, h.Log, "no", txlog.Aborted)
	h.Break(t)
	_, err := decideBroken(t, h, "broken")
	unknown := err != nil && !errors.Is(err, txlog.ErrNotDecided)
	got, lookupErr := h.Log.Lookup(t.Context(), "broken")
	if lookupErr == nil && unknown && !h.FindsOut {
		t.Errorf("Lookup of an ID whose outcome is unknown (%v) = %s, and no error", err, got)
	}
	lookup(t, h.Log, "yes", txlog.Committed)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if o, err := h.Log.Lookup(ended, "yes"); err == nil && o != txlog.Committed {
		t.Errorf("Lookup under a context that has ended = %s, want committed or an error", o)
	}
	l := reopen(t, h, h.Log)
	if lookupErr == nil {
		lookup(t, l, "broken", got) // whoever was told so has acted on it
	}
	lookup(t, l, "yes", txlog.Committed)
	lookup(t, l, "none", txlog.Undecided)
	if _, err := l.Lookup(t.Context(), "broken"); err != nil {
		t.Errorf("after reopening, Lookup: %v", err)
	}
	closeLog(t, l)
}

func identity(t TB, h Harness, another func() Harness) {
	id := h.Log.ID()
	if !regexp.MustCompile(`^[a-z0-9]{1,16}$`).MatchString(id) {
		t.Errorf("ID is %q", id)
	}
	l := reopen(t, h, h.Log)
	if got := l.ID(); got != id {
		t.Errorf("ID is %q, and was %q before reopening", got, id)
	}
	others := openings(t, Harness{Log: l, Another: h.Another})[1:]
	if h.Crash != nil {
		others = append(others, h.Crash(t))
	} else {
		others = append(others, l)
	}
	for _, other := range others {
		if got := other.ID(); got != id {
			t.Errorf("ID is %q, and %q to another opening, or after a crash", id, got)
		}
	}
	closeAll(t, others...)
	other := another().Log
	if other.ID() == id {
		t.Errorf("two logs have the ID %q", id)
	}
	closeLog(t, other)
}

func latches(t TB, h Harness, _ func() Harness) {
	decide(t, h.Log, "before", txlog.Committed)
	h.Break(t)
	_, broken := decideBroken(t, h, "broken")
	answers := map[string]txlog.Outcome{"before": txlog.Committed}
	for i := range 3 {
		id := fmt.Sprintf("after%d", i)
		o, err := h.Log.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed})
		if !errors.Is(err, txlog.ErrNotDecided) && (err != nil || !h.FindsOut) {
			t.Errorf("Decide after a write failed: %v, want ErrNotDecided", err)
		}
		answers[id] = o
	}
	if o, err := h.Log.Decide(t.Context(), txlog.Decision{ID: "before", Outcome: txlog.Committed}); err != nil || o != txlog.Committed {
		t.Errorf("Decide of an ID that stands, after a write failed = %s, %v", o, err)
	}
	again, err := h.Log.Decide(t.Context(), txlog.Decision{ID: "broken", Outcome: txlog.Aborted})
	switch {
	case err == nil && !h.FindsOut:
		t.Errorf("Decide of the ID whose write failed = %s after that", again)
	case err == nil && errors.Is(broken, txlog.ErrNotDecided) && again != txlog.Aborted:
		t.Errorf("Decide said %q, and later that the ID is %s", broken, again)
	case err == nil:
		answers["broken"] = again
	case errors.Is(err, txlog.ErrNotDecided) && !errors.Is(broken, txlog.ErrNotDecided):
		t.Errorf("Decide of an ID whose outcome is unknown says %q", err)
	}
	l := reopen(t, h, h.Log)
	for id, want := range answers {
		lookup(t, l, id, want)
	}
	decide(t, l, "again", txlog.Committed)
	closeLog(t, l)
}

func cancelled(t TB, h Harness, _ func() Harness) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	answers := map[string]txlog.Outcome{}
	note := func(id string, o txlog.Outcome, err error) {
		if err != nil && !errors.Is(err, txlog.ErrNotDecided) {
			t.Errorf("Decide under a context that ends: %v, want ErrNotDecided or success", err)
		}
		answers[id] = o
	}
	o, err := h.Log.Decide(ended, txlog.Decision{ID: "ended", Outcome: txlog.Committed})
	note("ended", o, err)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i*g)*10*time.Microsecond)
				id := fmt.Sprintf("g%d-%d", g, i)
				o, err := h.Log.Decide(ctx, txlog.Decision{ID: id, Outcome: txlog.Committed, Resources: []string{"a"}})
				cancel()
				mu.Lock()
				note(id, o, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	decide(t, h.Log, "afterwards", txlog.Committed)
	l := reopen(t, h, h.Log)
	for id, want := range answers {
		lookup(t, l, id, want)
	}
	lookup(t, l, "afterwards", txlog.Committed)
	closeLog(t, l)
}

func closed(t TB, h Harness, _ func() Harness) {
	l := h.Log
	id := l.ID()
	decide(t, l, "before", txlog.Committed)
	var member txlog.Member
	if _, ok := l.(txlog.Shared); ok {
		member = join(t, l)
	}
	answers := make([]error, 16)
	var wg sync.WaitGroup
	for i := range answers {
		wg.Go(func() {
			_, answers[i] = l.Decide(t.Context(), txlog.Decision{ID: fmt.Sprintf("race%d", i), Outcome: txlog.Committed})
		})
	}
	for range 2 { // at once, and while decisions are under way
		wg.Go(func() {
			if err := l.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()
	for range 2 {
		if err := l.Close(); err != nil {
			t.Errorf("Close of a closed log: %v", err)
		}
	}
	if l.ID() != id {
		t.Errorf("ID of a closed log is %q, was %q", l.ID(), id)
	}
	_, decideErr := l.Decide(t.Context(), txlog.Decision{ID: "late", Outcome: txlog.Committed})
	_, lookupErr := l.Lookup(t.Context(), "before")
	settleErr := l.Settle(t.Context(), "before")
	var unsettledErr error
	for _, unsettledErr = range l.Unsettled(t.Context()) {
		if unsettledErr == nil {
			t.Errorf("Unsettled of a closed log yields something")
		}
	}
	errs := map[string]error{"Decide": decideErr, "Lookup": lookupErr, "Settle": settleErr, "Unsettled": unsettledErr}
	if shared, ok := l.(txlog.Shared); ok {
		_, errs["Join"] = shared.Join(t.Context())
		_, errs["Holders"] = shared.Holders(t.Context(), []string{"before"})
		_, errs["Claim"] = member.Claim(t.Context(), []string{"before"})
	}
	for method, err := range errs {
		if !errors.Is(err, txlog.ErrClosed) {
			t.Errorf("%s of a closed log: %v, want ErrClosed", method, err)
		}
	}
	if !errors.Is(decideErr, txlog.ErrNotDecided) {
		t.Errorf("Decide of a closed log: %v, want ErrNotDecided as well", decideErr)
	}
	l = h.Reopen(t)
	for i, err := range answers {
		want := txlog.Committed
		if err != nil {
			want = txlog.Undecided
		}
		if err != nil && !errors.Is(err, txlog.ErrNotDecided) {
			t.Errorf("Decide that Close overtook: %v, want ErrNotDecided or success", err)
		}
		lookup(t, l, fmt.Sprintf("race%d", i), want)
	}
	lookup(t, l, "late", txlog.Undecided)
	closeLog(t, l)
}

func readOnly(t TB, h Harness, _ func() Harness) {
	decide(t, h.Log, "before", txlog.Committed, "a", "b")
	r := h.ReadOnly(t)
	if r.ID() != h.Log.ID() {
		t.Errorf("ID is %q to its reader, and %q to its owner", r.ID(), h.Log.ID())
	}
	lookup(t, r, "before", txlog.Committed)
	_, err := r.Decide(t.Context(), txlog.Decision{ID: "read-only", Outcome: txlog.Committed})
	if !errors.Is(err, txlog.ErrReadOnly) || !errors.Is(err, txlog.ErrNotDecided) {
		t.Errorf("Decide of a log that is open for reading: %v, want ErrReadOnly and ErrNotDecided", err)
	}
	if err := r.Settle(t.Context(), "before"); !errors.Is(err, txlog.ErrReadOnly) {
		t.Errorf("Settle of a log that is open for reading: %v, want ErrReadOnly", err)
	}
	for _, l := range []txlog.Log{r, h.Log} {
		lookup(t, l, "read-only", txlog.Undecided)
		if got := ids(unsettled(t, l)); !slices.Equal(got, []string{"before"}) {
			t.Errorf("unsettled are %q, want only \"before\"", got)
		}
	}
	if registrar, ok := r.(txlog.Registrar); ok {
		if err := registrar.Register(t.Context(), "orders", "another"); !errors.Is(err, txlog.ErrReadOnly) {
			t.Errorf("Register of a log that is open for reading: %v, want ErrReadOnly", err)
		}
	}
	if compactor, ok := r.(txlog.Compactor); ok {
		if err := compactor.Compact(t.Context()); !errors.Is(err, txlog.ErrReadOnly) {
			t.Errorf("Compact of a log that is open for reading: %v, want ErrReadOnly", err)
		}
	}
	closeLog(t, r)
	_, lookupErr := r.Lookup(t.Context(), "before")
	_, decideErr := r.Decide(t.Context(), txlog.Decision{ID: "late", Outcome: txlog.Committed})
	if !errors.Is(lookupErr, txlog.ErrClosed) || !errors.Is(decideErr, txlog.ErrNotDecided) {
		t.Errorf("a reader that is closed says %v to Lookup and %v to Decide, want ErrClosed and ErrNotDecided", lookupErr, decideErr)
	}
	decide(t, h.Log, "after", txlog.Committed)
	closeLog(t, h.Log)
}

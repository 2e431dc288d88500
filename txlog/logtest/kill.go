package logtest

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/xasql/xasql/txlog"
)

// Processes is what [KillTest] needs to know of a log whose storage several processes find.
type Processes struct {
	// New makes a storage, and returns what Open needs to find it. Only the test's own process calls it: what a test does before it calls
	// KillTest is done in each process that is killed, too.
	New func(t TB) (where string)
	// Open opens the storage, or makes a log in it if there is none.
	Open func(where string) (txlog.Log, error)
	// AtOnce is how many processes decide at once, about the same IDs: 1, which is the default, unless the log is shared.
	AtOnce int
	// Rounds is how often processes are started and killed. Default 5.
	Rounds int
}

// KillTest starts this test binary again as processes that decide as fast as they can and tell what they were answered, kills each (SIGKILL)
// at a random moment, and opens the log: whatever one was told must stand (L1, L2, L3), and what was asked without an
// answer is wholly there or not at all (L5). A test calls it, and nothing after it.
func KillTest(t *testing.T, p Processes) {
	if where := os.Getenv(killWhere); where != "" {
		fmt.Println(killPrefix+"error", decideUntilKilled(p, where))
		os.Exit(1)
	}
	killTest(t, t.Name(), p)
}

// What makes the test binary a process to be killed, and its output lines.
const (
	killWhere  = "XASQL_LOGTEST_WHERE"
	killRound  = "XASQL_LOGTEST_ROUND"
	killPrefix = "logtest: "
)

// decideUntilKilled says "ready" once the log is open, and begins when its input ends. It tells with one write, so that a line is there or not:
// before it asks, "ask ID OUTCOME"; then "told ID OUTCOME", "no ID" or "unknown ID"; and "settle ID" before it settles.
func decideUntilKilled(p Processes, where string) error {
	l, err := p.Open(where)
	if err != nil {
		return err
	}
	fmt.Println(killPrefix + "ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
	round := os.Getenv(killRound)
	var next atomic.Int64
	for range 4 {
		go func() {
			for {
				i := next.Add(1)
				decideOnce(l, fmt.Sprintf("%s.%s-%d", l.ID(), round, i), i)
			}
		}()
	}
	select {}
}

func decideOnce(l txlog.Log, id string, i int64) {
	d := txlog.Decision{ID: id, Outcome: txlog.Committed + txlog.Outcome(rand.IntN(2)), Resources: []string{"orders", id}}
	tell := func(line string, args ...any) { fmt.Fprintf(os.Stdout, killPrefix+line+"\n", args...) }
	tell("ask %s %d", id, d.Outcome)
	o, err := l.Decide(context.Background(), d)
	switch {
	case err == nil:
		tell("told %s %d", id, o)
	case errors.Is(err, txlog.ErrNotDecided):
		tell("no %s", id)
	default:
		tell("unknown %s", id)
	}
	if err == nil && i%3 == 0 {
		tell("settle %s", id)
		if err := l.Settle(context.Background(), id); err != nil {
			tell("error %v", err)
		}
	}
}

// testimony is what the processes told of one ID.
type testimony struct {
	asked   map[txlog.Outcome]bool
	asks    int
	noes    int
	stands  txlog.Outcome // what one was told, or was found afterwards
	settled bool          // perhaps
}

// witness gathers what all processes told.
type witness struct {
	mu  sync.Mutex // guards ids
	ids map[string]*testimony
}

func killTest(t TB, name string, p Processes) {
	t.Helper()
	where := p.New(t)
	w := &witness{ids: map[string]*testimony{}}
	for round := range cmp.Or(p.Rounds, 5) {
		var wg, ready sync.WaitGroup
		ready.Add(max(1, p.AtOnce))
		for range max(1, p.AtOnce) {
			wg.Go(func() { w.killOne(t, name, where, round, &ready) })
		}
		wg.Wait()
		l, err := p.Open(where)
		if err != nil {
			t.Fatalf("open after the processes were killed: %v", err)
		}
		w.check(t, l)
		decide(t, l, fmt.Sprint("after", round), txlog.Committed, "orders", fmt.Sprint("after", round))
		if err := l.Settle(t.Context(), fmt.Sprint("after", round)); err != nil {
			t.Errorf("Settle: %v", err)
		}
		closeLog(t, l)
		if t.Failed() {
			return
		}
	}
	t.Logf("%d IDs were decided about", len(w.ids))
}

// killOne starts a process, lets it begin when all are ready, and kills it after some answers.
func (w *witness) killOne(t TB, name, where string, round int, ready *sync.WaitGroup) {
	isReady := sync.OnceFunc(ready.Done)
	defer isReady()
	pattern := regexp.MustCompile(`[^/]+`).ReplaceAllStringFunc(name, func(s string) string { return "^" + regexp.QuoteMeta(s) + "$" })
	c := exec.Command(os.Args[0], "-test.run", pattern)
	c.Env = append(os.Environ(), killWhere+"="+where, killRound+"="+strconv.Itoa(round))
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	var in io.Closer
	if err == nil {
		in, err = c.StdinPipe()
	}
	if err == nil {
		err = c.Start()
	}
	if err != nil {
		t.Errorf("start a process: %v", err)
		return
	}
	answers, until := 0, 20+rand.IntN(300)
	var rest strings.Builder
	for s := bufio.NewScanner(out); s.Scan(); { // to the end: what it told before it was killed counts
		line, ok := strings.CutPrefix(s.Text(), killPrefix)
		if !ok {
			rest.WriteString(s.Text() + "\n")
			continue
		}
		if line == "ready" {
			isReady()
			ready.Wait()
			_ = in.Close()
		} else if w.hear(t, strings.Fields(line)) {
			if answers++; answers == until {
				_ = c.Process.Kill()
			}
		}
	}
	_ = c.Wait()
	if answers < until {
		t.Errorf("the process ended by itself, after %d answers:\n%s", answers, rest.String())
	}
}

// hear notes one line, and reports whether it is an answer.
func (w *witness) hear(t TB, line []string) (answer bool) {
	if line[0] == "error" {
		t.Errorf("a process says: %s", strings.Join(line[1:], " "))
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	id, o := line[1], txlog.Undecided
	if len(line) > 2 {
		n, _ := strconv.Atoi(line[2])
		o = txlog.Outcome(n)
	}
	about := w.ids[id]
	if about == nil {
		about = &testimony{asked: map[txlog.Outcome]bool{}}
		w.ids[id] = about
	}
	switch line[0] {
	case "ask":
		about.asked[o] = true
		about.asks++
	case "told":
		if about.stands != txlog.Undecided && about.stands != o {
			t.Errorf("%q: one was told %s, another %s", id, about.stands, o)
		}
		about.stands = o
	case "no":
		about.noes++
	case "settle":
		about.settled = true
	}
	return line[0] == "told" || line[0] == "no" || line[0] == "unknown"
}

// check holds the log against what the processes told. Nobody else uses it.
func (w *witness) check(t TB, l txlog.Log) {
	t.Helper()
	open := map[string]txlog.Decision{}
	for _, d := range unsettled(t, l) {
		open[d.ID] = d
		if w.ids[d.ID] == nil && !strings.HasPrefix(d.ID, "after") {
			t.Errorf("the log holds a decision on %q, which nobody asked for", d.ID)
		}
	}
	for id, about := range w.ids {
		got, err := l.Lookup(t.Context(), id)
		switch {
		case err != nil:
			t.Errorf("Lookup(%q): %v", id, err)
		case about.stands != txlog.Undecided && got != about.stands:
			t.Errorf("%q is %s, and was told to be %s", id, got, about.stands)
		case got != txlog.Undecided && !about.asked[got]:
			t.Errorf("%q is %s, which nobody asked for", id, got)
		case got != txlog.Undecided && about.noes == about.asks:
			t.Errorf("%q is %s, although every Decide of it was told that it recorded nothing", id, got)
		}
		about.stands = got // once seen, it stands
		d, listed := open[id]
		switch {
		case got == txlog.Undecided && listed, got != txlog.Undecided && !listed && !about.settled:
			t.Errorf("%q is %s; that it is unsettled is %v", id, got, listed)
		case listed && (d.Outcome != got || len(d.Resources) != 2 || d.Resources[1] != id):
			t.Errorf("%q is %s, and listed as %+v", id, got, d)
		}
	}
}

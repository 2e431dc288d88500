package integration

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/xasql/xasql/integration/engines"
)

// A command that is killed after any of its requests has done all of what it decided, or none of it, once it is run again.
func TestRecoverKilledAfterEachRequestEndsTheSameWhenRunAgain(t *testing.T) {
	stride := 6
	kill := func(h *hand, c handCommand, n int) (ended bool) { return h.cutShort(c, n, h.killAtRequest) }
	forEachCommand(t, []lane{
		{"files", named(t, "mariadb:11.8"), 3, true, stride, kill},
		{"tables", named(t, "mysql:9.7"), 2, false, 5 * stride, kill},
	})
}

// A command that is killed at any of its changes to the log's files, of which one that writes is left half done, has done all or nothing, too.
func TestRecoverKilledAtEachChangeOfAFileEndsTheSameWhenRunAgain(t *testing.T) {
	buildKilled(t)
	forEachCommand(t, []lane{{"files", named(t, "mysql:9.7"), 3, true, 3, func(h *hand, c handCommand, n int) (ended bool) {
		return h.cutShort(c, n, h.killAtChange)
	}}})
}

// Two at once, of which one stands still after any of its requests while the other goes to its end, make one outcome.
func TestTwoRecoveriesOfWhichOneStandsStillMakeOneOutcome(t *testing.T) {
	stride := 12
	forEachCommand(t, []lane{
		{"files", named(t, "mysql:9.7"), 2, true, stride, (*hand).standStill},
		{"tables", named(t, "mariadb:11.8"), 3, false, 5 * stride, (*hand).standStill},
	})
}

// lane is a way to cut commands short, on one kind of log, beside one engine.
type lane struct {
	name       string
	engine     engines.Engine
	hands      int // at once: most of the time is waiting for MariaDB's sessions
	logInFiles bool
	stride     int // of the steps, of which an ordinary run tries some, other ones for each command; XA_MATRIX=full: all
	cut        func(h *hand, c handCommand, n int) (ended bool)
}

// forEachCommand cuts every command short in all lanes, later and later until the command ends by itself.
func forEachCommand(t *testing.T, lanes []lane) {
	t.Helper()
	for _, l := range lanes {
		engines.Start(named(t, "postgres:17"), l.engine)
	}
	var wg sync.WaitGroup
	for _, l := range lanes {
		for first := range l.hands {
			wg.Go(func() {
				t.Run(fmt.Sprintf("%s-%d", l.name, first+1), func(t *testing.T) {
					h := newHand(t, l.engine, l.logInFiles)
					commands := handCommands()
					for i := first; i < len(commands) && !t.Failed(); i += l.hands {
						t.Run(commands[i].name, func(t *testing.T) { h.cutAll(t, l, commands[i], i) })
					}
				})
			})
		}
	}
	wg.Wait()
}

// cutAll cuts the i-th command short at all steps that are to be tried.
func (h *hand) cutAll(t *testing.T, l lane, c handCommand, i int) {
	t.Helper()
	if c.only != nil && !c.only(l.logInFiles) {
		return
	}
	h.T, h.other, h.rounds = t, doubt{}, nil
	step := l.stride
	if everyStep() {
		step = 1
	}
	n := 1 + i%step
	for !l.cut(h, c, n) {
		n += step
	}
	t.Logf("%s ends within %d steps", c.name, n)
	h.leave()
}

// standStill has the command stand still after its n-th request while another one goes to its end.
func (h *hand) standStill(c handCommand, n int) (ended bool) {
	h.Helper()
	id := c.before(h)
	s := newStepper(n)
	p := h.behind(h.T, s).startRecover(h.T, h.args(c, id)...)
	done := make(chan int, 1)
	go func() { done <- p.wait(h.T) }()
	select {
	case <-s.reached:
		other := h.startRecover(h.T, append(h.args(c, id), "--timeout", "5s")...)
		h.mayEnd(c, other, other.wait(h.T)) // it may have to leave what the one holds
		s.thaw()
		h.mayEnd(c, p, <-done)
	case got := <-done:
		s.cut()
		if ended = !s.spent(); ended && got != c.status {
			h.Errorf("undisturbed: status %d, want %d\n%s", got, c.status, p.stderr.String())
		}
	}
	h.settled(c, id)
	return ended
}

// mayEnd fails the test if the command, run beside another one, ended with a status that is neither what it ends with alone, nor "something is, or may be, left
// in doubt", nor a failure that says what failed.
func (h *hand) mayEnd(c handCommand, p *process, status int) {
	h.Helper()
	fine := []int{c.status, 3}
	switch said := p.stderr.String(); {
	case strings.Contains(said, "--timeout"), c.name == "forget" && strings.Contains(said, "Nothing is noted"):
		fine = append(fine, 1)
	}
	if !slices.Contains(fine, status) {
		h.Errorf("beside another one xa-recover %s ends with status %d, want one of %v:\n%s", c.name, status, fine, p.stderr.String())
	}
}

// leave ends a hand's test: nothing is in doubt.
func (h *hand) leave() {
	h.Helper()
	h.expire()
	if h.other.id != "" && h.prepared(h.other.id) > 0 {
		h.adopt(0, "rollback", h.other.id, "--adopt", "--why", "ledger", "--yes")
	}
	h.want([]string{"resolve"}, 0)
	h.want([]string{"list"}, 0)
}

// cutShort has a run of the command cut short at its n-th step, and everything put in order by another run. It returns whether the run ended before that step.
func (h *hand) cutShort(c handCommand, n int, run func(c handCommand, n int, args []string) (status int, ended bool)) (ended bool) {
	h.Helper()
	id := c.before(h)
	status, ended := run(c, n, h.args(c, id))
	h.expire()
	if status == c.status && !h.refused() { // it said that all is done: nobody need run it again
		c.end(h, id)
		return ended
	}
	h.settled(c, id)
	if h.Failed() {
		h.Fatalf("cut short at step %d", n)
	}
	return ended
}

// settled runs the command again, and then checks that everything is as one undisturbed run leaves it.
func (h *hand) settled(c handCommand, id string) {
	h.Helper()
	if c.again != nil {
		c.again(h, id)
	} else {
		h.want(h.args(c, id), c.status)
	}
	c.end(h, id)
}

// killAtRequest kills the process once the servers have carried out its n-th request, of which it does not hear.
func (h *hand) killAtRequest(c handCommand, n int, args []string) (status int, ended bool) {
	h.Helper()
	s := newStepper(n)
	p := h.behind(h.T, s).startRecover(h.T, args...)
	done := make(chan int, 1)
	go func() { done <- p.wait(h.T) }()
	select {
	case <-s.reached:
		if err := p.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) { // nobody waits for an answer to what says good-bye
			h.Fatal(err)
		}
		status = <-done
	case status = <-done:
	}
	s.cut()
	h.said = p.stderr.String()
	// One that is not told the last answer gives up at last, if nobody is there to kill it in time.
	if ended = !s.spent(); status != c.status && (ended || !slices.Contains([]int{-1, 1, 3}, status)) {
		h.Fatalf("xa-recover %v ends with status %d, want %d:\n%s", args, status, c.status, h.said)
	}
	return status, ended
}

// killAtChange has the process kill itself at its n-th change of the log's files.
func (h *hand) killAtChange(c handCommand, n int, args []string) (status int, ended bool) {
	h.Helper()
	p := startProgram(h.T, append(h.env(), fmt.Sprintf("XA_TEST_KILL_AT=%d", n)), nil, killedProgram, args...)
	status = p.wait(h.T)
	switch h.said = p.stderr.String(); status {
	case -1:
		return status, false
	case c.status:
		return status, true
	}
	h.Fatalf("xa-recover %v ends with status %d, want %d:\n%s", args, status, c.status, h.said)
	return 0, false
}

package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/crash"
	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// run parks the round's cases, kills what it kills, lets recovery do its work, and checks.
func (m *matrix) run(t *testing.T, r matrixRound) {
	t.Helper()
	begun := time.Now()
	if m.ran[r.kind] == 0 {
		m.kinds = append(m.kinds, r.kind)
	}
	cases := r.cases
	file := m.prepare(t, cases)
	p := startParking(t, "work", file)
	p.await(t, "parked", cases)
	told := p.told
	if again := matrixTwice(cases); len(again) > 0 { // all of them are
		p.kill(t)
		p = startParking(t, "again", file)
		p.await(t, "parked", again)
	}
	parked := time.Since(begun)
	m.kill(t, r, p)
	if !r.application {
		p.release()
	}
	m.start(t, r.servers)
	if r.application {
		r.recover(t, m, cases)
	} else {
		p.await(t, "done", cases)
		p.end(t)
	}
	recovered := time.Since(begun)
	m.check(t, r, told)
	m.ran[r.kind] += len(cases)
	t.Logf("%s: %d cases: parked after %.1f s, recovered after %.1f s, checked after %.1f s", r.kind, len(cases),
		parked.Seconds(), recovered.Seconds(), time.Since(begun).Seconds())
	if t.Failed() {
		t.FailNow() // what follows would fail for the same reason
	}
}

func matrixTwice(cases []matrixCase) []matrixCase {
	var twice []matrixCase
	for _, c := range cases {
		if c.Then != "" {
			twice = append(twice, c)
		}
	}
	return twice
}

// kill kills the round's victims at the same time.
func (m *matrix) kill(t *testing.T, r matrixRound, p *parking) {
	t.Helper()
	var wg sync.WaitGroup
	for _, e := range r.servers {
		wg.Go(func() { m.servers[e].Kill(t) })
	}
	if r.application {
		p.kill(t)
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

func (m *matrix) start(t *testing.T, es []engines.Engine) {
	t.Helper()
	var wg sync.WaitGroup
	for _, e := range es {
		wg.Go(func() { m.servers[e].Start(t) })
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
}

// matrixRestart recovers by the application's next start.
func matrixRestart(t *testing.T, _ *matrix, cases []matrixCase) {
	t.Helper()
	p := startParking(t, "recover", filepath.Join(filepath.Dir(cases[0].Log), "cases.json"))
	p.await(t, "done", cases)
	p.end(t)
}

// matrixResolve recovers by xa-recover, a process for each log; again where sessions of the killed application took their time to end.
func matrixResolve(t *testing.T, _ *matrix, cases []matrixCase) {
	t.Helper()
	next := make(chan matrixCase)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for c := range next {
				resources := c.Sides[0].Name + "=" + c.Sides[0].URL + "\n" + c.Sides[1].Name + "=" + c.Sides[1].URL
				for limit := time.Now().Add(time.Minute); ; {
					p := startProgram(t, []string{"XA_LOG=file:" + c.Log, "XA_RESOURCES=" + resources}, nil, "xa-recover", "resolve")
					status := p.wait(t)
					if status == 3 && time.Now().Before(limit) {
						continue
					}
					if status != 0 {
						t.Errorf("%s: xa-recover ended with status %d:\n%s", c.ID, status, p.stderr.String())
					}
					break
				}
			}
		})
	}
	for _, c := range cases {
		next <- c
	}
	close(next)
	wg.Wait()
}

// check fails the test for every case that is not as it must be.
func (m *matrix) check(t *testing.T, r matrixRound, told ledger.Told) {
	t.Helper()
	hits, left := m.hits(t, r.cases), m.leftovers(t, r.cases)
	for _, c := range r.cases {
		var got [2]int
		for side := range c.Sides {
			got[side] = hits[c.Sides[side].URL][c.Row]
		}
		wrong := left[c.ID]
		if w := c.judge(r.application, got, told[c.ID]); w != "" {
			wrong = append(wrong, w)
		}
		if len(wrong) > 0 {
			t.Errorf("%s killed: %s: %s", r.kind, c.ID, strings.Join(wrong, "; "))
		}
	}
}

// judge tells what is wrong with what the databases hold of the case.
func (c matrixCase) judge(applicationKilled bool, got [2]int, told ledger.Outcome) string {
	want := c.point.Killed
	if !applicationKilled && c.Then == "" {
		want = c.point.Lives
	}
	before := 0
	if c.point.Twist == crash.Compact {
		before = crash.Before
	}
	both, none, first := [2]int{before + crash.Hit, before + crash.Hit}, [2]int{before, before}, [2]int{crash.Hit, 0}
	right := map[crash.Outcome]bool{crash.Committed: got == both, crash.Aborted: got == none, crash.First: got == first}[want]
	if want == crash.Told {
		right = told == ledger.Committed && got == both || told == ledger.RolledBack && got == none
	}
	switch {
	case !right:
		return fmt.Sprintf("hits %v, want %s", got, want)
	case told == ledger.Committed && got != both && got != first, told == ledger.RolledBack && got != none,
		told == ledger.Unknown && c.point.Twist != crash.OnePhase, told == ledger.Heuristic, told == "" && !applicationKilled && c.Then == "":
		return fmt.Sprintf("hits %v, and the application was told %q", got, told)
	}
	return ""
}

// parking is the program that parks transactions.
type parking struct {
	cmd   *exec.Cmd
	stdin io.Closer
	lines chan string // what it tells; closed when it ends
	log   string      // file with its standard error
	told  ledger.Told
	seen  map[string]bool // "parked ID" and "done ID"
}

func startParking(t *testing.T, step, cases string) *parking {
	t.Helper()
	p := &parking{log: cases + "." + step + ".log", told: ledger.Told{}, seen: map[string]bool{}, lines: make(chan string)}
	stderr, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	p.cmd = exec.CommandContext(t.Context(), program(t, "parking"), "-step", step, cases)
	p.cmd.Stderr = stderr
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin = stdin
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for in := bufio.NewScanner(stdout); in.Scan(); {
			p.lines <- in.Text()
		}
		close(p.lines)
	}()
	return p
}

// silence is how long the program may say nothing while it is waited for.
const silence = 3 * time.Minute

// await returns when the program has said this word of all the cases.
func (p *parking) await(t *testing.T, word string, cases []matrixCase) {
	t.Helper()
	missing := map[string]bool{}
	for _, c := range cases {
		if !p.seen[word+" "+c.ID] {
			missing[word+" "+c.ID] = true
		}
	}
	for len(missing) > 0 {
		select {
		case line, ok := <-p.lines:
			if !ok {
				p.fail(t, fmt.Sprintf("it ended before it said %q", anyOf(missing)))
			}
			delete(missing, line)
			p.hear(t, line)
		case <-time.After(silence):
			_ = p.cmd.Process.Signal(syscall.SIGQUIT) // it prints its goroutines
			p.fail(t, fmt.Sprintf("it said nothing for %v, and not %q (and %d more)", silence, anyOf(missing), len(missing)-1))
		}
	}
}

func (p *parking) hear(t *testing.T, line string) {
	t.Helper()
	if strings.HasPrefix(line, "parked ") || strings.HasPrefix(line, "done ") {
		p.seen[line] = true
		return
	}
	if err := p.told.Read(strings.NewReader(line + "\n")); err != nil {
		t.Fatal(err)
	}
}

func anyOf(m map[string]bool) string {
	for s := range m {
		return s
	}
	return ""
}

// release lets the parked cases go on.
func (p *parking) release() { _ = p.stdin.Close() }

// kill kills the program.
func (p *parking) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Kill(); err != nil {
		p.fail(t, err.Error())
	}
	p.rest(t)
	_ = p.cmd.Wait()
}

// end lets the program end by itself.
func (p *parking) end(t *testing.T) {
	t.Helper()
	p.release()
	p.rest(t)
	if err := p.cmd.Wait(); err != nil {
		p.fail(t, err.Error())
	}
}

// rest hears what the program said last.
func (p *parking) rest(t *testing.T) {
	t.Helper()
	for line := range p.lines {
		p.hear(t, line)
	}
}

// fail ends the test with the end of what the program wrote.
func (p *parking) fail(t *testing.T, why string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	go func() {
		for range p.lines {
		}
		cancel()
	}()
	<-ctx.Done()
	text, _ := os.ReadFile(p.log)
	t.Fatalf("parking: %s:\n%s", why, text[max(0, len(text)-20000):])
}

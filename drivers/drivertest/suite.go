package drivertest

import (
	"context"
	_ "embed"
	"strings"
	"testing"
	"time"
)

// Run runs the suite, each case as a subtest with a harness of its own.
func Run(t *testing.T, newHarness func(t *testing.T) Harness) {
	for _, c := range suite() {
		t.Run(c.name(), func(t *testing.T) {
			c.run(t, newHarness(t))
		})
	}
}

// tb is what a case needs of a *testing.T. The suite's own tests put a recorder in its place.
type tb interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
}

// testCase is the case of one rule.
type testCase struct {
	rule  string // "D1", or the name of an optional interface
	claim string // what a good driver does, in CamelCase
	body  func(r *run)
}

func (c testCase) name() string { return c.rule + "_" + c.claim }

func suite() []testCase {
	var all []testCase
	for _, part := range [][]testCase{durableCases(), driverCases(), branchCases(), optionCases(), optionalCases()} {
		all = append(all, part...)
	}
	return all
}

// caseTimeout ends a case whose driver never answers, and that has no closer limit.
const caseTimeout = 2 * time.Minute

// run runs the case against a harness.
func (c testCase) run(t tb, h Harness) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("rule %s: %s", c.rule, rules()[c.rule])
		}
	}()
	if problem := h.check(); problem != "" {
		t.Fatalf("harness: %s", problem)
	}
	ctx, cancel := context.WithTimeout(t.Context(), caseTimeout)
	defer cancel()
	r := newRun(ctx, t, h)
	defer r.finish()
	c.body(r)
}

// The rules, one a line, as the comments of package drivers have them: a test compares.
//
//go:embed rules.txt
var rulesText string

// rules returns the text of each rule.
func rules() map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(rulesText) {
		rule, text, _ := strings.Cut(strings.TrimSpace(line), " ")
		m[rule] = text
	}
	return m
}

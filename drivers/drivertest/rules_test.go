package drivertest

import (
	"flag"
	"go/ast"
	"go/doc/comment"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite rules.txt from the comments of package drivers")

func TestEveryRuleHasItsCaseAndEveryCaseItsRule(t *testing.T) {
	want := contract(t)
	if *update {
		var b strings.Builder
		for _, rule := range slices.Sorted(maps.Keys(want)) {
			b.WriteString(rule + " " + want[rule] + "\n")
		}
		if err := os.WriteFile("rules.txt", []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		rulesText = b.String()
	}
	cases := map[string]int{}
	for _, c := range suite() {
		cases[c.rule]++
		if want[c.rule] == "" {
			t.Errorf("case %s has no rule in the comments of package drivers", c.name())
		}
	}
	for rule := range want {
		if cases[rule] != 1 {
			t.Errorf("rule %s has %d cases, want 1", rule, cases[rule])
		}
	}
	if got := rules(); !maps.Equal(got, want) {
		t.Errorf("rules.txt differs from the comments of package drivers: run go test -run TestEveryRule ./drivers/drivertest -update")
	}
}

// contract returns the rules of package drivers: the numbered ones in the comments of Driver and Branch, and the
// comment of each optional interface.
func contract(t *testing.T) map[string]string {
	t.Helper()
	rules := map[string]string{}
	for name, text := range docs(t, "../driver.go") {
		if name == "Driver" || name == "Branch" {
			maps.Copy(rules, numbered(text))
		}
	}
	if len(rules) < 20 {
		t.Fatalf("found only %d numbered rules in driver.go: %v", len(rules), rules)
	}
	optional := 0
	for name, text := range docs(t, "../optional.go") {
		rules[name] = strings.Join(strings.Fields(text), " ")
		optional++
	}
	if optional < 5 {
		t.Fatalf("found only %d interfaces in optional.go", optional)
	}
	return rules
}

// docs returns the comments of a file's interfaces.
func docs(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range g.Specs {
			if ts, ok := spec.(*ast.TypeSpec); ok {
				if _, ok := ts.Type.(*ast.InterfaceType); ok {
					found[ts.Name.Name] = g.Doc.Text()
				}
			}
		}
	}
	return found
}

var ruleStart = regexp.MustCompile(`(?m)^([DB][0-9]+) +`)

// numbered splits a comment's preformatted blocks into its numbered rules.
func numbered(text string) map[string]string {
	rules := map[string]string{}
	for _, block := range new(comment.Parser).Parse(text).Content {
		code, ok := block.(*comment.Code)
		if !ok {
			continue
		}
		starts := ruleStart.FindAllStringSubmatchIndex(code.Text, -1)
		for i, s := range starts {
			end := len(code.Text)
			if i+1 < len(starts) {
				end = starts[i+1][0]
			}
			rules[code.Text[s[2]:s[3]]] = strings.Join(strings.Fields(code.Text[s[1]:end]), " ")
		}
	}
	return rules
}

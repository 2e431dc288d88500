package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

func TestManualPageIsTheCommandsOwn(t *testing.T) {
	var stdout, stderr strings.Builder
	if status := (&app{stdout: &stdout, stderr: &stderr}).run(t.Context(), []string{"man"}); status != 0 {
		t.Fatalf("exit status %d: %s", status, stderr.String())
	}
	path := filepath.Join("..", "..", "docs", "xa-recover.8")
	if *update {
		if err := os.WriteFile(path, []byte(stdout.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (go test ./cmd/xa-recover -update writes it)", err)
	}
	if diff := cmp.Diff(string(want), stdout.String()); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", path, diff)
	}
}

func TestHelpFitsATerminalAndNamesEveryCommandInTheError(t *testing.T) {
	root := (&app{}).command()
	err := root.RunE(root, nil)
	for _, c := range root.Commands() {
		if name := c.Name(); !c.Hidden && name != "version" && !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
		for line := range strings.Lines(c.Long) {
			if len(line) > 81 {
				t.Errorf("%s: a line of %d letters: %s", c.Name(), len(line), line)
			}
		}
	}
}

func TestVersionAndCompletionAreTold(t *testing.T) {
	for args, want := range map[string]string{"version": "xa-recover ", "version -o json": `"command": "version"`, "completion bash": "__start_xa-recover", "completion zsh": "#compdef"} {
		var stdout, stderr strings.Builder
		if status := (&app{stdout: &stdout, stderr: &stderr}).run(t.Context(), strings.Fields(args)); status != 0 || !strings.Contains(stdout.String(), want) {
			t.Errorf("%s: exit status %d: %s%.200s", args, status, stderr.String(), stdout.String())
		}
	}
}

func TestUnitsAndGuideKnowTheFlagsThatTheyName(t *testing.T) {
	known := map[string]bool{}
	var add func(c *cobra.Command)
	add = func(c *cobra.Command) {
		visit := func(f *pflag.Flag) { known["--"+f.Name] = true }
		c.Flags().VisitAll(visit)
		c.PersistentFlags().VisitAll(visit)
		for _, sub := range c.Commands() {
			add(sub)
		}
	}
	add((&app{}).command())
	for _, name := range []string{"operations.md", "xa-recover.cron", "xa-recover.service", "xa-recover.k8s.yaml", "xasql.sample.yaml"} {
		text, err := os.ReadFile(filepath.Join("..", "..", "docs", name))
		if err != nil {
			t.Fatal(err)
		}
		for _, flag := range regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(string(text), -1) {
			if !known[flag] {
				t.Errorf("%s: there is no flag %s", name, flag)
			}
		}
	}
}

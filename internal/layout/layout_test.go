package layout

import (
	"os/exec"
	"path"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/xasql/xasql/"

// allowed are the packages of this module that each package may import. A package that is not here fails the test: decide where it
// belongs first.
var allowed = map[string][]string{
	"drivers":                       {},
	"drivers/drivertest":            {"drivers"},
	"drivers/postgres":              {"drivers"},
	"drivers/mysql":                 {"drivers"},
	"drivers/sqlite":                {"drivers"},
	"drivers/sqlite/internal/syncs": {},
	"txlog":                         {},
	"txlog/logtest":                 {"txlog"},
	"txlog/filelog":                 {"txlog", "internal/logfs"},
	"txlog/sqllog":                  {"txlog"},
	"recovery":                      {"drivers", "txlog", "internal/txid"},
	"xa":                            {"drivers", "txlog", "recovery", "internal/txid"},
	"config":                        {"drivers", "txlog", "xa", "internal/connect"},
	"internal/txid":                 {},
	"internal/logfs":                {},
	"internal/layout":               {},
	"internal/memdisk":              {"txlog", "internal/logfs"},
	"internal/memdb":                {"drivers"},
	"internal/simulation":           {},
	"internal/handletest":           {},
	"internal/connect":              {"drivers", "drivers/postgres", "drivers/mysql", "drivers/sqlite", "txlog", "txlog/filelog", "txlog/sqllog"},
	"cmd/xa-recover":                {"drivers", "txlog", "txlog/filelog", "txlog/sqllog", "recovery", "config", "internal/connect", "internal/txid"},
	"examples/transfer":             {"drivers", "drivers/sqlite", "txlog", "txlog/filelog", "recovery", "xa", "internal/connect"},
}

// standardOnly are the packages that every user's program is built with: they drag nothing in. A driver may need its
// client library.
var standardOnly = []string{"drivers", "drivers/postgres", "txlog", "txlog/filelog", "txlog/sqllog", "recovery", "xa", "internal/txid", "internal/logfs"}

func TestImportsGoOneWay(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-e", "-f", `{{.ImportPath}} {{join .Imports " "}}`, module+"...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		words := strings.Fields(line)
		pkg := strings.TrimPrefix(words[0], module)
		may, known := allowed[pkg]
		if !known {
			t.Errorf("%s is not in the list of packages", pkg)
			continue
		}
		seen[pkg] = true
		if slices.Contains([]string{"util", "common", "types", "errors"}, path.Base(pkg)) {
			t.Errorf("%s: its name says nothing", pkg)
		}
		for _, imported := range words[1:] {
			own, isOwn := strings.CutPrefix(imported, module)
			switch {
			case isOwn && !slices.Contains(may, own):
				t.Errorf("%s must not import %s", pkg, own)
			case !isOwn && strings.Contains(strings.Split(imported, "/")[0], ".") && slices.Contains(standardOnly, pkg):
				t.Errorf("%s must not import %s: it stays on the standard library", pkg, imported)
			}
		}
	}
	for pkg := range allowed {
		if !seen[pkg] {
			t.Errorf("there is no package %s", pkg)
		}
	}
}

package compat

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { engines.Main(m) }

// libraries are the directories of the libraries, database/sql itself first.
var libraries = []string{"databasesql", "sqlc", "sqlx", "gorm", "bun", "ent", "pgxpool"}

// Every library's tests pass: each is a process of its own, and all of them use servers that are started once.
func TestEveryLibrary(t *testing.T) {
	env := os.Environ()
	var used []engines.Engine
	for _, kind := range []string{engines.Postgres, engines.MySQL} {
		used = append(used, newest(kind))
	}
	engines.Start(used...)
	for _, e := range used {
		// Without a server this ends for that engine alone: the libraries' tests then miss it by themselves.
		t.Run(e.Name, func(t *testing.T) { env = append(env, e.Env()+"="+e.Server(t).URL("")) })
	}
	for _, library := range libraries {
		t.Run(library, func(t *testing.T) {
			args := []string{"test", "-count=1", "./" + library}
			if testing.Verbose() {
				args = append(args, "-v")
			}
			cmd := exec.CommandContext(t.Context(), "go", args...)
			cmd.Env = env
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Logf("%s", out)
		})
	}
}

// The applications are unchanged: nothing but their tests imports xasql.
func TestApplicationsKnowNothingOfXasql(t *testing.T) {
	for _, library := range libraries {
		own := "github.com/xasql/xasql/integration/compat/" + library + "/"
		seen := false
		err := filepath.WalkDir(library, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			seen = true
			file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
			if err != nil {
				return err
			}
			for _, spec := range file.Imports {
				imported, err := strconv.Unquote(spec.Path.Value)
				if err != nil {
					return err
				}
				if strings.Contains(imported, "xasql") && !strings.HasPrefix(imported, own) {
					t.Errorf("%s imports %s", path, imported)
				}
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
		if !seen {
			t.Errorf("%s holds no application", library)
		}
	}
}

package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// killedProgram is xa-recover on a file system that kills its process: see testdata/killed. No program that users get has such a thing in it.
const killedProgram = "xa-recover-killed"

// buildKilled builds the killedProgram beside the others.
func buildKilled(t *testing.T) {
	t.Helper()
	bin := filepath.Join(filepath.Dir(program(t, "xa-recover")), killedProgram)
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	here, err := filepath.Abs("testdata/killed/killed.go")
	if err != nil {
		t.Fatal(err)
	}
	options := filepath.Join(root, "txlog", "filelog", "options.go")
	text, err := os.ReadFile(options)
	if err != nil {
		t.Fatal(err)
	}
	const from, to = "opts.fs = osDir(dir)", "opts.fs = killedAt(osDir(dir))"
	if strings.Count(string(text), from) != 1 {
		t.Fatalf("%s does not say %q once: tell this test where a log gets its file system from", options, from)
	}
	dir := t.TempDir()
	patched, overlay := filepath.Join(dir, "options.go"), filepath.Join(dir, "overlay.json")
	list, err := json.Marshal(map[string]any{"Replace": map[string]string{options: patched, filepath.Join(root, "txlog", "filelog", "killed.go"): here}})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{patched: strings.Replace(string(text), from, to, 1), overlay: string(list)} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-C", root, "build", "-overlay", overlay, "-o", bin}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.CommandContext(t.Context(), "go", append(args, "./cmd/xa-recover")...).CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", killedProgram, err, out)
	}
}

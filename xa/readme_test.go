package xa_test

import (
	"os"
	"strings"
	"testing"
)

// TestReadmeShowsTheExample compares the README's code with the example's, which the compiler checks.
func TestReadmeShowsTheExample(t *testing.T) {
	readme := read(t, "../README.md")
	_, code, _ := strings.Cut(readme, "```go\n")
	code, _, _ = strings.Cut(code, "```")
	example := read(t, "example_test.go")
	_, body, _ := strings.Cut(example, "func Example() {\n")
	body, _, _ = strings.Cut(body, "\n}\n")
	var want strings.Builder
	for line := range strings.Lines(body + "\n") {
		want.WriteString(strings.TrimPrefix(line, "\t"))
	}
	if code != want.String() {
		t.Errorf("README.md shows\n%s\nand the example is\n%s", code, want.String())
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

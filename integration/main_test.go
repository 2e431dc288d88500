package integration

import (
	"fmt"
	"os"
	"testing"

	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "xasql-integration")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	programs.dir = dir
	code := engines.Run(m)
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

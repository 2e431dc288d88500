package integration

import (
	"fmt"
	"os"
	"testing"

	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) {
	code := engines.Run(m)
	if err := os.RemoveAll(programs.dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

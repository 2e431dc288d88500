package integration

import (
	"testing"

	_ "github.com/lib/pq"
	_ "github.com/mattn/go-sqlite3"

	"github.com/xasql/xasql/integration/engines"
)

func TestMain(m *testing.M) { engines.Main(m) }

package integration

import (
	"math/rand/v2"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// The application goes on through SIGKILLs of its servers, one after the other, and has settled everything by itself when it
// shuts down.
func TestApplicationOutlivesItsServersAndSettlesByItself(t *testing.T) {
	seed := randomSeed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	es := []engines.Engine{named(t, "postgres:17"), named(t, "mysql:9.7"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	b := newBank(t, append(es, sqlite)...)
	p := b.start(t, "-workers", "8", "-jitter", "20ms", "-seed", strconv.FormatUint(random.Uint64(), 10))
	b.awaitTold(t, ledger.Committed) // on a slow machine it would else begin when its servers have been killed
	for range 6 {
		time.Sleep(300*time.Millisecond + time.Duration(random.Int64N(int64(time.Second)))) // the moment is what is tested
		victim := b.databases[random.IntN(len(es))].server
		victim.Kill(t)
		victim.Start(t)
	}
	if err := p.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	p.want(t, 0)
	b.awaitQuiet(t)
	_, told := b.check(t)
	if count := counted(t, told); count[ledger.Committed] == 0 || count[ledger.RolledBack] == 0 {
		t.Errorf("nothing was proved: no server was killed under a transfer, or all were")
	}
}

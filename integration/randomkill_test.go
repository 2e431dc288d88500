package integration

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/integration/ledger"
)

// Transfers over four databases, by several workers, are all or nothing when the application is killed at random
// moments, and recovery too, again and again over one log. XA_CRASH_TIME sets how long that goes on, XA_SEED repeats the
// choices of an earlier run (not its timing).
func TestRandomlyKilledApplicationLeavesAllOrNothing(t *testing.T) {
	duration, err := time.ParseDuration(cmp.Or(os.Getenv("XA_CRASH_TIME"), "60s"))
	if err != nil {
		t.Fatalf("XA_CRASH_TIME: %v", err)
	}
	random := rand.New(rand.NewPCG(randomSeed(t), 0))

	es := []engines.Engine{named(t, "postgres:17"), named(t, "mysql:9.7"), named(t, "mariadb:11.8")}
	engines.Start(es...)
	b := newBank(t, append(es, sqlite)...)
	var told ledger.Told
	rounds := 0
	for end := time.Now().Add(duration); (time.Now().Before(end) || rounds < 4) && !t.Failed(); rounds++ {
		prefix := fmt.Sprintf("r%d", rounds)
		p := b.start(t, "-workers", "8", "-jitter", "20ms", "-prefix", prefix, "-seed", strconv.FormatUint(random.Uint64(), 10))
		if rounds%4 < 2 { // on a slow machine none would be killed in a transfer else
			b.awaitToldOf(t, prefix+"-")
		}
		killAfter(t, p, random, 1500*time.Millisecond)
		way := b.restartWith
		if rounds%2 == 1 {
			way = b.resolveWith
		}
		way(t, random, fmt.Sprintf("a%d", rounds))
		// What was on its way when the application was killed is over now; a recovery that came first can't know of it.
		b.awaitQuiet(t)
		way(t, nil, fmt.Sprintf("b%d", rounds))
		_, told = b.check(t)
	}

	t.Logf("%d kills", rounds)
	if count := counted(t, told); count[ledger.Committed] == 0 || count[ledger.Begun] == 0 {
		t.Errorf("nothing was proved: of %d transfers %d were acknowledged and %d interrupted", len(told), count[ledger.Committed], count[ledger.Begun])
	}
}

// randomSeed returns the seed of a test's choices, and says how to make them again.
func randomSeed(t *testing.T) uint64 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("XA_SEED"); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("XA_SEED: %v", err)
		}
	}
	t.Logf("XA_SEED=%d", seed)
	return seed
}

// counted counts the transfers by outcome, and tells.
func counted(t *testing.T, told ledger.Told) map[ledger.Outcome]int {
	t.Helper()
	count := map[ledger.Outcome]int{}
	for _, o := range told {
		count[o]++
	}
	t.Logf("transfers: %v", count)
	return count
}

// killAfter kills the program after a random time up to the limit. It may have ended by itself before, with status 0 or one of these.
func killAfter(t *testing.T, p *process, random *rand.Rand, limit time.Duration, fine ...int) {
	t.Helper()
	// The moment is what is tested: nothing is waited for.
	time.Sleep(time.Duration(random.Int64N(int64(limit))))
	if err := p.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if status := p.wait(t); status > 0 && !slices.Contains(fine, status) {
		t.Fatalf("ended with status %d before it was killed:\n%s", status, p.stderr.String())
	}
}

// restartWith recovers by the application's next start. With a source of randomness that is killed too, now and then, and
// started again.
func (b *bank) restartWith(t *testing.T, random *rand.Rand, prefix string) {
	t.Helper()
	for random != nil && random.IntN(3) == 0 {
		killAfter(t, b.start(t, "-prefix", prefix+"-k"+strconv.Itoa(random.Int()), "-count", "3"), random, 300*time.Millisecond)
	}
	b.start(t, "-prefix", prefix, "-count", "3").want(t, 0)
}

// resolveWith recovers by xa-recover. With a source of randomness that is killed too, now and then, and run again; and it is run until nothing is left
// that a session of the killed application still held.
func (b *bank) resolveWith(t *testing.T, random *rand.Rand, _ string) {
	t.Helper()
	if random == nil {
		b.startRecover(t, "resolve").want(t, 0)
		return
	}
	for random.IntN(3) == 0 {
		killAfter(t, b.startRecover(t, "resolve"), random, 150*time.Millisecond, 3)
	}
	b.resolveUntilClean(t)
}

func named(t *testing.T, name string) engines.Engine {
	t.Helper()
	i := slices.IndexFunc(engines.All(), func(e engines.Engine) bool { return e.Name == name })
	if i < 0 {
		t.Fatalf("no engine is named %q", name)
	}
	return engines.All()[i]
}

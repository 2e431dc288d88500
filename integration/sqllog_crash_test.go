package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/xasql/xasql/integration/engines"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
	"github.com/xasql/xasql/txlog/sqllog"
)

func dialectOfURL(databaseURL string) sqllog.Dialect {
	if strings.HasPrefix(databaseURL, "postgres:") {
		return sqllog.Postgres
	}
	return sqllog.MySQL
}

// Several processes decide the same IDs at once, and are killed.
func TestSQLLogSurvivesSIGKILLOfItsProcesses(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			var s *engines.Server // of the test's own process
			logtest.KillTest(t, logtest.Processes{
				New: func(logtest.TB) string {
					s = e.Server(t)
					return s.NewDatabase(t)
				},
				Open: func(databaseURL string) (txlog.Log, error) {
					if s != nil { // what killed processes had sent may take effect until then, also while the log is checked
						s.AwaitNoSessions(t, databaseURL)
					}
					db, err := engines.Open(databaseURL)
					if err != nil {
						return nil, err
					}
					return sqllog.Open(context.Background(), db, dialectOfURL(databaseURL), &sqllog.Options{Logger: quietLogger()})
				},
				AtOnce: 3,
				Rounds: 3,
			})
		})
	}
}

// verdicts are what many callers were told of the IDs that they decided at once.
type verdicts struct {
	mu   sync.Mutex // guards what follows
	told map[string]txlog.Outcome
	asks map[string]int
	noes map[string]int
	lost int // unknown
	bad  []string
}

func newVerdicts() *verdicts {
	return &verdicts{told: map[string]txlog.Outcome{}, asks: map[string]int{}, noes: map[string]int{}}
}

// decide decides at random, and notes the answer.
func (v *verdicts) decide(ctx context.Context, l txlog.Log, id string) {
	o, err := l.Decide(ctx, txlog.Decision{ID: id, Outcome: txlog.Committed + txlog.Outcome(rand.IntN(2)), Resources: []string{"a"}})
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asks[id]++
	switch {
	case errors.Is(err, txlog.ErrNotDecided):
		v.noes[id]++
	case err != nil:
		v.lost++
	case v.told[id] != txlog.Undecided && v.told[id] != o:
		v.bad = append(v.bad, fmt.Sprintf("%s was told as %s, and as %s", id, v.told[id], o))
	default:
		v.told[id] = o
	}
}

// count returns how many decisions were told.
func (v *verdicts) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.told)
}

// awaitMore returns when so many more IDs are decided.
func (v *verdicts) awaitMore(t *testing.T, more int) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	want := v.count() + more
	for limit := time.Now().Add(time.Minute); v.count() < want; <-tick.C {
		if time.Now().After(limit) {
			t.Errorf("no %d further decisions within a minute", more)
			return
		}
	}
}

// check compares the answers with what stands in the log. Whose outcome was unknown is asked by Decide.
func (v *verdicts) check(t *testing.T, l txlog.Log) {
	t.Helper()
	for _, bad := range v.bad {
		t.Error(bad)
	}
	for id, asks := range v.asks {
		o, err := l.Lookup(t.Context(), id)
		switch {
		case err != nil:
			t.Errorf("Lookup: %v", err)
		case v.told[id] != txlog.Undecided && o != v.told[id]:
			t.Errorf("%s was told as %s, and is %s", id, v.told[id], o)
		case v.noes[id] == asks && o != txlog.Undecided:
			t.Errorf("%s was refused to all who asked, and is %s", id, o)
		}
	}
	t.Logf("%d IDs decided of %d asked, %d unknown, %d with a definite no", len(v.told), len(v.asks), v.lost, len(v.noes))
	if len(v.told) < 20 {
		t.Errorf("only %d decisions were told: nothing is shown", len(v.told))
	}
}

// storm makes callers of all logs decide the same IDs until the function returns.
func (v *verdicts) storm(ctx context.Context, logs []txlog.Log, prefix string, during func()) {
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var next atomic.Int64
	for c := range 12 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					v.decide(ctx, logs[c%len(logs)], fmt.Sprintf("%s%d", prefix, next.Add(1)/3)) // about three callers an ID
				}
			}
		})
	}
	during()
	close(stop)
	wg.Wait()
}

// openLogs opens the log of the URL several times, as so many processes do.
func openLogs(t *testing.T, databaseURL string, n int) []txlog.Log {
	t.Helper()
	var logs []txlog.Log
	for range n {
		logs = append(logs, openServerLog(t, logConnector(t, databaseURL), dialectOfURL(databaseURL), sqllog.Options{}))
	}
	return logs
}

func TestSQLLogSurvivesItsServersDeath(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			databaseURL := s.NewDatabase(t)
			logs := openLogs(t, databaseURL, 2)
			v := newVerdicts()
			for round := range 2 {
				v.storm(t.Context(), logs, fmt.Sprintf("r%d-", round), func() {
					time.Sleep(200*time.Millisecond + rand.N(200*time.Millisecond)) // the moment is what is tested
					s.Kill(t)
					s.Start(t)
					v.awaitMore(t, 20) // of the server that is back
				})
			}
			v.check(t, openLogs(t, databaseURL, 1)[0])
			v.check(t, logs[0])
		})
	}
}

func TestSQLLogSurvivesTheEndOfItsSessions(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			databaseURL := s.NewDatabase(t)
			logs := openLogs(t, databaseURL, 2)
			admin := s.Open(t, s.URL(map[bool]string{true: "postgres", false: "mysql"}[e.Kind == engines.Postgres]))
			v := newVerdicts()
			stood := watchStanding()
			v.storm(t.Context(), logs, "t", func() {
				for ends := range 25 {
					time.Sleep(rand.N(100 * time.Millisecond)) // the moment is what is tested
					endSessions(t, admin, databaseURL)
					if ends%5 == 4 { // the log has ten seconds to find out: no machine is so slow that it can't, if it is let
						v.awaitMore(t, 8)
					}
				}
			})
			v.check(t, logs[0])
			if lost := stood(); v.lost > 0 && lost < 2*time.Second { // of the ten that the log has to find out
				t.Errorf("%d outcomes were unknown, though the server was there", v.lost)
			}
		})
	}
}

// endSessions ends every session in the database of that URL.
func endSessions(t *testing.T, admin *sql.DB, databaseURL string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.TrimPrefix(u.Path, "/")
	if u.Scheme == "postgres" {
		if _, err := admin.ExecContext(t.Context(), "select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", name); err != nil {
			t.Error(err)
		}
		return
	}
	rows, err := admin.QueryContext(t.Context(), "select id from information_schema.processlist where db = ?", name)
	if err != nil {
		t.Error(err)
		return
	}
	defer rows.Close()
	var ids []int64
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Error(err)
		}
		ids = append(ids, id)
	}
	for _, id := range ids {
		_, _ = admin.ExecContext(t.Context(), fmt.Sprintf("kill %d", id)) // it may have ended
	}
}

// cutter is a proxy that cuts a connection in the middle of a statement.
type cutter struct {
	listener net.Listener
	target   string
	requests atomic.Int64 // 1: the next request is not passed on, and the connection is cut; 2: the one after that; 0: none
	replies  atomic.Int64 // likewise
}

func newCutter(t *testing.T, databaseURL string) (c *cutter, throughURL string) {
	t.Helper()
	u, err := url.Parse(databaseURL)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	c = &cutter{listener: listener, target: u.Host}
	go c.serve()
	u.Host = listener.Addr().String()
	return c, u.String()
}

func (c *cutter) serve() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.target)
		if err != nil {
			client.Close()
			continue
		}
		both := func() { client.Close(); server.Close() }
		go pass(server, client, &c.requests, both)
		go pass(client, server, &c.replies, both)
	}
}

// pass copies, unless it is this packet's turn to be lost.
func pass(to io.Writer, from io.Reader, turn *atomic.Int64, cut func()) {
	defer cut()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if err != nil || turn.Load() > 0 && turn.Add(-1) == 0 {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

func TestSQLLogResolvesAConnectionThatIsCutInTheMiddle(t *testing.T) {
	for _, e := range logEngines(t) {
		t.Run(e.Name, func(t *testing.T) {
			s := e.Server(t)
			databaseURL := s.NewDatabase(t)
			direct := openLogs(t, databaseURL, 1)[0]
			c, throughURL := newCutter(t, databaseURL)
			l := openLogs(t, throughURL, 1)[0]
			for i := range 12 {
				lose, n := &c.replies, int64(1+i/2%3)
				if i%2 == 0 {
					lose = &c.requests
				}
				id := fmt.Sprint("t", i)
				lose.Store(n)
				o, err := l.Decide(t.Context(), txlog.Decision{ID: id, Outcome: txlog.Committed})
				lose.Store(0)
				if err != nil || o != txlog.Committed {
					t.Errorf("Decide, cut at packet %d, requests %v = %s, %v", n, i%2 == 0, o, err)
				}
				if o, err := direct.Lookup(t.Context(), id); err != nil || o != txlog.Committed {
					t.Errorf("Lookup = %s, %v", o, err)
				}
			}
		})
	}
}

package sqllog

import (
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/logtest"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestConforms(t *testing.T) {
	for name, journal := range map[string]string{"wal": "WAL", "rollback journal": "DELETE"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			logtest.Run(t, func(t logtest.TB) logtest.Harness {
				dsn := "file:" + t.TempDir() + "/log.db?_journal_mode=" + journal
				const lease = time.Second
				another := func(t logtest.TB) txlog.Log { return openFile(t, dsn, Options{Lease: lease, Existing: true}) }
				l := openFile(t, dsn, Options{Lease: lease})
				return logtest.Harness{
					Log:      l,
					Reopen:   another,
					Crash:    another,
					Another:  another,
					ReadOnly: func(t logtest.TB) txlog.Log { return openFile(t, dsn, Options{ReadOnly: true}) },
					Break:    func(logtest.TB) { l.faults.add(fault{text: "INSERT INTO xasql_decision", after: true, lost: true}) },
					FindsOut: true,
					Pause: func(logtest.TB) func() {
						l.pause(true)
						return func() { l.pause(false) }
					},
				}
			})
		})
	}
}

func (l *Log) pause(paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = paused
}

func loggerTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

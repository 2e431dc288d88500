package sqllog

import (
	"fmt"
	"io"
	"log/slog"
	"testing"

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
				another := func(t logtest.TB) txlog.Log { return openFile(t, dsn, Options{Lease: briefLease, Existing: true}) }
				l := openFile(t, dsn, Options{Lease: briefLease, Name: "the log"})
				return logtest.Harness{
					Log:      l,
					Reopen:   another,
					Crash:    another,
					Another:  another,
					ReadOnly: func(t logtest.TB) txlog.Log { return openFile(t, dsn, Options{ReadOnly: true}) },
					Break:    func(logtest.TB) { l.faults.add(fault{text: "INSERT INTO xasql_decision", after: true, lost: true}) },
					FindsOut: true,
					Pause:    func(t logtest.TB) func() { return suspend(t, l) },
				}
			})
		})
	}
}

// suspend ends all leases, as a standstill of the machine does. The members of the log that is named so can't renew theirs until resume is called, as no
// row is under their token; the others do.
func suspend(t logtest.TB, l *testLog) (resume func()) {
	change := func(expires string) {
		if _, err := l.db.ExecContext(t.Context(), "UPDATE xasql_member SET token = CASE name WHEN 'the log' THEN -token ELSE token END, expires = "+expires); err != nil {
			t.Errorf("suspend: %v", err)
		}
	}
	change(fmt.Sprintf("expires - %d", 2*longLease.Microseconds()))
	return func() { change("expires") }
}

func (l *Log) pause(paused bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.paused = paused
}

func loggerTo(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

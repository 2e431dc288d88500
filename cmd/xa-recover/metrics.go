package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/xasql/xasql/recovery"
)

const metricsUsage = "write the result to `FILE` for node_exporter's textfile collector"

// writeMetrics writes what a run found in the text format of Prometheus, in one step: a collector reads the old file or the new one. Of a run
// that failed before any database was asked it tells the failure only. An empty path: nobody wants it.
func (a *app) writeMetrics(path string, r *result, failure error) error {
	if path == "" {
		return nil
	}
	var b strings.Builder
	metrics(&b, r, failure, a.now())
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return unwritten(path, err)
	}
	_, err = io.WriteString(f, b.String())
	if err == nil {
		err = f.Chmod(0o644) // the collector is another user
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return unwritten(path, err)
	}
	return nil
}

// unwritten leaves out the name of the temporary file.
func unwritten(path string, err error) error {
	if p := (*os.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Errorf("--metrics %s: %w", path, err)
}

func metrics(w io.Writer, r *result, failure error, now time.Time) {
	gauge := func(name, help string, value any) {
		fmt.Fprintf(w, "# HELP xa_recover_%s %s\n# TYPE xa_recover_%s gauge\nxa_recover_%s %v\n", name, help, name, name, value)
	}
	status := statusFailure
	if r != nil && failure == nil {
		status = r.exitStatus()
	}
	gauge("status", "Exit status of the last run: 0 settled, 1 failure, 3 in doubt, 4 heuristic.", status)
	gauge("last_run_timestamp_seconds", "When the last run ended.", now.Unix())
	if r == nil {
		return
	}
	gauge("in_doubt", "Branches that wait for their outcome.", r.InDoubt)
	gauge("heuristic", "Branches and noted outcomes that need a person.", max(r.Heuristic, r.heuristicNotes()))
	gauge("foreign", "Branches of other logs and other programs.", r.Foreign)
	gauge("unsettled", "Decisions that could not be settled.", len(r.Decisions)-r.settledDecisions())
	var oldest int64
	for _, b := range r.Branches {
		if b.live && b.AgeSeconds != nil {
			oldest = max(oldest, *b.AgeSeconds)
		}
	}
	gauge("oldest_in_doubt_seconds", "Age of the oldest branch in doubt.", oldest)
	gauge("committed", "Branches that the last run committed.", r.count(recovery.Committed))
	gauge("rolled_back", "Branches that the last run rolled back.", r.count(recovery.RolledBack))
	fmt.Fprint(w, "# HELP xa_recover_resource_up Whether the database answered.\n# TYPE xa_recover_resource_up gauge\n")
	for _, res := range r.Resources {
		up := 1
		if res.Error != "" {
			up = 0
		}
		fmt.Fprintf(w, "xa_recover_resource_up{resource=%q} %d\n", res.Name, up)
	}
}

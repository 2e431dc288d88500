package main

import (
	"bufio"
	"container/heap"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/txlog"
)

// dumpEntry is one line of log dump.
type dumpEntry struct {
	ID        string    `json:"id"`
	Outcome   string    `json:"outcome"` // "committed" or "aborted"
	At        time.Time `json:"at,omitzero"`
	Settled   bool      `json:"settled"`
	SettledAt time.Time `json:"settled_at,omitzero"`
	Resources []string  `json:"resources"`          // that it names; a log may have dropped those of a settled one
	Evidence  []string  `json:"evidence,omitempty"` // of each of them: what its database can prove the outcome by
}

func (a *app) logDumpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "dump",
		Short: "List all decisions that the log keeps, settled ones too",
		Long: fmt.Sprintf(`List all decisions that the log keeps, settled ones too: as a table or, with
--output json, as one JSON object a line. It is written while the log is read,
in little memory for however many.

The oldest come first; of more than %d only roughly, as no more are held
to be put in order. The sort command puts all in the order of their beginning.

Of a damaged log all that can be read is listed; the exit status is then 1.`, dumpWindow),
		Args: noArguments,
		RunE: a.patientAction(func(ctx context.Context, _ []string) (int, error) {
			return a.logDump(ctx)
		}),
	}
}

func (a *app) logDump(ctx context.Context) (status int, err error) {
	url, err := a.logURL()
	if err != nil {
		return 0, err
	}
	log, err := a.open.readLog(ctx, url)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	historian, ok := log.(txlog.Historian)
	if !ok {
		return statusFailure, errors.New("this log can't list its settled decisions")
	}
	d := newDump(a.stdout, a.flags.output == "json")
	for e, readErr := range historian.Entries(ctx) {
		if err = readErr; err == nil {
			err = d.add(e)
		}
		if err != nil {
			break
		}
	}
	if err = errors.Join(err, d.finish()); err != nil {
		return statusFailure, err
	}
	return statusSettled, nil
}

// dumpWindow is how many decisions are held to bring them into order: about 20 MB.
const dumpWindow = 100_000

// dump writes decisions, the oldest of those that it holds first.
type dump struct {
	out     *bufio.Writer
	json    bool
	window  int // how many it holds
	held    byTime
	written int
}

func newDump(w io.Writer, json bool) *dump {
	return &dump{out: bufio.NewWriterSize(w, 64<<10), json: json, window: dumpWindow}
}

func (d *dump) add(e txlog.Entry) error {
	heap.Push(&d.held, e)
	if len(d.held) <= d.window {
		return nil
	}
	return d.write(heap.Pop(&d.held).(txlog.Entry))
}

// finish writes what is held.
func (d *dump) finish() error {
	for len(d.held) > 0 {
		if err := d.write(heap.Pop(&d.held).(txlog.Entry)); err != nil {
			return err
		}
	}
	if d.written == 0 && !d.json {
		fmt.Fprintln(d.out, "The log holds no decision.")
	}
	if err := d.out.Flush(); err != nil {
		return writeError(err)
	}
	return nil
}

func (d *dump) write(e txlog.Entry) (err error) {
	d.written++
	if d.json {
		err = json.NewEncoder(d.out).Encode(dumpEntry{
			ID: e.ID, Outcome: e.Outcome.String(), At: e.At.UTC(), Settled: !e.SettledAt.IsZero(), SettledAt: e.SettledAt.UTC(), Resources: nonNil(e.Resources), Evidence: e.Evidence})
	} else {
		if d.written == 1 {
			err = d.line("ID", "OUTCOME", "DECIDED", "SETTLED", "RESOURCES")
		}
		if err == nil {
			err = d.line(oneLine(e.ID), e.Outcome.String(), instant(e.At), instant(e.SettledAt), orDash(strings.Join(e.Resources, ", ")))
		}
	}
	if err != nil {
		return writeError(err)
	}
	return nil
}

// line writes a row: widths are those of our own IDs, since nobody knows what is still to come.
func (d *dump) line(id, outcome, decided, settled, resources string) error {
	_, err := fmt.Fprintf(d.out, "%-39s  %-9s  %-20s  %-20s  %s\n", id, outcome, decided, settled, resources)
	return err
}

// instant is a time in a column of its own.
func instant(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.RFC3339)
}

// byTime is a heap of decisions, the oldest on top.
type byTime []txlog.Entry

func (h byTime) Len() int { return len(h) }
func (h byTime) Less(i, j int) bool {
	if c := h[i].At.Compare(h[j].At); c != 0 {
		return c < 0
	}
	return h[i].ID < h[j].ID
}
func (h byTime) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *byTime) Push(x any)   { *h = append(*h, x.(txlog.Entry)) }
func (h *byTime) Pop() any {
	last := len(*h) - 1
	e := (*h)[last]
	(*h)[last] = txlog.Entry{}
	*h = (*h)[:last]
	return e
}

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
	"github.com/xasql/xasql/txlog/sqllog"
)

// infoResult is what log info tells.
type infoResult struct {
	Command   string         `json:"command"` // "log info"
	Status    string         `json:"status"`  // "well" or "damaged"; exit status 0 or 1
	LogID     string         `json:"log_id"`
	Kind      string         `json:"kind"`               // "file", "postgres", "mysql" or "sqlite"
	Place     string         `json:"place,omitempty"`    // its URL, without password and options
	Damage    string         `json:"damage,omitempty"`   // of a log in files
	CopiedAt  time.Time      `json:"copied_at,omitzero"` // when a copy that is not adopted was first opened; see log adopt
	Original  string         `json:"original,omitempty"` // what it is a copy of
	Owner     string         `json:"owner,omitempty"`    // of a log in files: the live process that owns it
	Segments  int            `json:"segments,omitempty"` // of a log in files: of what is not settled, or only lately
	Archives  int            `json:"archives,omitempty"` // of a log in files: of what is settled
	Bytes     int64          `json:"bytes,omitempty"`    // in them, without what is reserved
	Version   int            `json:"version,omitempty"`  // of the schema of a log in a database
	Unsettled int            `json:"unsettled"`          // decisions
	Settled   int            `json:"settled"`            // decisions that are still kept
	Notes     int            `json:"notes"`              // that are kept for a person until they are forgotten
	Members   []memberResult `json:"members"`            // of a log in a database: who shares it
}

// memberResult is one of those who share a log.
type memberResult struct {
	Mark    string    `json:"mark"` // part of the IDs of its transactions
	Name    string    `json:"name"`
	Alive   bool      `json:"alive"`
	Since   time.Time `json:"since,omitzero"`
	Expires time.Time `json:"expires,omitzero"` // its lease, which it renews while it lives
}

func (a *app) logInfoCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "info",
		Short: "Tell which log it is, who has it, how large it is, and whether it is well",
		Args:  noArguments,
		RunE: a.brief(func(ctx context.Context, _ []string) (int, error) {
			return a.logInfo(ctx)
		}),
	}
}

func (a *app) logInfo(ctx context.Context) (int, error) {
	url, err := a.logURL()
	if err != nil {
		return 0, err
	}
	log, err := a.open.readLog(ctx, url)
	if err != nil {
		return 0, err
	}
	defer log.Close()
	r, damage, err := inspect(ctx, log)
	if err != nil {
		return statusFailure, err
	}
	if u, err := connect.ParseLog(url); err == nil {
		r.Place = u.String()
	}
	if err := a.print(r, func(w io.Writer) { r.write(w, a.now()) }); err != nil {
		return statusFailure, err
	}
	return r.exitStatus(), damage
}

// inspect asks the log about itself.
func inspect(ctx context.Context, log txlog.Log) (r *infoResult, damage, err error) {
	r = &infoResult{Command: "log info", Status: well, LogID: log.ID(), Owner: ownerOf(log), Members: []memberResult{}}
	switch l := log.(type) {
	case interface{ Info() filelog.Info }:
		info := l.Info()
		r.Kind, r.Segments, r.Archives, r.Bytes = "file", info.Segments, info.Archives, info.Bytes
		r.Unsettled, r.Settled, r.CopiedAt, r.Original = info.Unsettled, info.Settled, info.Copied.UTC(), info.Original
		if damage = info.Damage; damage != nil {
			r.Status, r.Damage = damaged, text(damage)
		}
	case interface {
		Info(ctx context.Context) (sqllog.Info, error)
	}:
		info, err := l.Info(ctx)
		if err != nil {
			return nil, nil, err
		}
		r.Kind, r.Version = info.Dialect.String(), info.Version
		r.Unsettled, r.Settled = info.Unsettled, info.Settled
		for _, m := range info.Members {
			r.Members = append(r.Members, memberResult{m.Mark, m.Name, m.Alive, m.Since.UTC(), m.Expires.UTC()})
		}
	default:
		return nil, nil, errors.New("this log can't tell about itself")
	}
	notes, err := notesOf(ctx, log)
	if err != nil && damage == nil {
		return nil, nil, err
	}
	r.Notes = len(notes)
	return r, damage, nil
}

func (r *infoResult) exitStatus() int {
	if r.Status == damaged {
		return statusFailure
	}
	return statusSettled
}

// write writes what is known of the log, for people.
func (r *infoResult) write(w io.Writer, now time.Time) {
	t := table{}
	t.row("", "log", r.LogID)
	if r.Place != "" {
		t.row("", "kept at", r.Place)
	}
	if r.Kind == "file" {
		t.row("", "owner", cmp.Or(r.Owner, "nobody"))
		t.row("", "size", fmt.Sprintf("%s in %s and %s", bytesText(r.Bytes), plural(r.Segments, "segment", "segments"), plural(r.Archives, "archive", "archives")))
	} else {
		t.row("", "schema", fmt.Sprintf("version %d for %s", r.Version, r.Kind))
	}
	t.row("", "decisions", fmt.Sprintf("%d unsettled, %d settled and kept", r.Unsettled, r.Settled))
	if r.Notes > 0 {
		t.row("", "notes", fmt.Sprintf("%d, kept until xa-recover forget ID: xa-recover list shows them", r.Notes))
	}
	state := r.Status
	switch {
	case state == damaged:
		state = "damaged, and told as far as it can be read"
	case r.Original != "":
		state = fmt.Sprintf("a copy of %s, since %s: see xa-recover log adopt --help", orDash(r.Original), r.CopiedAt.Format(time.RFC3339))
	}
	t.row("", "state", state)
	t.write(w)
	if r.Kind == "file" {
		return
	}
	fmt.Fprintln(w)
	if len(r.Members) == 0 {
		fmt.Fprintln(w, "Nobody shares the log now.")
		return
	}
	t = table{}
	t.row("", "MEMBER", "SINCE", "LEASE", "NAME")
	for _, m := range r.Members {
		lease := "over"
		if m.Alive {
			lease = roundAge(m.Expires.Sub(now)) + " left"
		}
		t.row("", m.Mark, age(now, m.Since), lease, orDash(m.Name))
	}
	t.write(w)
}

// bytesText is a size for people.
func bytesText(n int64) string {
	switch {
	case n < 10<<10:
		return fmt.Sprintf("%d bytes", n)
	case n < 10<<20:
		return fmt.Sprintf("%d KiB", n>>10)
	case n < 10<<30:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d GiB", n>>30)
}

// well is the status of a log of which all can be read.
const well = "well"

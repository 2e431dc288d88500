package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/xasql/xasql/internal/connect"
	"github.com/xasql/xasql/txlog"
	"github.com/xasql/xasql/txlog/filelog"
)

// verifyResult is what log verify found.
type verifyResult struct {
	Command   string       `json:"command"`           // "log verify"
	Status    string       `json:"status"`            // "well" or "damaged"; exit status 0 or 1
	LogID     string       `json:"log_id,omitempty"`  // where it can be read
	Owner     string       `json:"owner,omitempty"`   // of a log in files: the live process that owns it
	Damage    string       `json:"damage,omitempty"`  // what is wrong with the whole
	Version   int          `json:"version,omitempty"` // of the schema of a log in a database
	Decisions int          `json:"decisions"`         // that were read
	Unsettled int          `json:"unsettled"`         // of them
	Notes     int          `json:"notes"`             // of a log that is well: kept for a person until they are forgotten
	Files     []fileResult `json:"files"`             // of a log in files
}

// fileResult is one file of a log.
type fileResult struct {
	Name    string `json:"name"`
	Kind    string `json:"kind"` // "segment", "base", "archive", "superseded", "unlisted" or "temporary"
	Bytes   int64  `json:"bytes"`
	Records int    `json:"records"`
	Cut     int64  `json:"cut,omitempty"` // bytes of an unfinished tail, which the next owner cuts
	Damage  string `json:"damage,omitempty"`
}

func (a *app) logVerifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "verify",
		Short: "Read the whole log, and explain what is wrong with it and the way out",
		Long: `Read the whole log, every byte of every file or every row, and tell whether it is
well. Where it is damaged: what that means, and the way out. Nothing is changed,
and a live owner is not disturbed.

Exit status: 0 well, 1 damaged or not to be read.`,
		Args: noArguments,
		RunE: a.patientAction(func(ctx context.Context, _ []string) (int, error) {
			return a.logVerify(ctx)
		}),
	}
}

func (a *app) logVerify(ctx context.Context) (int, error) {
	url, err := a.logURL()
	if err != nil {
		return 0, err
	}
	var r *verifyResult
	if u, parseErr := connect.ParseLog(url); parseErr == nil && u.Dir != "" {
		if r, err = verifyFiles(ctx, u.Dir); err == nil && r.Status == well {
			err = a.countNotes(ctx, url, r)
		}
	} else {
		r, err = a.verifyRows(ctx, url)
	}
	if err != nil {
		return statusFailure, err
	}
	if err := a.print(r, r.write); err != nil {
		return statusFailure, err
	}
	if r.Status == damaged {
		return statusFailure, fmt.Errorf("the log %s is damaged", r.LogID)
	}
	return statusSettled, nil
}

func verifyFiles(ctx context.Context, dir string) (*verifyResult, error) {
	v, err := filelog.Verify(ctx, dir)
	if err != nil {
		return nil, misplacedLog(dir, err)
	}
	r := &verifyResult{Command: "log verify", Status: well, LogID: v.ID, Owner: v.Owner, Decisions: v.Decisions, Unsettled: v.Unsettled, Files: []fileResult{}}
	for _, f := range v.Files {
		r.Files = append(r.Files, fileResult{Name: f.Name, Kind: f.Kind, Bytes: f.Bytes, Records: f.Records, Cut: f.Cut, Damage: text(f.Damage)})
	}
	if v.Damage != nil {
		r.Status, r.Damage = damaged, oneLine(strings.ReplaceAll(v.Damage.Error(), "\n", "; "))
	}
	return r, nil
}

// countNotes reads the notes of a log in files that was found well.
func (a *app) countNotes(ctx context.Context, url string, r *verifyResult) error {
	log, err := a.open.readLog(ctx, url)
	if err != nil {
		return err
	}
	defer log.Close()
	notes, err := notesOf(ctx, log)
	r.Notes = len(notes)
	return err
}

// verifyRows reads a log that is kept in a database, whose own checksums guard the bytes.
func (a *app) verifyRows(ctx context.Context, url string) (*verifyResult, error) {
	log, err := a.open.readLog(ctx, url)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	info, _, err := inspect(ctx, log)
	if err != nil {
		return nil, err
	}
	historian, ok := log.(txlog.Historian)
	if !ok {
		return nil, errors.New("this log can't list its settled decisions")
	}
	r := &verifyResult{Command: "log verify", Status: well, LogID: info.LogID, Version: info.Version, Notes: info.Notes, Files: []fileResult{}}
	for e, err := range historian.Entries(ctx) {
		switch {
		case errors.Is(err, txlog.ErrCorrupt):
			r.damage(text(err))
		case err != nil:
			return nil, err
		case e.ID == "" || e.Outcome != txlog.Committed && e.Outcome != txlog.Aborted:
			r.damage(fmt.Sprintf("the decision of %q is %s", e.ID, e.Outcome))
		default:
			r.Decisions++
			if e.SettledAt.IsZero() {
				r.Unsettled++
			}
		}
	}
	return r, nil
}

// damage notes what was found first.
func (r *verifyResult) damage(what string) {
	r.Status, r.Damage = damaged, cmp.Or(r.Damage, what)
}

// write writes what was found, for people.
func (r *verifyResult) write(w io.Writer) {
	t := table{}
	t.row("", "FILE", "KIND", "BYTES", "RECORDS")
	for _, f := range r.Files {
		t.row(f.note(), f.Name, f.Kind, countOrDash(f.Bytes), countOrDash(f.Records))
	}
	if t.write(w); len(r.Files) > 0 {
		fmt.Fprintln(w)
	}
	read := fmt.Sprintf("%s, %d of them unsettled", plural(r.Decisions, "decision", "decisions"), r.Unsettled)
	if r.Notes > 0 {
		read += ", and " + plural(r.Notes, "note", "notes")
	}
	if r.Status == well {
		fmt.Fprintf(w, "The log %s is well: %s.\n", r.LogID, read)
		return
	}
	fmt.Fprintf(w, "The log is damaged. What can be read of it is true: %s.\n", read)
	if len(r.Files) == 0 {
		fmt.Fprintf(w, rowDamage, r.Damage)
		return
	}
	if slices.ContainsFunc(r.Files, func(f fileResult) bool { return f.Damage != "" && f.Kind != "archive" }) {
		fmt.Fprint(w, segmentDamage)
	} else {
		fmt.Fprint(w, archiveDamage)
	}
	if r.Owner != "" {
		fmt.Fprintf(w, ownedDamage, r.Owner)
	}
	fmt.Fprint(w, fileWayOut)
}

func countOrDash[N int | int64](n N) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// note explains what is not plain about the file.
func (f fileResult) note() string {
	switch {
	case f.Damage != "":
		return f.Damage
	case f.Cut > 0:
		return fmt.Sprintf("%d bytes at its end were never finished, and nobody was told of them: the next owner cuts them", f.Cut)
	case f.Kind == "superseded", f.Kind == "unlisted", f.Kind == "temporary":
		return "the log does not depend on it, and its next owner removes it"
	}
	return ""
}

const damageCause = `
What it means. Bytes that were on the disk have changed, or a file is gone. No
crash does that; a bad disk does, a repaired file system, files that were copied
or restored one by one, or somebody's hand.`

const segmentDamage = damageCause + ` What can't be read may have held
decisions, some of them to commit, and some that somebody was told of.

Until the log is whole nothing is settled by it: the application can't open it,
and xa-recover resolve refuses. Branches in doubt stay, and keep their rows
locked; waiting makes nothing worse.
`

const archiveDamage = damageCause + ` What can't be read is settled:
every branch had confirmed. It matters where a database has come back older than
it was, from a backup or at a failover, and holds such a branch again.

Where only some blocks of an archive are bad, the log works on, and leaves in
doubt what may be in them. Otherwise the application can't open it, and
xa-recover resolve refuses, until it is whole; waiting makes nothing worse.
`

const ownedDamage = `
It is in the hands of a live process (%s),
which has every decision in memory. Let it run, and end it only by a shutdown
that waits until nothing is in doubt: that may be all that is needed.
`

const fileWayOut = `
The way out.
1. Copy the directory aside, and keep all of it: a damaged file, too, holds
   decisions that no other file has.
2. Is there a whole copy of the damaged or missing file, in a snapshot, on a
   mirror, in a backup? Put it back under its name, and run log verify again. It
   must be of this very log, and have been copied after the file behind it was
   begun: from then on a file does not change. An older one lacks decisions, and
   so does any copy of the last one. An archive (.settled) never changes.
   A file that is said to be a copy, or of another log, got here by mistake: move
   it out of the directory, and run log verify again.
3. Otherwise the branches in doubt must be finished by hand. xa-recover list
   shows them: where it tells a decision, do as it says. Where that is unknown,
   look into the other databases of the transaction, and into the application's
   own records: what was committed in one of them, or reported as done to
   anybody, must be committed in all; what was not, rolled back in all.
4. When no database holds a branch of this log any more, let the application
   begin a new log, in a new directory, and keep the old one for reference.
`

const rowDamage = `
Found first: %s.

What it means. Somebody else than this program has changed the log's tables. A
decision that can't be read may have been to commit: nothing is settled by it.

The way out. Restore those rows, in their latest state, from the database's own
backup and journals: an older state lacks decisions.
`

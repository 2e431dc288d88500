package filelog

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/xasql/xasql/txlog"
)

// Verification is what reading every byte of a log showed.
type Verification struct {
	ID        string       // the log's
	Owner     string       // who owns it now, as [Log.Owner] tells
	Files     []FileReport // of the log, by name
	Decisions int          // that can be read
	Unsettled int          // of these
	Damage    error        // ErrCorrupt, with path and offset; several are joined. nil: the log is well
}

// FileReport is what reading one file showed.
type FileReport struct {
	Name string
	// Kind is "base" (what stood when the log was last compacted), "segment" (what came since) or "archive" (settled decisions). The log
	// does not depend on the others, and its next owner removes them: "superseded" (segments), "unlisted" (archives), "temporary".
	Kind    string
	Bytes   int64 // valid ones
	Records int   // that can be read
	Cut     int64 // bytes of an unfinished tail, which the next owner cuts
	Damage  error // ErrCorrupt, with path and offset: the first of this file. nil: it is well
}

// Verify reads every byte of the log in dir, and changes nothing. It works beside a live owner too: where the files change meanwhile, it
// begins again. Damage is in the result, and what can be read behind it is read. An error means that there is no log in dir (it is then
// fs.ErrNotExist), or that it can't be read.
func Verify(ctx context.Context, dir string) (Verification, error) {
	v, err := verify(ctx, dir, osDir(dir))
	if err != nil {
		return Verification{}, describe(dir, fmt.Errorf("verify: %w", err))
	}
	v.Owner = osDir(dir).owner()
	return v, nil
}

// verify reads until a reading shows a whole log, or two agree on what is not: what the owner writes, renames and removes meanwhile
// can look like damage, and like an unfinished tail.
func verify(ctx context.Context, dir string, fsys fileSystem) (Verification, error) {
	before := ""
	for attempt := 0; ; attempt++ {
		v, err := verifyOnce(ctx, dir, fsys)
		if ctx.Err() != nil {
			return v, ctx.Err()
		}
		now := v.trouble(err)
		if now == "" || now == before || attempt == 100 {
			return v, err
		}
		before = now
	}
}

// trouble tells what is not as it should be, "" where everything is.
func (v Verification) trouble(err error) string {
	var b strings.Builder
	if err != nil || v.Damage != nil {
		fmt.Fprintln(&b, err, v.Damage)
	}
	for _, f := range v.Files {
		if f.Cut > 0 {
			fmt.Fprintln(&b, f.Name, f.Bytes, f.Cut)
		}
	}
	return b.String()
}

func verifyOnce(ctx context.Context, dir string, fsys fileSystem) (v Verification, err error) {
	x := newIndex()
	c, err := load(fsys, dir, x)
	if errors.Is(err, txlog.ErrCorrupt) { // not even the log's identity can be read
		v.addDamages([]error{err})
		return v, nil
	}
	if err != nil {
		return v, err
	}
	v = Verification{ID: c.id, Decisions: len(x.decisions), Unsettled: x.open}
	for _, s := range c.segments {
		r := FileReport{Name: segmentName(s.seq), Kind: "segment", Bytes: s.end, Records: s.records}
		if s.base {
			r.Kind = "base"
		}
		if s.garbage != nil {
			r.Cut = s.size - s.end
		}
		v.Files = append(v.Files, r)
	}
	for _, a := range c.archives {
		r, damages, err := verifyArchive(ctx, fsys, dir, c.id, a)
		if err != nil {
			return v, err
		}
		v.Files = append(v.Files, r)
		v.Decisions += r.Records
		for _, d := range damages {
			if !slices.ContainsFunc(c.damages, func(known error) bool { return known.Error() == d.Error() }) {
				c.damages = append(c.damages, d)
			}
		}
	}
	if err := v.addOthers(fsys, c); err != nil {
		return v, err
	}
	v.addDamages(c.damages)
	slices.SortFunc(v.Files, func(a, b FileReport) int { return strings.Compare(a.Name, b.Name) })
	return v, nil
}

// verifyArchive reads the archive to its end, whatever it meets.
func verifyArchive(ctx context.Context, fsys fileSystem, dir, id string, a *archive) (report FileReport, damages []error, err error) {
	report = FileReport{Name: a.name(), Kind: "archive"}
	r, err := openArchive(fsys, dir, id, a)
	if errors.Is(err, txlog.ErrCorrupt) {
		return report, []error{err}, nil
	} else if err != nil {
		return report, nil, err
	}
	defer r.file.Close()
	rest := make([]byte, a.blockSize-archiveHeaderSize)
	if _, err := r.file.ReadAt(rest, archiveHeaderSize); err != nil && !errors.Is(err, io.EOF) {
		return report, nil, err
	}
	if !zero(rest) {
		damages = append(damages, r.damage(archiveHeaderSize, errors.New("what follows the header is not zeros")))
	}
	report.Bytes = a.blockSize
	for c := r.cursor(); ctx.Err() == nil; {
		_, err := c.next()
		switch {
		case err == nil:
			report.Records++
			continue
		case errors.Is(err, txlog.ErrCorrupt):
			if !c.over {
				damages = append(damages, err)
				continue
			}
			if len(damages) == 0 { // else the sums can't be right
				damages = append(damages, err)
			}
		case err != io.EOF:
			return report, damages, err
		}
		report.Bytes += c.valid
		break
	}
	return report, damages, nil
}

// addOthers adds the files that the log does not depend on.
func (v *Verification) addOthers(fsys fileSystem, c *chain) error {
	names, err := fsys.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		kind := ""
		switch {
		case slices.ContainsFunc(v.Files, func(f FileReport) bool { return f.Name == name }):
		case slices.Contains(c.superseded, name):
			kind = "superseded"
		case archiveNumber(name) != 0:
			kind = "unlisted"
		case isTemporary(name):
			kind = "temporary"
		}
		if kind != "" {
			v.Files = append(v.Files, FileReport{Name: name, Kind: kind})
		}
	}
	return nil
}

// addDamages gives each damage to its file, and to the whole.
func (v *Verification) addDamages(damages []error) {
	v.Damage = errors.Join(damages...)
	for _, err := range damages {
		var d *damage
		if !errors.As(err, &d) {
			continue
		}
		name := filepath.Base(d.path)
		i := slices.IndexFunc(v.Files, func(f FileReport) bool { return f.Name == name })
		if i < 0 {
			r := FileReport{Name: name, Kind: "segment"}
			if archiveNumber(name) != 0 {
				r.Kind = "archive"
			}
			i, v.Files = len(v.Files), append(v.Files, r)
		}
		if v.Files[i].Damage == nil {
			v.Files[i].Damage = err
		}
	}
}

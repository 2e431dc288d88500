package filelog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/xasql/xasql/txlog"
)

// place tells a directory from its copies. A directory that is moved within its file system stays the same; one that was copied, unpacked or
// restored is another. Device number and path are no part of it: they change with a reboot, or where it is mounted.
type place struct {
	inode uint64
	born  time.Time // zero where the file system does not tell
	name  string    // host and path, for messages
}

// is reports whether both are the same directory.
func (p place) is(other place) bool {
	return p.inode == other.inode && (p.born.Equal(other.born) || p.born.IsZero() || other.born.IsZero())
}

// place returns where the directory is; an inode of 0 means that the system does not tell.
func (d osDir) place() (place, error) {
	path, err := filepath.Abs(string(d))
	if err != nil {
		return place{}, err
	}
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	inode, born, err := identify(path)
	return place{inode, born, host + ":" + path}, err
}

// residence is what the log notes of its place.
type residence struct {
	place
	noted time.Time
	// Of a copy that nobody has adopted: when it was first opened, and where the original was. Zero otherwise.
	copied   time.Time
	original string
}

// movedTo returns the residence once the log is found in a place, and whether that is to be noted.
func (r *residence) movedTo(here place, now time.Time) (found *residence, changed bool) {
	found = &residence{place: here, noted: now}
	switch {
	case r == nil:
		return found, true
	case r.is(here):
		found.copied, found.original = r.copied, r.original
		if here.born.IsZero() {
			found.born = r.born
		}
		return found, !found.born.Equal(r.born) || found.name != r.name
	}
	found.copied, found.original = now, r.name
	return found, true
}

func (r *residence) record() record {
	rec := record{kind: kindPlace, id: strconv.FormatUint(r.inode, 10), resources: []string{formatTime(r.born), r.name}, at: r.noted}
	if !r.copied.IsZero() {
		rec.resources = append(rec.resources, formatTime(r.copied), r.original)
	}
	return rec
}

func parseResidence(rec *record) (*residence, error) {
	r := &residence{noted: rec.at}
	if n := len(rec.resources); n != 2 && n != 4 {
		return nil, errMalformed
	}
	r.name = rec.resources[1]
	var errs [3]error
	r.inode, errs[0] = strconv.ParseUint(rec.id, 10, 64)
	r.born, errs[1] = parseTime(rec.resources[0])
	if len(rec.resources) == 4 {
		r.original = rec.resources[3]
		r.copied, errs[2] = parseTime(rec.resources[2])
	}
	if errors.Join(errs[:]...) != nil {
		return nil, errMalformed
	}
	return r, nil
}

func formatTime(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func parseTime(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.RFC3339Nano, s)
}

// find compares the place that the log notes with the one where it is. changed tells that the index now holds what the log does not.
func (x *index) find(fsys fileSystem, now time.Time) (changed bool, err error) {
	d, ok := fsys.(interface{ place() (place, error) })
	if !ok {
		return false, nil
	}
	here, err := d.place()
	if err != nil || here.inode == 0 {
		return false, err
	}
	x.residence, changed = x.residence.movedTo(here, now)
	return changed, nil
}

// settleIn notes the log's place durably, if it changed. Nothing else uses the log yet.
func (l *Log) settleIn() error {
	changed, err := l.index.find(l.fs, l.opts.now().UTC())
	if err != nil || l.index.residence == nil {
		return err
	}
	r := l.index.residence
	if !r.copied.IsZero() {
		l.opts.Logger.Warn("this decision log is a copy: what was decided in the original since is missing, so what it has no decision on is left in doubt, and xa.Open refuses it; "+
			"stop whatever still uses the original, which must not be used beside its copy; once it is gone for good, adopt this one (xa-recover log adopt)",
			"dir", l.dir, "original", r.original, "copied", formatTime(r.copied))
	}
	if !changed {
		return nil
	}
	if _, err := l.active.append(l.active.seed.appendBatch(nil, l.active.end, []record{r.record()}), l.opts.extent); err != nil {
		return err
	}
	return l.active.mark()
}

// Witnessed returns nil unless this is a copy of a log that nobody has adopted: then a decision may stand in the original only, which may even be
// in use still.
func (l *Log) Witnessed() error {
	l.mu.Lock()
	r := l.index.residence
	l.mu.Unlock()
	if r == nil || r.copied.IsZero() {
		return nil
	}
	return fmt.Errorf("filelog: %s: a copy of the log at %s, first opened at %s, which may have missed decisions: look them up there; "+
		"once that log is gone for good and nothing uses it, adopt this one (xa-recover log adopt)", l.dir, r.original, formatTime(r.copied))
}

// Adopt says that a copied log is the only one now: what it does not hold was never decided. [Log.Witnessed] is nil from then on, durably, until the log is
// copied again. It is for a person who knows that nothing uses the original any more, and that no decision there is missing here. Adopt of a log that is no
// copy is nil.
func (l *Log) Adopt(ctx context.Context) error {
	if err := l.adopt(ctx); err != nil {
		return fmt.Errorf("filelog: %s: adopt: %w", l.dir, err)
	}
	return nil
}

func (l *Log) adopt(ctx context.Context) error {
	var adopted residence
	l.mu.Lock()
	if r := l.index.residence; r != nil { // its place stays the same while the log is open
		adopted = residence{place: r.place, noted: l.opts.now().UTC()}
	}
	l.mu.Unlock()
	return l.add(ctx, adopted.record(), func(x *index) bool { return x.residence == nil || x.residence.copied.IsZero() })
}

var _ txlog.Witness = (*Log)(nil)

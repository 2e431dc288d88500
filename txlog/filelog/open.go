package filelog

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// Open opens the log in dir, and makes both where they don't exist. The caller owns the log until it
// calls Close or ends, however it ends. opts may be nil.
//
// What a crash left behind at the end of the log, never acknowledged, is cut, and the logger told. Errors: ErrOwned
// when another process, or this one, has the log open; ErrCorrupt when it is damaged
// in a way that no crash explains, so that a decision may be missing: [OpenReadOnly] still shows what can be
// read. A directory that holds other things than a log is refused, and left as it is.
func Open(dir string, opts *Options) (*Log, error) {
	o, err := opts.withDefaults(dir)
	if err == nil {
		var l *Log
		if l, err = open(dir, o); err == nil {
			l.compactIfDue(2 * o.SegmentSize) // what its last owner had no time for
			return l, nil
		}
	}
	return nil, describe(dir, err)
}

// OpenReadOnly opens the log in dir to be read, as it is at this moment: what its owner does later is not seen, unless it has replaced an
// archive that is asked for: then the log is read anew. It takes
// no lock, changes nothing, and works while an owner lives, after it died, and on a read-only file system.
//
// A damaged log is opened too. Its Lookup then returns ErrCorrupt rather than Undecided, and its Unsettled
// ends with ErrCorrupt; [Log.Info] tells the damage. An error that is fs.ErrNotExist means that there is no log in dir.
func OpenReadOnly(dir string) (*Log, error) {
	l, err := openReadOnly(dir, osDir(dir))
	if err != nil {
		return nil, describe(dir, err)
	}
	return l, nil
}

// describe adds the directory, and what to do, to an error of opening.
func describe(dir string, err error) error {
	var d *damage
	switch {
	case errors.As(err, &d):
		return err // names the file
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("filelog: %s: %w: give this process's user the right to read and write there", dir, err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("filelog: %s: %w: free some space on its file system, then open the log again", dir, err)
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("filelog: %s: %w: put the log on a file system that is mounted for writing", dir, err)
	}
	return fmt.Errorf("filelog: %s: %w", dir, err)
}

func open(dir string, opts Options) (*Log, error) {
	fsys := opts.fs
	if err := prepare(fsys, opts.Existing); err != nil {
		return nil, err
	}
	lock, err := fsys.Lock()
	if err != nil {
		return nil, err
	}
	l := newLog(dir, opts)
	l.lock = lock
	err = l.start()
	if err == nil {
		err = l.settleIn()
	}
	if err != nil {
		if l.active != nil {
			l.active.file.Close()
		}
		lock.Close()
		return nil, err
	}
	l.written = l.active.end
	return l, nil
}

// prepare makes the directory, or with existing finds the log in it.
func prepare(fsys fileSystem, existing bool) error {
	if !existing {
		if err := fsys.Make(); err != nil {
			return err
		}
	}
	names, err := fsys.List()
	if missing := errors.Is(err, fs.ErrNotExist) || err == nil && !slices.ContainsFunc(names, isSegment); missing && existing {
		return fmt.Errorf("no log here: %w: look for a wrong path, or make a new log by opening it once without Existing", fs.ErrNotExist)
	}
	if err != nil {
		return err
	}
	return refuseForeign(names)
}

// refuseForeign refuses to make a log among other files.
func refuseForeign(names []string) error {
	stranger := ""
	for _, name := range names {
		switch {
		case segmentSeq(name) != 0:
			return nil
		case name == lockName, name == "lost+found", isTemporary(name):
		default:
			stranger = name
		}
	}
	if stranger != "" {
		return fmt.Errorf("not a log, and not empty (it holds %q): a log needs a directory of its own", stranger)
	}
	return nil
}

func isSegment(name string) bool { return segmentSeq(name) != 0 }

// start reads the log that is there, or makes one, and gets it ready to be written to.
func (l *Log) start() error {
	names, err := l.fs.List()
	if err != nil {
		return err
	}
	for _, name := range names {
		if isTemporary(name) { // never got its name: nothing depends on it
			if err := l.fs.Remove(name); err != nil {
				return err
			}
		}
	}
	if !slices.ContainsFunc(names, isSegment) {
		return l.create()
	}
	c, err := load(l.fs, l.dir, l.index)
	if err != nil {
		return err
	}
	if len(c.damages) > 0 {
		return c.damages[0]
	}
	l.id = c.id
	l.archives = newArchiveSet(c.archives)
	if err := l.resume(c); err != nil {
		return err
	}
	// Names first: what supersedes the old segments must be there for ever before they go.
	if err := l.fs.SyncDir(); err != nil {
		return err
	}
	for _, name := range append(c.superseded, c.unlisted...) {
		if err := l.fs.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// create makes the log's first segment, and with it the log's identity. It exists once its name is durable.
func (l *Log) create() error {
	l.id = strings.ToLower(rand.Text()[:idSize])
	active, err := l.createSegment(1, true)
	if err != nil {
		return err
	}
	l.active = active
	return nil
}

// resume gets the last segment ready to be appended to.
func (l *Log) resume(c *chain) error {
	last := c.segments[len(c.segments)-1]
	f, err := l.fs.Open(segmentName(last.seq), true)
	if err != nil {
		return err
	}
	size, err := f.Size()
	if err != nil {
		f.Close()
		return err
	}
	l.active = &segment{file: f, seq: last.seq, seed: newSeeder(l.id, last.seq), end: last.end, zeroed: size}
	for _, s := range c.segments[:len(c.segments)-1] {
		l.sealed = append(l.sealed, sealedSegment{s.seq, s.end})
	}
	if first := c.segments[0]; first.base && first.seq > 1 && len(c.segments) > 1 {
		l.compacted = first.end
	}
	if last.garbage != nil {
		l.opts.Logger.Warn("unfinished tail of the decision log cut",
			"path", last.path, "offset", last.end, "bytes", size-last.end, "reason", last.garbage.Error())
		// Durable before anything is appended: else the old bytes could come back behind the new ones.
		if err := f.Truncate(last.end); err != nil {
			return err
		}
		l.active.zeroed = last.end
		if err := f.Sync(); err != nil {
			return err
		}
	}
	if last.marked {
		return nil
	}
	if last.last == 0 && len(c.segments) > 1 {
		return l.reaffirm(c.segments[len(c.segments)-2])
	}
	return l.reaffirm(last)
}

// reaffirm writes the segment's last batch once more, and syncs it. A batch can be readable and yet not on the disk: its
// owner was killed before the sync, or the sync failed, after which the system believes that it need not
// write those pages again. All before the last batch was synced before it was written.
func (l *Log) reaffirm(s *chainSegment) error {
	f, err := l.fs.Open(segmentName(s.seq), true)
	if err != nil {
		return err
	}
	defer f.Close()
	if s.last != 0 {
		b := make([]byte, s.end-s.last)
		if _, err := f.ReadAt(b, s.last); err != nil {
			return err
		}
		if _, err := f.WriteAt(b, s.last); err != nil {
			return err
		}
	}
	return f.Sync()
}

// chain is the log as it was found in its directory.
type chain struct {
	id         string
	segments   []*chainSegment // from the one that holds all before it, without a gap
	superseded []string        // files that are no part of the log any more
	archives   []*archive      // in force, by number
	unlisted   []string        // archives that are not, or not yet
	damages    []error
}

type chainSegment struct {
	segmentHeader
	path string
	file file
	size int64
	scan
}

// load reads the log into the index. An error means that it could not be read at all; damage is left to the caller.
func load(fsys fileSystem, dir string, x *index) (*chain, error) {
	c := &chain{}
	defer func() {
		for _, s := range c.segments {
			s.file.Close()
		}
	}()
	if err := c.open(fsys, dir); err != nil {
		return nil, err
	}
	str := interner()
	for _, s := range c.segments {
		size, err := s.file.Size()
		if err != nil {
			return nil, err
		}
		s.size = size
		reader := scanner{file: s.file, path: s.path, seed: newSeeder(s.id, s.seq), size: size, str: str,
			visit: func(r *record) error {
				if r.kind == kindArchive {
					return c.list(r, s.base)
				}
				return x.apply(r, s.seq)
			}}
		if s.scan, err = reader.scan(); err != nil {
			return nil, err
		}
	}
	c.judge(dir)
	return c, c.checkArchives(fsys, dir)
}

// list notes an archive that the base lists.
func (c *chain) list(r *record, base bool) error {
	a, err := listedArchive(*r)
	if n := len(c.archives); err == nil && (!base || n > 0 && c.archives[n-1].number >= a.number) {
		err = errors.New("an archive is listed where none is expected")
	}
	if err == nil {
		c.archives = append(c.archives, a)
	}
	return err
}

// checkArchives reads the headers of the archives that the base lists.
func (c *chain) checkArchives(fsys fileSystem, dir string) error {
	c.unlisted = slices.DeleteFunc(c.unlisted, func(name string) bool {
		return slices.ContainsFunc(c.archives, func(a *archive) bool { return a.name() == name })
	})
	for _, a := range c.archives {
		cause, err := a.check(fsys, c.id)
		if errors.Is(cause, errVersion) {
			err = fmt.Errorf("%s: %w", a.name(), cause)
		}
		if err != nil {
			return err
		}
		if cause != nil {
			c.damages = append(c.damages, &damage{filepath.Join(dir, a.name()), 0, cause})
		}
	}
	return nil
}

// open opens every segment before any is read: a compaction that runs meanwhile can't take away what is open.
func (c *chain) open(fsys fileSystem, dir string) error {
	names, err := fsys.List()
	if err != nil {
		return err
	}
	slices.SortFunc(names, func(a, b string) int {
		if d := len(a) - len(b); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		if archiveNumber(name) != 0 {
			c.unlisted = append(c.unlisted, name) // until the base is read
		}
		if seq := segmentSeq(name); seq != 0 {
			if err := c.add(fsys, filepath.Join(dir, name), name, seq); err != nil {
				return err
			}
		}
	}
	switch {
	case len(c.segments) == 0 && len(c.damages) == 0:
		return fmt.Errorf("not a log: it holds no segment (%s): %w", segmentName(1), fs.ErrNotExist)
	case c.id == "":
		return c.damages[0]
	}
	base := 0
	for i, s := range c.segments {
		s.id = c.id // where the header is damaged, the rest may be well
		if s.base {
			base = i
		}
	}
	for _, s := range c.segments[:base] {
		s.file.Close()
		c.superseded = append(c.superseded, filepath.Base(s.path))
	}
	c.segments = c.segments[base:]
	return nil
}

// add opens one segment. Damage of its header is noted; an error means that the log can't be read.
func (c *chain) add(fsys fileSystem, path, name string, seq uint64) error {
	f, err := fsys.Open(name, false)
	if err != nil {
		return err
	}
	b := make([]byte, headerSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return err
	}
	h, err := decodeHeader(b[:n])
	bad := func(cause error) { c.damages = append(c.damages, &damage{path, 0, cause}) }
	switch {
	case errors.Is(err, errVersion):
		f.Close()
		return fmt.Errorf("%s: %w", name, err)
	case err != nil:
		bad(err)
		h = segmentHeader{seq: seq}
	case h.seq != seq:
		bad(fmt.Errorf("it is a copy of segment %d, under another name", h.seq))
		return f.Close()
	case c.id != "" && c.id != h.id:
		bad(fmt.Errorf("it belongs to the log %s, the segments before it to the log %s", h.id, c.id))
		return f.Close()
	default:
		c.id = h.id
	}
	c.segments = append(c.segments, &chainSegment{segmentHeader: h, path: path, file: f})
	return nil
}

// pristine reports whether nothing was ever written behind the segment's header.
func (s *chainSegment) pristine() bool { return s.last == 0 && !s.marked && s.garbage == nil }

// judge looks for what no crash explains.
func (c *chain) judge(dir string) {
	if last := len(c.segments) - 1; last > 0 && c.segments[last].pristine() && !c.segments[last-1].sealed &&
		c.segments[last-1].seq == c.segments[last].seq-1 {
		// The crash came between making the new segment and sealing the one before: go on in that one.
		c.segments[last].file.Close()
		c.superseded = append(c.superseded, filepath.Base(c.segments[last].path))
		c.segments = c.segments[:last]
	}
	if first := c.segments[0]; !first.base {
		c.damages = append(c.damages, &damage{filepath.Join(dir, segmentName(first.seq-1)), 0, errMissing})
	}
	for i, s := range c.segments {
		for _, d := range s.damages {
			c.damages = append(c.damages, d)
		}
		last := i == len(c.segments)-1
		switch {
		case s.sealed && (last || c.segments[i+1].seq != s.seq+1), !last && c.segments[i+1].seq != s.seq+1:
			c.damages = append(c.damages, &damage{filepath.Join(dir, segmentName(s.seq+1)), 0, errMissing})
		case !last && !s.sealed:
			cause := s.garbage
			if cause == nil {
				cause = errors.New("it ends without a seal, although a later segment exists")
			}
			c.damages = append(c.damages, &damage{s.path, s.end, cause})
		}
	}
}

var errMissing = errors.New("the segment is missing")

// openReadOnly reads until two readings agree, where the first shows damage: to read while the owner writes and compacts can
// show what looks like damage (an old beginning with a new end), or miss a file.
func openReadOnly(dir string, fsys fileSystem) (*Log, error) {
	var before, now string
	for attempt := 0; ; attempt++ {
		l := newLog(dir, Options{fs: fsys, now: time.Now})
		c, err := load(fsys, dir, l.index)
		before, now = now, ""
		switch {
		case err != nil:
			now = err.Error()
		case len(c.damages) > 0:
			now = c.damages[0].Error()
		}
		if now != before && attempt < 100 && now != "" {
			continue
		}
		if err != nil {
			return nil, err
		}
		l.id, l.readOnly, l.archives = c.id, true, newArchiveSet(c.archives)
		for _, s := range c.segments {
			l.sealed = append(l.sealed, sealedSegment{s.seq, s.end})
		}
		if len(c.damages) > 0 {
			l.damage = c.damages[0]
		}
		_, err = l.index.find(fsys, l.opts.now().UTC())
		return l, err
	}
}

// reload reads a log that was opened to be read anew, after an archive of the set was missing: its owner may have replaced it meanwhile.
func (l *Log) reload(set *archiveSet, missing error) error {
	now, err := openReadOnly(l.dir, l.fs)
	if err != nil {
		return err
	}
	if now.id != l.id {
		return fmt.Errorf("the log is now another, %s: %w", now.id, missing)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.archives == set {
		l.index, l.archives, l.sealed, l.damage = now.index, now.archives, now.sealed, now.damage
	}
	return missing
}

// sealedSegment is a segment that nothing is appended to any more.
type sealedSegment struct {
	seq uint64
	end int64
}

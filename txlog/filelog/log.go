package filelog

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/xasql/xasql/txlog"
)

// Log is a decision log in a directory of its own. It implements [txlog.Log], [txlog.Registrar], [txlog.Historian],
// [txlog.Compactor] and [txlog.Notes]. All methods are safe for concurrent use.
type Log struct {
	dir      string
	opts     Options
	fs       fileSystem
	id       string
	readOnly bool
	damage   error // of a log that was opened to be read
	lock     io.Closer

	calls  sync.WaitGroup // Decide, Register, Note, Forget and Compact that are under way
	beside sync.WaitGroup // the compaction that runs beside the log

	mu        sync.Mutex // guards what follows
	closed    bool
	latched   error // the failure after which nothing is written any more (rule P5)
	index     *index
	archives  *archiveSet
	pending   map[string]*batch // decisions that are being written
	unknown   map[string]bool   // decisions of which nobody knows whether they were written
	settles   []record          // go to disk with the next batch
	next      *batch            // is being gathered
	spare     *batch            // to be used again, or nil
	writing   bool              // a batch is being written; next comes after it
	sealed    []sealedSegment
	compacted int64 // size of what the last compaction left
	written   int64 // of the active segment

	compacting sync.Mutex   // held by the one compaction that runs
	moving     sync.RWMutex // held while decisions are both in memory and in an archive; taken before mu by who lists or counts both

	// active and buf belong to whoever leads the batch that is being written.
	active *segment
	buf    []byte
}

var (
	_ txlog.Log       = (*Log)(nil)
	_ txlog.Registrar = (*Log)(nil)
	_ txlog.Historian = (*Log)(nil)
	_ txlog.Compactor = (*Log)(nil)
	_ txlog.Notes     = (*Log)(nil)
)

func newLog(dir string, opts Options) *Log {
	return &Log{
		dir:      dir,
		opts:     opts,
		fs:       opts.fs,
		index:    newIndex(),
		archives: newArchiveSet(nil),
		pending:  map[string]*batch{},
		unknown:  map[string]bool{},
		next:     newBatch(),
	}
}

// ID returns the log's identity: 12 random lower-case letters and digits, made when the log was created.
func (l *Log) ID() string { return l.id }

// Decide records d, unless a decision of d.ID stands already, and returns the outcome that stands. It is durable when
// Decide returns nil. Evidence that does not fit into the record, which holds 64 KiB in all, is left out.
//
// An error that is ErrNotDecided means that this call recorded nothing, and never will. Any other error means that the
// outcome is unknown until the log is opened again: the write or the sync failed. From then on the log is latched, and every
// Decide is ErrNotDecided, except of an ID that is decided already, or whose own outcome is unknown.
//
// ctx is looked at once, before anything is written; afterwards Decide waits for the disk. Of several concurrent calls of
// one ID the first wins.
func (l *Log) Decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	o, err := l.decide(ctx, d)
	if err != nil {
		return txlog.Undecided, fmt.Errorf("filelog: decide %q: %w", d.ID, err)
	}
	return o, nil
}

func (l *Log) decide(ctx context.Context, d txlog.Decision) (txlog.Outcome, error) {
	r, err := decisionRecord(d)
	if err != nil {
		return 0, notDecided(err)
	}
	l.mu.Lock()
	if err := l.refusal(); err != nil {
		l.mu.Unlock()
		return 0, notDecided(err)
	}
	l.calls.Add(1)
	defer l.calls.Done()

	o, stands, err := l.find(context.Background(), d.ID)
	switch {
	case stands:
		l.mu.Unlock()
		return o, nil
	case err != nil && l.unknown[d.ID]:
		l.mu.Unlock()
		return 0, err
	case err != nil: // never decide over what can't be read
	case ctx.Err() != nil:
		err = ctx.Err()
	case l.latched != nil:
		err = latchedError(l.latched)
	}
	if err != nil {
		l.mu.Unlock()
		return 0, notDecided(err)
	}
	if r.at.IsZero() {
		r.at = l.opts.now()
	}
	r.at = r.at.Round(0).UTC()                       // as it will be read
	r.resources = *l.index.names.shared(d.Resources) // the caller may change them later
	if r.kind == kindEvident {
		r.resources = slices.Concat(r.resources, d.Evidence)
	}
	b := l.next
	b.records = append(b.records, r)
	l.pending[d.ID] = b
	if err := l.commit(b); err != nil { // unlocks
		return 0, err
	}
	return d.Outcome, nil
}

func decisionRecord(d txlog.Decision) (record, error) {
	r := record{id: d.ID, resources: d.Resources, at: d.At}
	switch d.Outcome {
	case txlog.Committed:
		r.kind = kindCommit
		if r.hasRoom(d.Evidence) {
			r.kind = kindEvident
		}
	case txlog.Aborted:
		r.kind = kindAbort
	default:
		return r, fmt.Errorf("outcome is %s: only committed or aborted can be decided", d.Outcome)
	}
	return r, r.check()
}

// hasRoom reports whether there is evidence that the record can hold.
func (r record) hasRoom(evidence []string) bool {
	size, some := r.size(), false
	for _, e := range evidence {
		size += binary.MaxVarintLen32 + len(e)
		some = some || e != ""
	}
	return some && len(evidence) == len(r.resources) && size <= maxRecordSize
}

func (r record) check() error {
	if r.id == "" {
		return errors.New("the ID is empty")
	}
	if n := r.size(); n > maxRecordSize {
		return fmt.Errorf("ID and resources take %d bytes: the limit is %d", n, maxRecordSize)
	}
	return nil
}

func notDecided(cause error) error { return fmt.Errorf("%w: %w", txlog.ErrNotDecided, cause) }

// refusal returns why nothing can be written at all, or nil. l.mu is held.
func (l *Log) refusal() error {
	switch {
	case l.closed:
		return txlog.ErrClosed
	case l.readOnly:
		return txlog.ErrReadOnly
	}
	return nil
}

// find returns the outcome that stands. It waits for one that is being written, and looks into the archives if it must. l.mu is
// held, but not while it waits or reads.
func (l *Log) find(ctx context.Context, id string) (o txlog.Outcome, stands bool, err error) {
	var searched *archiveSet
	for {
		if b, waits := l.pending[id]; waits {
			watch := b.watched()
			l.mu.Unlock()
			select {
			case <-watch:
			case <-ctx.Done():
				err = ctx.Err()
			}
			if l.mu.Lock(); err != nil {
				return 0, false, err
			}
			continue
		}
		if l.unknown[id] {
			return 0, false, fmt.Errorf("outcome is unknown until the log is opened again: %w", l.latched)
		}
		if e, ok := l.index.decisions[id]; ok {
			return e.outcome, true, nil
		}
		set := l.archives
		if set == searched || !set.mayHold(id) {
			return 0, false, nil
		}
		// Meanwhile the ID may be decided, and a compaction may move it, or even the archives. So what is found counts, and that it
		// was not found counts only if the archives are still the same and it is not in memory now.
		whole := l.damage == nil
		l.mu.Unlock()
		o, found, err := l.search(set, id)
		if errors.Is(err, errNoArchive) && l.readOnly && whole {
			err = l.reload(set, err)
		}
		l.mu.Lock()
		switch {
		case found:
			return o, true, nil
		case err == nil:
			searched = set
		case set == l.archives:
			return 0, false, err
		}
	}
}

// Lookup returns the outcome that stands; Undecided only when it is certain that none does. While a decision of the ID is being written
// it waits for the end of that.
func (l *Log) Lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	o, err := l.lookup(ctx, id)
	if err != nil {
		return txlog.Undecided, fmt.Errorf("filelog: lookup %q: %w", id, err)
	}
	return o, nil
}

func (l *Log) lookup(ctx context.Context, id string) (txlog.Outcome, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, txlog.ErrClosed
	}
	l.calls.Add(1)
	defer l.calls.Done()
	o, stands, err := l.find(ctx, id)
	if err == nil && !stands && l.damage != nil {
		err = l.damage // what is missing may have been there
	}
	return o, err
}

// Settle notes that every branch of the decision has confirmed. That goes to the disk with the next decision, or at Close: it is never synced
// for its own sake. Settle of an unknown or settled ID is nil.
func (l *Log) Settle(_ context.Context, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(); err != nil {
		return fmt.Errorf("filelog: settle %q: %w", id, err)
	}
	now := l.opts.now()
	if l.index.settle(id, now) {
		l.settles = append(l.settles, record{kind: kindSettle, id: id, at: now})
	}
	return nil
}

// Unsettled iterates over the decisions that were not settled when the iteration began, in the order of
// deciding. Settle may be called within the iteration.
func (l *Log) Unsettled(ctx context.Context) iter.Seq2[txlog.Decision, error] {
	return func(yield func(txlog.Decision, error) bool) {
		l.mu.Lock()
		closed, list, err := l.closed, l.index.list(), l.damage
		l.mu.Unlock()
		if closed {
			list, err = nil, txlog.ErrClosed
		}
		for _, d := range list {
			if ctx.Err() != nil {
				err = ctx.Err()
				break
			}
			if !yield(clone(d), nil) {
				return
			}
		}
		if err != nil {
			yield(txlog.Decision{}, fmt.Errorf("filelog: unsettled: %w", err))
		}
	}
}

// Register notes durably that the resource is the database of this identity, in place of what was noted before.
func (l *Log) Register(ctx context.Context, resource, identity string) error {
	if err := l.register(ctx, resource, identity); err != nil {
		return fmt.Errorf("filelog: register %q: %w", resource, err)
	}
	return nil
}

func (l *Log) register(ctx context.Context, resource, identity string) error {
	r := record{kind: kindRegister, id: resource, resources: []string{identity}, at: l.opts.now()}
	if err := r.check(); err != nil {
		return err
	}
	return l.add(ctx, r, func(x *index) bool {
		known, ok := x.identities[resource]
		return ok && known == identity
	})
}

// add writes a record that is no decision, unless what it tells stands already.
func (l *Log) add(ctx context.Context, r record, stands func(*index) bool) error {
	l.mu.Lock()
	err := l.refusal()
	switch {
	case err != nil:
	case l.latched == nil && stands(l.index): // a latched log can't tell: what failed may have got to the disk
		l.mu.Unlock()
		return nil
	case ctx.Err() != nil:
		err = ctx.Err()
	case l.latched != nil:
		err = latchedError(l.latched)
	}
	if err != nil {
		l.mu.Unlock()
		return err
	}
	l.calls.Add(1)
	defer l.calls.Done()
	if r.at.IsZero() {
		r.at = l.opts.now()
	}
	r.at = r.at.Round(0).UTC() // as it will be read
	b := l.next
	b.records = append(b.records, r)
	return l.commit(b) // unlocks
}

// Registered returns the identity that was noted, or "" where none was.
func (l *Log) Registered(_ context.Context, resource string) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return "", fmt.Errorf("filelog: registered %q: %w", resource, txlog.ErrClosed)
	}
	identity, ok := l.index.identities[resource]
	if !ok && l.damage != nil {
		return "", fmt.Errorf("filelog: registered %q: %w", resource, l.damage)
	}
	return identity, nil
}

// Info is what a person may want to know of a log.
type Info struct {
	ID        string
	Dir       string
	Segments  int   // files of decisions that are not settled, or only lately
	Archives  int   // files of settled decisions
	Bytes     int64 // in all of them, without what is reserved
	Unsettled int   // decisions
	Settled   int   // decisions within their retention, and some that the next compaction drops
	Damage    error // ErrCorrupt where a log that was opened to be read is damaged
	Latched   error // the failure that latched the log, nil when it is well
	// When a copy was first opened, and the host and path of its original, until it is adopted; zero for a log that is no copy.
	Copied   time.Time
	Original string
}

// Info tells about the log. It works on a closed log too.
func (l *Log) Info() Info {
	l.moving.RLock()
	defer l.moving.RUnlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	info := Info{
		ID: l.id, Dir: l.dir, Segments: len(l.sealed), Damage: l.damage, Latched: l.latched,
		Unsettled: l.index.open, Settled: len(l.index.decisions) - l.index.open + int(l.archives.count),
		Archives: len(l.archives.list), Bytes: l.archives.bytes,
	}
	for _, s := range l.sealed {
		info.Bytes += s.end
	}
	if r := l.index.residence; r != nil {
		info.Copied, info.Original = r.copied, r.original
	}
	if !l.readOnly {
		info.Segments++
		info.Bytes += l.written
	}
	return info
}

// Owner returns who owns the log's directory now, e.g. "pid 4711 since 2026-01-02T15:04:05Z", and "" when nobody does. It is for a log
// that was opened to be read: while it has an owner, what looks undecided may be a transaction at work.
func (l *Log) Owner() string {
	if d, ok := l.fs.(osDir); ok {
		return d.owner()
	}
	return ""
}

// Close waits for the calls that are under way, puts on the disk what was settled, and gives up the log. An error
// means that some decisions may be unsettled when the log is opened again; it is closed nonetheless.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	if l.readOnly {
		return nil
	}
	l.calls.Wait()
	l.beside.Wait()
	err := l.finish()
	err = errors.Join(err, l.active.file.Close(), l.lock.Close())
	if err != nil {
		return fmt.Errorf("filelog: %s: close: %w", l.dir, err)
	}
	return nil
}

package filelog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/xasql/xasql/txlog"
)

const (
	lockName      = "lock"
	segmentSuffix = ".xalog"
	tmpSuffix     = ".tmp"
)

func segmentName(seq uint64) string { return fmt.Sprintf("%08d%s", seq, segmentSuffix) }

// segmentSeq returns the number of the segment of this name, and 0 when it is no segment's.
func segmentSeq(name string) uint64 {
	digits, ok := strings.CutSuffix(name, segmentSuffix)
	seq, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || segmentName(seq) != name {
		return 0
	}
	return seq
}

// damage is a place of the log that is not as it was written. It is txlog.ErrCorrupt.
type damage struct {
	path   string
	offset int64
	cause  error
}

func (d *damage) Error() string {
	return fmt.Sprintf("filelog: corrupt record at %s+%d: %v", d.path, d.offset, d.cause)
}

func (d *damage) Unwrap() []error { return []error{txlog.ErrCorrupt, d.cause} }

// scan is what reading a segment showed.
type scan struct {
	end     int64 // where the next batch goes
	last    int64 // where the last whole batch begins, 0 where there is none
	records int
	marked  bool // a mark proves that all of it is on the disk
	sealed  bool
	garbage error // why what stands at end is neither a batch nor zeros; nil where it is zeros or nothing
	damages []*damage
}

// scanner reads a segment from its header to its end.
type scanner struct {
	file   file
	path   string // for messages
	seed   seeder
	size   int64
	window window
	str    func([]byte) string
	visit  func(*record) error // an error of it is damage too
}

// scan reads the segment, and hands every record of every whole batch to visit. Damage is a place that is no
// valid batch although a valid one follows: the log writes a batch only once all before it is on the disk, so
// that no crash leaves this behind. Reading goes on after it. Everything else that is no batch is the
// tail, which a crash can leave behind.
func (s *scanner) scan() (scan, error) {
	var result scan
	s.window.size = s.size
	for result.end = headerSize; !result.sealed; {
		pos := result.end
		length, records, bad := s.batch(pos)
		after := pos + length
		if errors.Is(bad, errVersion) {
			return result, fmt.Errorf("%s: %w", filepath.Base(s.path), bad)
		}
		if bad != nil {
			next, tail, err := s.next(pos + batchAlign)
			if err != nil {
				return result, err
			}
			if next == 0 {
				result.garbage = s.garbage(pos, tail, bad)
				return result, s.window.err
			}
			result.damages = append(result.damages, &damage{s.path, pos, bad})
			after = next
		} else if len(records) == 0 {
			return result, s.afterMark(&result)
		}
		result.records += len(records)
		for i := range records {
			r := &records[i]
			if err := s.visit(r); err != nil {
				result.damages = append(result.damages, &damage{s.path, pos, err})
			}
			result.sealed = result.sealed || r.kind == kindSeal
		}
		result.last, result.end = pos, after
	}
	return result, s.window.err
}

// batch decodes the batch at pos. Where its header is good and some record is not, it returns the error
// together with the good records.
func (s *scanner) batch(pos int64) (length int64, records []record, bad error) {
	h, err := s.seed.decodeBatchHeader(s.window.at(s.file, pos, batchHeaderSize), pos)
	if err != nil {
		return 0, nil, err
	}
	if pos+h.length > s.size {
		return 0, nil, fmt.Errorf("batch of %d bytes, of which the file has %d", h.length, s.size-pos)
	}
	b := s.window.at(s.file, pos, int(h.length))
	if int64(len(b)) < h.length {
		return 0, nil, errors.New("the file ends within a batch")
	}
	b = b[:h.length]
	at := int64(batchHeaderSize)
	for range h.count {
		r, n, err := s.seed.decodeRecord(b[at:], pos+at, s.str)
		if err != nil && bad == nil {
			bad = fmt.Errorf("record %d bytes into the batch: %w", at, err)
		}
		if err == nil {
			records = append(records, r)
		}
		if n == 0 {
			return h.length, records, bad
		}
		at += int64(n)
	}
	if pad := b[at:]; bad == nil && (len(pad) >= batchAlign || !zero(pad)) {
		bad = errors.New("what follows the batch's last record is not its padding")
	}
	return h.length, records, bad
}

// next returns the offset of the next batch header at or after pos, and 0 where there is none; tail tells
// whether anything but zeros stands there.
func (s *scanner) next(pos int64) (next int64, tail bool, err error) {
	const step = windowSize - batchHeaderSize
	magic := binary.LittleEndian.AppendUint32(nil, batchMagic)
	for ; pos < s.size; pos += step {
		b := s.window.at(s.file, pos, step+batchHeaderSize)
		if s.window.err != nil {
			return 0, tail, s.window.err
		}
		tail = tail || !zero(b)
		for i := 0; ; i += batchAlign {
			j := bytes.Index(b[min(i, len(b)):], magic)
			if j < 0 || i+j >= step {
				break
			}
			i += j
			if i%batchAlign != 0 {
				i -= i % batchAlign
				continue
			}
			if _, err := s.seed.decodeBatchHeader(b[i:], pos+int64(i)); err == nil {
				return pos + int64(i), tail, nil
			}
		}
	}
	return 0, tail, nil
}

// garbage returns bad unless there is nothing but zeros from pos on.
func (s *scanner) garbage(pos int64, tail bool, bad error) error {
	if tail || !zero(s.window.at(s.file, pos, batchAlign)) {
		return bad
	}
	return nil
}

// afterMark looks at what follows a mark: the remains of a torn batch, which began to overwrite the mark.
func (s *scanner) afterMark(result *scan) error {
	result.marked = true
	pos := result.end + batchHeaderSize
	next, tail, err := s.next(pos)
	if err != nil {
		return err
	}
	cause := errors.New("remains of a batch that was not written whole")
	switch {
	case next != 0:
		result.damages = append(result.damages, &damage{s.path, pos, errors.New("a valid batch follows what was the end of the log")})
	case tail:
		result.garbage = cause
	}
	return nil
}

func zero(b []byte) bool {
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b) != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

const windowSize = 1 << 20

// window reads a file front to back with few calls.
type window struct {
	size  int64 // of the file
	buf   []byte
	start int64
	err   error // other than io.EOF
}

// at returns n bytes from off on, or fewer where the file ends. They are good until the next call.
func (w *window) at(f file, off int64, n int) []byte {
	n = int(max(0, min(int64(n), w.size-off)))
	if off < w.start || off+int64(n) > w.start+int64(len(w.buf)) {
		w.fill(f, off, max(n, int(min(w.size-off, windowSize))))
	}
	b := w.buf[min(int64(len(w.buf)), off-w.start):]
	return b[:min(n, len(b))]
}

func (w *window) fill(f file, off int64, n int) {
	if cap(w.buf) < n {
		w.buf = make([]byte, n)
	}
	w.start = off
	got, err := f.ReadAt(w.buf[:n], off)
	w.buf = w.buf[:got]
	if err != nil && !errors.Is(err, io.EOF) {
		w.err = err
	}
}

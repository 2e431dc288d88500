package filelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/xasql/xasql/txlog"
)

// The format, byte by byte, is told in docs/filelog-format.md; what is written here must agree with it.

const (
	formatVersion = 1

	segmentMagic = "xasqllog"
	headerSize   = 64
	idSize       = 12

	batchMagic      = 0xb1a7c5e9
	batchHeaderSize = 16
	batchAlign      = 8

	recordHeaderSize = 8 // length and CRC
	minRecordSize    = recordHeaderSize + 1 + 12 + 2
	maxRecordSize    = 64 << 10
	maxBatchSize     = 1 << 30
)

// kind says what a record tells.
type kind uint8

const (
	kindCommit   kind = iota + 1 // ID is committed; resources
	kindAbort                    // ID is aborted; resources
	kindSettle                   // every branch of ID has confirmed
	kindRegister                 // the resource of this name is the database of identity resources[0]
	kindSeal                     // the segment ends here; the next one exists
	kindArchive                  // the archive of this name is in force; see archive.record
	kindPlace                    // the directory that the log is in; see residence
	kindNote                     // somebody has something to say of ID; see record.note
	kindForget                   // the notes on ID are dropped
	kindEvident                  // ID is committed; resources, then the evidence of each
)

// record is one entry of the log.
type record struct {
	kind      kind
	id        string
	resources []string
	at        time.Time
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// segmentHeader stands at the beginning of each segment.
type segmentHeader struct {
	id      string // the log's identity
	seq     uint64 // the segment's number in the log, and its file name
	base    bool   // holds all that stands of the segments before it
	created time.Time
}

func (h segmentHeader) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, segmentMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	copy(b[12:12+idSize], h.id)
	binary.LittleEndian.PutUint64(b[24:], h.seq)
	binary.LittleEndian.PutUint64(b[32:], uint64(h.created.Unix()))
	if h.base {
		b[40] = 1
	}
	binary.LittleEndian.PutUint32(b[60:], crc32.Checksum(b[:60], castagnoli))
	return b
}

var (
	errNotSegment = errors.New("not a segment of a decision log")
	errVersion    = errors.New("format version is")
)

const useLater = "open the log with the program that wrote it, or a later one"

// decodeHeader reads the first headerSize bytes of a segment. The version is looked at before the checksum:
// a later format may put that elsewhere.
func decodeHeader(b []byte) (segmentHeader, error) {
	if len(b) < headerSize || string(b[:8]) != segmentMagic {
		return segmentHeader{}, errNotSegment
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return segmentHeader{}, fmt.Errorf("%w %d, this program reads %d: %s", errVersion, v, formatVersion, useLater)
	}
	got, want := crc32.Checksum(b[:60], castagnoli), binary.LittleEndian.Uint32(b[60:])
	if got != want {
		return segmentHeader{}, fmt.Errorf("header: crc is %04x, want %04x", got, want)
	}
	return segmentHeader{
		id:      string(b[12 : 12+idSize]),
		seq:     binary.LittleEndian.Uint64(b[24:]),
		base:    b[40] == 1,
		created: time.Unix(int64(binary.LittleEndian.Uint64(b[32:])), 0).UTC(),
	}, nil
}

// seeder makes the checksums of one segment. They cover, besides the bytes, the log's identity, the segment's
// number and the offset: bytes that are valid elsewhere are never valid here.
type seeder uint32

func newSeeder(id string, seq uint64) seeder {
	b := binary.LittleEndian.AppendUint64([]byte(id), seq)
	return seeder(crc32.Checksum(b, castagnoli))
}

func (s seeder) sum(offset int64, b ...[]byte) uint32 {
	crc := ^uint32(s)
	for range 8 { // by hand: bytes for crc32.Update would have to be allocated
		crc = castagnoli[byte(crc)^byte(offset)] ^ crc>>8
		offset >>= 8
	}
	crc = ^crc
	for _, p := range b {
		crc = crc32.Update(crc, castagnoli, p)
	}
	return crc
}

// appendBatch appends a batch of the records, to be written at offset. A batch without records is a mark: all
// before it is on the disk.
func (s seeder) appendBatch(b []byte, offset int64, lists ...[]record) []byte {
	start, count := len(b), 0
	b = append(b, make([]byte, batchHeaderSize)...)
	for _, records := range lists {
		count += len(records)
		for i := range records {
			b = s.appendRecord(b, offset+int64(len(b)-start), &records[i])
		}
	}
	for (len(b)-start)%batchAlign != 0 {
		b = append(b, 0)
	}
	h := b[start:]
	binary.LittleEndian.PutUint32(h, batchMagic)
	binary.LittleEndian.PutUint32(h[4:], uint32(len(h)))
	binary.LittleEndian.PutUint32(h[8:], uint32(count))
	binary.LittleEndian.PutUint32(h[12:], s.sum(offset, h[:12]))
	return b
}

func (s seeder) appendRecord(b []byte, offset int64, r *record) []byte {
	start := len(b)
	b = append(b, make([]byte, recordHeaderSize)...)
	b = append(b, byte(r.kind))
	b = binary.LittleEndian.AppendUint64(b, uint64(r.at.Unix()))
	b = binary.LittleEndian.AppendUint32(b, uint32(r.at.Nanosecond()))
	b = appendString(b, r.id)
	b = binary.AppendUvarint(b, uint64(len(r.resources)))
	for _, name := range r.resources {
		b = appendString(b, name)
	}
	h := b[start:]
	binary.LittleEndian.PutUint32(h, uint32(len(h)))
	binary.LittleEndian.PutUint32(h[4:], s.sum(offset, h[:4], h[8:]))
	return b
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// size is an upper bound of the record's size on disk.
func (r record) size() int {
	n := recordHeaderSize + 1 + 12 + binary.MaxVarintLen32 + len(r.id) + binary.MaxVarintLen32
	for _, name := range r.resources {
		n += binary.MaxVarintLen32 + len(name)
	}
	return n
}

// batchHeader is the checked header of a batch.
type batchHeader struct {
	length int64 // of the whole batch
	count  int
}

// decodeBatchHeader reads the header at the beginning of b, which stands at offset.
func (s seeder) decodeBatchHeader(b []byte, offset int64) (batchHeader, error) {
	if len(b) < batchHeaderSize {
		return batchHeader{}, errors.New("the file ends within a batch header")
	}
	if m := binary.LittleEndian.Uint32(b); m != batchMagic {
		return batchHeader{}, fmt.Errorf("batch begins with %08x, want %08x", m, uint32(batchMagic))
	}
	got, want := s.sum(offset, b[:12]), binary.LittleEndian.Uint32(b[12:])
	if got != want {
		return batchHeader{}, fmt.Errorf("crc is %04x, want %04x", got, want)
	}
	h := batchHeader{int64(binary.LittleEndian.Uint32(b[4:])), int(binary.LittleEndian.Uint32(b[8:]))}
	if h.length%batchAlign != 0 || h.length < batchHeaderSize || h.length > maxBatchSize || int64(h.count) > h.length/minRecordSize {
		return batchHeader{}, fmt.Errorf("batch of %d bytes and %d records", h.length, h.count)
	}
	return h, nil
}

// decodeRecord reads the record at the beginning of b, which stands at offset. The length is 0 where even that
// is no good. str makes strings of bytes.
func (s seeder) decodeRecord(b []byte, offset int64, str func([]byte) string) (r record, length int, err error) {
	if len(b) < minRecordSize {
		return r, 0, errors.New("record runs over the end of its batch")
	}
	n := binary.LittleEndian.Uint32(b)
	if n < minRecordSize || int64(n) > int64(len(b)) {
		return r, 0, fmt.Errorf("record has a length of %d", n)
	}
	b = b[:n]
	got, want := s.sum(offset, b[:4], b[8:]), binary.LittleEndian.Uint32(b[4:])
	if got != want {
		return r, int(n), fmt.Errorf("crc is %04x, want %04x", got, want)
	}
	r.kind = kind(b[8])
	if r.kind > kindEvident { // a decision, perhaps: whoever takes it for damage, or for a torn end, may lose it
		return r, int(n), fmt.Errorf("%w %d with records of kind %d, which this program does not know: %s", errVersion, formatVersion, r.kind, useLater)
	}
	sec, nsec := int64(binary.LittleEndian.Uint64(b[9:])), binary.LittleEndian.Uint32(b[17:])
	r.at = time.Unix(sec, int64(nsec)).UTC()
	rest := b[21:]
	id, rest, ok := cutString(rest)
	count, w := binary.Uvarint(rest)
	if !ok || w <= 0 || count > uint64(len(rest)) || r.kind < kindCommit {
		return r, int(n), errMalformed
	}
	rest = rest[w:]
	r.id = string(id)
	if count > 0 {
		r.resources = make([]string, count)
	}
	for i := range r.resources {
		var name []byte
		if name, rest, ok = cutString(rest); !ok {
			return r, int(n), errMalformed
		}
		if r.kind == kindEvident && i >= len(r.resources)/2 {
			str = once // str keeps what comes again
		}
		r.resources[i] = str(name)
	}
	if len(rest) != 0 || r.kind == kindRegister && count != 1 || r.kind == kindEvident && count%2 != 0 || r.malformedNote() {
		return r, int(n), errMalformed
	}
	return r, int(n), nil
}

// errMalformed: the checksum is right, but the contents are none that this program writes.
var errMalformed = errors.New("record is malformed")

func cutString(b []byte) (s, rest []byte, ok bool) {
	n, w := binary.Uvarint(b)
	if w <= 0 || n > uint64(len(b)-w) {
		return nil, nil, false
	}
	b = b[w:]
	return b[:n], b[n:], true
}

// once makes a string that is not expected again.
func once(b []byte) string { return string(b) }

// named returns the resources of a decision, and their evidence if there is any.
func (r *record) named() (resources, evidence []string) {
	if r.kind != kindEvident {
		return r.resources, nil
	}
	n := len(r.resources) / 2
	return r.resources[:n:n], r.resources[n:]
}

// decides reports whether the record is a decision.
func (k kind) decides() bool { return k.outcome() != txlog.Undecided }

func (k kind) outcome() txlog.Outcome {
	switch k {
	case kindCommit, kindEvident:
		return txlog.Committed
	case kindAbort:
		return txlog.Aborted
	}
	return txlog.Undecided
}

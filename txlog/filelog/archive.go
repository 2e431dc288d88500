package filelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"time"
)

const (
	archiveSuffix = ".settled"

	archiveMagic      = "xasqlset"
	archiveHeaderSize = 96
	minBlockSize      = 4 << 10
	maxBlockSize      = 1 << 20
	blockHeaderSize   = 8 // CRC and number of entries
)

// archive is a file of settled decisions, which have left the memory: sorted by ID, and never changed. It is in force
// while the log's base lists it. The file's first block holds its header.
type archive struct {
	number      uint64
	blockSize   int64
	blocks      int64 // without the header's
	count       int64 // decisions
	first, last int64 // the earliest and the latest settling, in nanoseconds since 1970
	blockSums   uint32
	headerSum   uint32
	min, max    string // IDs; not in the header
	unread      error  // why the header could not be read, nil when it was
}

// archived is a decision in an archive.
type archived struct {
	id        []byte // good until the next one is read
	outcome   byte
	resources []string
	sec       int64 // when it was decided
	nsec      uint32
	settledAt int64 // in nanoseconds since 1970
}

func archiveName(number uint64) string { return fmt.Sprintf("%08d%s", number, archiveSuffix) }

// archiveNumber returns the number of the archive of this name, and 0 when it is no archive's.
func archiveNumber(name string) uint64 {
	digits, ok := strings.CutSuffix(name, archiveSuffix)
	number, err := strconv.ParseUint(digits, 10, 64)
	if !ok || err != nil || archiveName(number) != name {
		return 0
	}
	return number
}

// isTemporary reports whether the name is that of a file of the log that was never finished.
func isTemporary(name string) bool {
	return strings.HasSuffix(name, segmentSuffix+tmpSuffix) || strings.HasSuffix(name, archiveSuffix+tmpSuffix)
}

func (a *archive) size() int64 { return (1 + a.blocks) * a.blockSize }

func (a *archive) name() string { return archiveName(a.number) }

// encode returns the header, and notes its checksum.
func (a *archive) encode(id string) []byte {
	b := make([]byte, archiveHeaderSize)
	copy(b, archiveMagic)
	binary.LittleEndian.PutUint32(b[8:], formatVersion)
	copy(b[12:12+idSize], id)
	binary.LittleEndian.PutUint64(b[24:], a.number)
	binary.LittleEndian.PutUint64(b[32:], uint64(a.blockSize))
	binary.LittleEndian.PutUint64(b[40:], uint64(a.blocks))
	binary.LittleEndian.PutUint64(b[48:], uint64(a.count))
	binary.LittleEndian.PutUint64(b[56:], uint64(a.first))
	binary.LittleEndian.PutUint64(b[64:], uint64(a.last))
	binary.LittleEndian.PutUint32(b[72:], a.blockSums)
	a.headerSum = crc32.Checksum(b[:archiveHeaderSize-4], castagnoli)
	binary.LittleEndian.PutUint32(b[archiveHeaderSize-4:], a.headerSum)
	return b
}

// decode reads the header of the log's archive, of which it knows number and checksum.
func (a *archive) decode(b []byte, id string) error {
	if len(b) < archiveHeaderSize || string(b[:8]) != archiveMagic {
		return errors.New("not an archive of a decision log")
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != formatVersion {
		return fmt.Errorf("%w %d, this program reads %d", errVersion, v, formatVersion)
	}
	got, want := crc32.Checksum(b[:archiveHeaderSize-4], castagnoli), binary.LittleEndian.Uint32(b[archiveHeaderSize-4:])
	if got != want {
		return fmt.Errorf("header: crc is %04x, want %04x", got, want)
	}
	if other := string(b[12 : 12+idSize]); other != id {
		return fmt.Errorf("it belongs to the log %s, not to %s", other, id)
	}
	if number := binary.LittleEndian.Uint64(b[24:]); number != a.number || got != a.headerSum {
		return fmt.Errorf("it is another archive (%d, crc %04x) than the one that the log lists (%d, crc %04x)", number, got, a.number, a.headerSum)
	}
	a.blockSize = int64(binary.LittleEndian.Uint64(b[32:]))
	a.blocks = int64(binary.LittleEndian.Uint64(b[40:]))
	a.count = int64(binary.LittleEndian.Uint64(b[48:]))
	a.first = int64(binary.LittleEndian.Uint64(b[56:]))
	a.last = int64(binary.LittleEndian.Uint64(b[64:]))
	a.blockSums = binary.LittleEndian.Uint32(b[72:])
	if a.blockSize < minBlockSize || a.blockSize > maxBlockSize || a.blocks < 1 || a.blocks > 1<<40 || a.count < a.blocks {
		return errMalformed
	}
	return nil
}

// record is how the base lists the archive.
func (a *archive) record() record {
	sum := binary.LittleEndian.AppendUint32(nil, a.headerSum)
	return record{kind: kindArchive, id: a.name(), resources: []string{a.min, a.max, string(sum)}, at: time.Unix(0, a.last)}
}

// listedArchive is what the base's record tells of an archive; the rest stands in the file.
func listedArchive(r record) (*archive, error) {
	number := archiveNumber(r.id)
	if number == 0 || len(r.resources) != 3 || len(r.resources[2]) != 4 || r.resources[0] > r.resources[1] {
		return nil, errMalformed
	}
	return &archive{number: number, min: r.resources[0], max: r.resources[1], last: r.at.UnixNano(),
		headerSum: binary.LittleEndian.Uint32([]byte(r.resources[2]))}, nil
}

// check opens the file of a listed archive, and reads its header. An error of cause is damage; err means that it can't be read.
func (a *archive) check(fsys fileSystem, id string) (cause, err error) {
	f, err := fsys.Open(a.name(), false)
	if errors.Is(err, fs.ErrNotExist) {
		return errNoArchive, nil
	} else if err != nil {
		return nil, err
	}
	defer f.Close()
	b := make([]byte, archiveHeaderSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if a.unread = a.decode(b[:n], id); a.unread != nil {
		return a.unread, nil
	}
	size, err := f.Size()
	if err == nil && size != a.size() {
		cause = fmt.Errorf("it has %d bytes, of %d", size, a.size())
	}
	return cause, err
}

var errNoArchive = errors.New("the archive is missing")

// archiveSet is the archives in force, by number. It is never changed: a compaction puts another in its place.
type archiveSet struct {
	list  []*archive
	max   string // above it no archive holds anything
	count int64  // decisions
	bytes int64
}

func newArchiveSet(list []*archive) *archiveSet {
	s := &archiveSet{list: list}
	for _, a := range list {
		s.max = max(s.max, a.max)
		s.count += a.count
		s.bytes += a.size()
	}
	return s
}

// mayHold reports whether some archive may hold the ID. A new ID usually lies above all that were settled, since those of a
// coordinator begin with the time: that it was not decided before then needs no look at the disk.
func (s *archiveSet) mayHold(id string) bool {
	if id > s.max {
		return false
	}
	for _, a := range s.list {
		if a.holds(id) {
			return true
		}
	}
	return false
}

func (a *archive) holds(id string) bool { return a.min <= id && id <= a.max }

// nextNumber returns a number that no archive in force has, at least the segment's.
func (s *archiveSet) nextNumber(segment uint64) uint64 {
	if n := len(s.list); n > 0 {
		return max(segment, s.list[n-1].number+1)
	}
	return segment
}

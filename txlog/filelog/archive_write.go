package filelog

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"slices"
	"time"
)

const (
	archiveBuffer = 256 << 10 // what one write writes
	archiveSync   = 4 << 20   // how much is written before it is synced: decisions wait for the same disk
)

// blockSizeFor returns the size of blocks of which each holds an entry of that size.
func blockSizeFor(largest int) int64 {
	size := int64(minBlockSize)
	for size < int64(blockHeaderSize+largest) {
		size *= 2
	}
	return size
}

// size is an upper bound of the entry's size in a block.
func (e archived) size() int {
	n := 6*binary.MaxVarintLen64 + 1 + len(e.id)
	for _, name := range e.resources {
		n += binary.MaxVarintLen32 + len(name)
	}
	return n
}

// archiveWriter writes an archive. The decisions are added in the order of their IDs.
type archiveWriter struct {
	archive
	file     file
	log      string // identity
	seed     seeder
	out      []byte // blocks that are not yet written; the last is not yet full
	start    int    // of that one
	off      int64  // of out in the file
	unsynced int64

	entries uint32 // in the block
	id      []byte // the last decision's
	names   []string
	sec     int64
}

func newArchiveWriter(f file, log string, number uint64, blockSize int64) *archiveWriter {
	return &archiveWriter{
		archive: archive{number: number, blockSize: blockSize}, file: f, log: log,
		seed: newSeeder(log, number), off: blockSize,
		out: make([]byte, blockHeaderSize, archiveBuffer+blockSize),
	}
}

func (w *archiveWriter) add(e archived) error {
	if w.count > 0 && string(w.id) >= string(e.id) {
		return fmt.Errorf("%q comes after %q", e.id, w.id)
	}
	end := len(w.out)
	w.append(e)
	if int64(len(w.out)-w.start) > w.blockSize {
		w.out = w.out[:end]
		if err := w.closeBlock(); err != nil {
			return err
		}
		w.append(e)
	}
	if w.count == 0 {
		w.min, w.first, w.last = string(e.id), e.settledAt, e.settledAt
	}
	w.first, w.last = min(w.first, e.settledAt), max(w.last, e.settledAt)
	w.id, w.names, w.sec = append(w.id[:0], e.id...), e.resources, e.sec
	w.entries++
	w.count++
	return nil
}

// append encodes the entry. It tells what differs from the one before it in the block.
func (w *archiveWriter) append(e archived) {
	shared, sec := 0, int64(0)
	if w.entries > 0 {
		shared, sec = sharedPrefix(w.id, e.id), w.sec
	}
	b := binary.AppendUvarint(w.out, uint64(shared))
	b = binary.AppendUvarint(b, uint64(len(e.id)-shared))
	b = append(b, e.id[shared:]...)
	b = append(b, e.outcome)
	b = binary.AppendVarint(b, e.sec-sec)
	b = binary.AppendUvarint(b, uint64(e.nsec))
	b = binary.AppendVarint(b, e.settledAt-e.decidedAt())
	if w.entries > 0 && slices.Equal(w.names, e.resources) {
		w.out = append(b, 0)
		return
	}
	b = binary.AppendUvarint(b, uint64(len(e.resources))+1)
	for _, name := range e.resources {
		b = appendString(b, name)
	}
	w.out = b
}

// decidedAt is in nanoseconds since 1970. It may overflow, and serves as what settledAt is told from.
func (e archived) decidedAt() int64 { return e.sec*int64(time.Second) + int64(e.nsec) }

func sharedPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// closeBlock fills the block up, and begins the next.
func (w *archiveWriter) closeBlock() error {
	block := w.out[w.start:]
	block = append(block, make([]byte, w.blockSize-int64(len(block)))...)
	binary.LittleEndian.PutUint32(block[4:], w.entries)
	sum := w.seed.sum(w.off+int64(w.start), block[4:])
	binary.LittleEndian.PutUint32(block, sum)
	w.blockSums = crc32.Update(w.blockSums, castagnoli, block[:4])
	w.out = w.out[:w.start+len(block)]
	w.blocks++
	w.entries = 0
	if len(w.out) >= archiveBuffer {
		if err := w.flush(); err != nil {
			return err
		}
	}
	w.start = len(w.out)
	w.out = append(w.out, make([]byte, blockHeaderSize)...)
	return nil
}

func (w *archiveWriter) flush() error {
	if _, err := w.file.WriteAt(w.out, w.off); err != nil {
		return err
	}
	w.off += int64(len(w.out))
	w.unsynced += int64(len(w.out))
	w.out = w.out[:0]
	if w.unsynced < archiveSync {
		return nil
	}
	w.unsynced = 0
	return w.file.Sync()
}

// finish writes what is left, and the header, and syncs the file. At least one decision was added.
func (w *archiveWriter) finish() (*archive, error) {
	w.max = string(w.id)
	if w.entries > 0 {
		if err := w.closeBlock(); err != nil {
			return nil, err
		}
	}
	w.out = w.out[:w.start]
	if err := w.flush(); err != nil {
		return nil, err
	}
	header := make([]byte, w.blockSize)
	copy(header, w.encode(w.log))
	if _, err := w.file.WriteAt(header, 0); err != nil {
		return nil, err
	}
	if err := w.file.Sync(); err != nil {
		return nil, err
	}
	a := w.archive
	return &a, nil
}

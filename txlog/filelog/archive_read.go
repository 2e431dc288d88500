package filelog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"

	"github.com/xasql/xasql/txlog"
)

// block is a decoder of one block's entries.
type block struct {
	rest []byte
	left uint32
	prev archived
	bare bool // without resources
}

// newBlock checks the block b, which stands at offset.
func newBlock(b []byte, seed seeder, offset int64) (block, error) {
	got, want := seed.sum(offset, b[4:]), binary.LittleEndian.Uint32(b)
	if got != want {
		return block{}, fmt.Errorf("crc is %04x, want %04x", got, want)
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n == 0 {
		return block{}, errMalformed
	}
	return block{rest: b[blockHeaderSize:], left: n}, nil
}

// next returns the next entry, and io.EOF after the last.
func (b *block) next() (archived, error) {
	e := &b.prev
	if b.left == 0 {
		if !zero(b.rest) {
			return *e, errMalformed
		}
		return *e, io.EOF
	}
	b.left--
	shared, n := binary.Uvarint(b.rest)
	if n <= 0 || shared > uint64(len(e.id)) {
		return *e, errMalformed
	}
	suffix, rest, ok := cutString(b.rest[n:])
	if !ok || len(rest) == 0 {
		return *e, errMalformed
	}
	e.id = append(e.id[:shared], suffix...)
	e.outcome, rest = rest[0], rest[1:]
	sec, n := binary.Varint(rest)
	if n <= 0 {
		return *e, errMalformed
	}
	nsec, m := binary.Uvarint(rest[n:])
	if m <= 0 || nsec > 999_999_999 {
		return *e, errMalformed
	}
	took, k := binary.Varint(rest[n+m:])
	if k <= 0 || e.outcome != byte(txlog.Committed) && e.outcome != byte(txlog.Aborted) {
		return *e, errMalformed
	}
	e.sec, e.nsec = e.sec+sec, uint32(nsec)
	e.settledAt = e.decidedAt() + took
	err := b.names(rest[n+m+k:])
	return *e, err
}

// names reads the resources, unless they are the same as before.
func (b *block) names(rest []byte) error {
	count, n := binary.Uvarint(rest)
	if n <= 0 || count > uint64(len(rest)) {
		return errMalformed
	}
	b.rest = rest[n:]
	if count == 0 {
		return nil
	}
	b.prev.resources = nil
	for range count - 1 {
		name, rest, ok := cutString(b.rest)
		if !ok {
			return errMalformed
		}
		if b.rest = rest; !b.bare {
			b.prev.resources = append(b.prev.resources, string(name))
		}
	}
	return nil
}

// archiveReader reads an archive's file.
type archiveReader struct {
	*archive
	file file
	path string // for messages
	seed seeder
	buf  []byte
}

// openArchive opens the archive's file. That it is missing is damage, unless the archive is not in force any more: who asks looks.
func openArchive(fsys fileSystem, dir, log string, a *archive) (*archiveReader, error) {
	r := &archiveReader{archive: a, path: osDir(dir).path(a.name()), seed: newSeeder(log, a.number)}
	if a.unread != nil {
		return nil, r.damage(0, a.unread)
	}
	var err error
	if r.file, err = fsys.Open(a.name(), false); errors.Is(err, fs.ErrNotExist) {
		err = r.damage(0, errNoArchive)
	}
	return r, err
}

func (r *archiveReader) offset(i int64) int64 { return (1 + i) * r.blockSize }

func (r *archiveReader) damage(offset int64, cause error) error {
	return &damage{r.path, offset, cause}
}

// block reads the i-th block.
func (r *archiveReader) block(i int64) (block, error) {
	if r.buf == nil {
		r.buf = make([]byte, r.blockSize)
	}
	off := r.offset(i)
	n, err := r.file.ReadAt(r.buf, off)
	if n < len(r.buf) {
		if errors.Is(err, io.EOF) {
			err = r.damage(off, errors.New("the file ends within a block"))
		}
		return block{}, err
	}
	b, err := newBlock(r.buf, r.seed, off)
	if err != nil {
		return b, r.damage(off, err)
	}
	return b, nil
}

// find looks for the ID: about log2 of the number of blocks are read. Nothing that was not checked is believed.
func (r *archiveReader) find(id string) (e archived, found bool, err error) {
	if !r.holds(id) {
		return e, false, nil
	}
	low, high := int64(0), r.blocks // the ID can only be in [low, high)
	for high-low > 1 {
		middle := (low + high) / 2
		b, err := r.block(middle)
		if err != nil {
			return e, false, err
		}
		b.bare = true
		if e, err = b.next(); err != nil {
			return e, false, r.damage(r.offset(middle), errMalformed)
		}
		if string(e.id) <= id {
			low = middle
		} else {
			high = middle
		}
	}
	b, err := r.block(low)
	if err != nil {
		return e, false, err
	}
	b.bare = true
	for {
		switch e, err = b.next(); {
		case err == io.EOF:
			return e, false, nil
		case err != nil:
			return e, false, r.damage(r.offset(low), err)
		case string(e.id) == id:
			return e, true, nil
		case string(e.id) > id:
			return e, false, nil
		}
	}
}

// archiveCursor reads an archive front to back, and checks all of it.
type archiveCursor struct {
	*archiveReader
	chunk []byte
	at    int64 // the next block to be read
	block block
	last  []byte
	seen  int64
	valid int64 // bytes
	over  bool  // nothing more can be read
	sums  uint32
}

func (r *archiveReader) cursor() *archiveCursor { return &archiveCursor{archiveReader: r} }

// next returns the next decision, and io.EOF after the last. After an error, reading can go on with the next block.
func (c *archiveCursor) next() (archived, error) {
	for {
		e, err := archived{}, io.EOF
		if c.at > 0 {
			e, err = c.block.next()
		}
		switch {
		case err == nil && c.seen > 0 && string(e.id) <= string(c.last), err == nil && c.seen == 0 && c.at == 1 && string(e.id) != c.min:
			err = fmt.Errorf("%q comes after %q, and the first should be %q", e.id, c.last, c.min)
			fallthrough
		case err != nil && err != io.EOF:
			c.block = block{}
			return e, c.damage(c.offset(c.at-1), err)
		case err == nil:
			c.seen++
			c.last = append(c.last[:0], e.id...)
			return e, nil
		case c.at == c.blocks:
			c.over = true
			return e, c.end()
		}
		if err := c.advance(); err != nil {
			return e, err
		}
	}
}

// advance goes to the next block.
func (c *archiveCursor) advance() error {
	off := c.offset(c.at)
	c.at++
	c.block = block{}
	if len(c.chunk) == 0 {
		n := min(max(1, archiveBuffer/c.blockSize), c.blocks-c.at+1) * c.blockSize
		if int64(cap(c.buf)) < n {
			c.buf = make([]byte, n)
		}
		got, err := c.file.ReadAt(c.buf[:n], off)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		c.chunk = c.buf[:int64(got)/c.blockSize*c.blockSize]
		if len(c.chunk) == 0 {
			c.over = true
			return c.damage(off, errors.New("the file ends within a block"))
		}
	}
	b := c.chunk[:c.blockSize]
	c.chunk = c.chunk[c.blockSize:]
	c.sums = crc32.Update(c.sums, castagnoli, b[:4])
	var err error
	if c.block, err = newBlock(b, c.seed, off); err != nil {
		return c.damage(off, err)
	}
	c.valid += c.blockSize
	return nil
}

// end compares what was read with what the header and the log's base tell of the archive.
func (c *archiveCursor) end() error {
	if c.seen != c.count || c.sums != c.blockSums || string(c.last) != c.max {
		return c.damage(0, fmt.Errorf("it holds %d decisions up to %q (crc %04x), and should hold %d up to %q (crc %04x)",
			c.seen, c.last, c.sums, c.count, c.max, c.blockSums))
	}
	return io.EOF
}

// search looks for the ID in the archives. What it reads may be gone by then: who asks looks whether the archives are still those.
func (l *Log) search(set *archiveSet, id string) (o txlog.Outcome, found bool, err error) {
	for _, a := range set.list {
		if !a.holds(id) {
			continue
		}
		r, err := openArchive(l.fs, l.dir, l.id, a)
		if err != nil {
			return 0, false, err
		}
		e, found, err := r.find(id)
		r.file.Close()
		if found || err != nil {
			return txlog.Outcome(e.outcome), found, err
		}
	}
	return 0, false, nil
}

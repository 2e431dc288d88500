package filelog

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/xasql/xasql/txlog"
)

// oneFile is a directory in memory that holds one segment.
func oneFile(b []byte) *memFS {
	m := newMemFS()
	m.Put(segmentName(1), b)
	return m
}

// FuzzReader reads arbitrary bytes behind a good header, and as they are.
func FuzzReader(f *testing.F) {
	for _, d := range defects() {
		if b, err := os.ReadFile(filepath.Join(goldenDir(d), segmentName(1))); err == nil {
			f.Add(b[headerSize:])
		}
		if b, err := os.ReadFile(filepath.Join(goldenDir(d), segmentName(3))); err == nil {
			f.Add(b)
		}
	}
	header := segmentHeader{id: goldenID, seq: 1, base: true}.encode()
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, append(header, b...)} {
			l, err := openReadOnly("mem", oneFile(b))
			if err != nil {
				continue
			}
			for d, err := range l.Unsettled(t.Context()) {
				if err == nil && d.Outcome != txlog.Committed && d.Outcome != txlog.Aborted {
					t.Errorf("read %+v", d)
				}
			}
			w, err := openMem(oneFile(b))
			if (err != nil) != (l.Info().Damage != nil) {
				t.Errorf("Open: %v; OpenReadOnly finds %v", err, l.Info().Damage)
			}
			if err == nil && w.Info().Unsettled != l.Info().Unsettled {
				t.Errorf("%d unsettled for the owner, %d for the reader", w.Info().Unsettled, l.Info().Unsettled)
			}
		}
	})
}

// FuzzTruncated cuts a log at any byte, and garbles what follows the cut: what is read is a prefix of what was written.
func FuzzTruncated(f *testing.F) {
	f.Add(uint(100), []byte{})
	f.Add(uint(300), []byte{1, 2, 3})
	f.Add(uint(700), []byte("\xe9\xc5\xa7\xb1\x10\x00\x00\x00"))
	var batches [][]record
	var ids []string
	for i := range 30 {
		id := string(rune('a' + i))
		batches = append(batches, []record{{kindCommit, id, []string{"orders"}, goldenTime(i)}})
		ids = append(ids, id)
	}
	whole := goldenSegment(goldenID, 1, true, batches...)
	f.Fuzz(func(t *testing.T, cut uint, garbage []byte) {
		n := headerSize + int(cut%uint(len(whole)-headerSize))
		b := append(append([]byte{}, whole[:n]...), garbage...)
		l, err := openReadOnly("mem", oneFile(b))
		if err != nil {
			t.Fatal(err)
		}
		i := 0
		for d, err := range l.Unsettled(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			if d.ID != ids[i] {
				t.Fatalf("the %d. decision is %q, want %q", i+1, d.ID, ids[i])
			}
			i++
		}
		if size := (len(whole) - headerSize) / 30; i < (n-headerSize)/size {
			t.Errorf("%d decisions read of %d bytes", i, n)
		}
	})
}

// FuzzArchive reads arbitrary bytes as an archive's header, as a block whose checksum is right, and as a whole file.
func FuzzArchive(f *testing.F) {
	a, file := goldenArchive(goldenID, 2, goldenSettled("t0", txlog.Aborted, 1, "orders"), goldenSettled("t1", txlog.Committed, 2, "orders", "ledger"))
	f.Add(file[minBlockSize+blockHeaderSize:minBlockSize+100], uint32(2))
	f.Add(file[:archiveHeaderSize], uint32(1))
	f.Fuzz(func(t *testing.T, b []byte, count uint32) {
		bl := block{rest: b, left: count % (1 << 16)}
		for {
			e, err := bl.next()
			if err != nil {
				break
			}
			if e.outcome != byte(txlog.Committed) && e.outcome != byte(txlog.Aborted) {
				t.Fatalf("read %+v", e)
			}
		}
		m := newMemFS()
		m.Put(a.name(), b)
		listed, err := listedArchive(a.record())
		if err != nil {
			t.Fatal(err)
		}
		if cause, err := listed.check(m, goldenID); cause == nil && err == nil {
			if _, _, err := verifyArchive(t.Context(), m, "mem", goldenID, listed); err != nil {
				t.Fatal(err)
			}
		}
	})
}
